"""The table's protocol, spoken directly: one signed POST a call.

A call through botocore costs about a millisecond of processor time, most of which goes into what is
the same for every call to the table: finding the endpoint, walking the model of the service,
signing what could be signed once. Here it costs a fifth of that. Requests, answers and errors are
those of botocore's client, so that either can stand where the other does.

Source: Amazon DynamoDB Developer Guide, "DynamoDB low-level API"; AWS General Reference, "Signature
Version 4"; AWS SDKs and Tools Reference Guide, "Retry behavior".
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import uuid
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from pydantic_core import from_json

if TYPE_CHECKING:
    from media_api.calls import Calls

ATTEMPTS = 5
"""Most attempts of a call."""

_TARGET = "DynamoDB_20120810."
_CONTENT_TYPE = "application/x-amz-json-1.0"
_FIRST_PAUSE_SECONDS = 0.05
_PASSING = frozenset(
    {
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_OK = 200
_SERVER_ERROR = 500


class Credentials(Protocol):
    """Credentials as they are at one moment."""

    access_key: str
    secret_key: str
    token: str | None


class ConnectionFailedError(Exception):
    """An attempt got no answer that could be read."""


@dataclass(frozen=True)
class _Reply:
    """What came back."""

    status: int
    request_id: str
    content: dict[str, Any]

    @property
    def code(self) -> str:
        """Code of an error, as botocore has it."""
        return str(self.content.get("__type", self.status)).rpartition("#")[2]

    @property
    def is_passing(self) -> bool:
        return self.status >= _SERVER_ERROR or self.code in _PASSING


class DynamoDb:
    """A client of DynamoDB, as far as the API calls it.

    Args:
        session: Sends the requests; its limits on connections and time hold.
        endpoint: URL of the service.
        region: Region that requests are signed for.
        credentials: Returns the credentials of the moment, or ``None`` where there are none.
        calls: Sees every call. Default: nothing does.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        endpoint: str,
        region: str,
        credentials: Callable[[], Awaitable[Credentials | None]],
        calls: Calls | None = None,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).netloc
        self._region = region
        self._credentials = credentials
        self._calls = calls
        self._allowance = RetryAllowance()
        self._signing_key: tuple[tuple[str, str], bytes] | None = None

    async def get_item(self, **request: Any) -> dict[str, Any]:
        """Call ``GetItem``."""
        return await self._call("GetItem", request)

    async def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Call ``BatchGetItem``."""
        return await self._call("BatchGetItem", request)

    async def query(self, **request: Any) -> dict[str, Any]:
        """Call ``Query``."""
        return await self._call("Query", request)

    async def scan(self, **request: Any) -> dict[str, Any]:
        """Call ``Scan``."""
        return await self._call("Scan", request)

    async def put_item(self, **request: Any) -> dict[str, Any]:
        """Call ``PutItem``."""
        return await self._call("PutItem", request)

    async def update_item(self, **request: Any) -> dict[str, Any]:
        """Call ``UpdateItem``."""
        return await self._call("UpdateItem", request)

    async def delete_item(self, **request: Any) -> dict[str, Any]:
        """Call ``DeleteItem``."""
        return await self._call("DeleteItem", request)

    async def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Call ``BatchWriteItem``."""
        return await self._call("BatchWriteItem", request)

    async def transact_get_items(self, **request: Any) -> dict[str, Any]:
        """Call ``TransactGetItems``."""
        return await self._call("TransactGetItems", request)

    async def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Call ``TransactWriteItems``; attempts after the first repeat nothing that was done."""
        request.setdefault("ClientRequestToken", str(uuid.uuid4()))
        return await self._call("TransactWriteItems", request)

    async def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if self._calls is None:
            return await self._attempts(operation, request)
        with self._calls.call("DynamoDB", operation):
            return await self._attempts(operation, request)

    async def _attempts(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Make a call, again while that may help.

        Raises:
            ClientError: If it was answered with an error.
            EndpointConnectionError: If it was not answered.
            ReadTimeoutError: If it was not answered in time.
            NoCredentialsError: If there are no credentials.
        """
        body = json.dumps(request).encode()
        attempt = 1
        while True:
            reply, fault = None, None
            try:
                reply = await self._attempt(operation, body)
                if reply.status == _OK:
                    self._allowance.refund(attempt)
                    return reply.content
            except (aiohttp.ClientError, TimeoutError, OSError, ConnectionFailedError) as error:
                fault = error
            again = reply is None or reply.is_passing
            if not again or attempt >= ATTEMPTS or not self._allowance.take():
                break
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.random())  # noqa: S311
            attempt += 1
        if reply is not None:
            raise _client_error(operation, reply, attempt)
        if isinstance(fault, TimeoutError):
            raise ReadTimeoutError(endpoint_url=self._endpoint, error=fault) from fault
        raise EndpointConnectionError(endpoint_url=self._endpoint, error=fault) from fault

    async def _attempt(self, operation: str, body: bytes) -> _Reply:
        headers = await self._signed(operation, body)
        async with self._session.post(
            self._endpoint, data=body, headers=headers, allow_redirects=False
        ) as answer:
            content = await answer.read()
            crc = answer.headers.get("x-amz-crc32")
            if crc is not None and crc != str(zlib.crc32(content)):
                raise ConnectionFailedError("the answer does not have the checksum that it names")
            try:
                found = from_json(content) if content else {}
            except ValueError:
                found = {}
            if not isinstance(found, dict) or (answer.status == _OK and not content):
                raise ConnectionFailedError("the answer is not a JSON object")
            return _Reply(answer.status, answer.headers.get("x-amzn-RequestId", ""), found)

    async def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        """Return the headers of a request, signed."""
        credentials = await self._credentials()
        if credentials is None:
            raise NoCredentialsError
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        day = time[:8]
        target = _TARGET + operation
        names = "content-type;host;x-amz-date"
        canonical = f"content-type:{_CONTENT_TYPE}\nhost:{self._host}\nx-amz-date:{time}\n"
        headers = {
            # The checksum is that of the answer as it is, not compressed.
            "Accept-Encoding": "identity",
            "Content-Type": _CONTENT_TYPE,
            "Host": self._host,
            "X-Amz-Date": time,
            "X-Amz-Target": target,
        }
        if credentials.token:
            names += ";x-amz-security-token"
            canonical += f"x-amz-security-token:{credentials.token}\n"
            headers["X-Amz-Security-Token"] = credentials.token
        names += ";x-amz-target"
        canonical += f"x-amz-target:{target}\n"
        digest = hashlib.sha256(body).hexdigest()
        request = f"POST\n/\n\n{canonical}\n{names}\n{digest}"
        scope = f"{day}/{self._region}/dynamodb/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        key = self._key(credentials.secret_key, day)
        signature = hmac.new(
            key, f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}".encode(), hashlib.sha256
        ).hexdigest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _key(self, secret: str, day: str) -> bytes:
        """Return the signing key of a day, derived once."""
        known = self._signing_key
        if known is not None and known[0] == (secret, day):
            return known[1]
        key = f"AWS4{secret}".encode()
        for part in (day, self._region, "dynamodb", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._signing_key = ((secret, day), key)
        return key


class RetryAllowance:
    """Stops retries while they only add to an outage: calls that succeed at once earn new ones.

    Source: AWS SDKs and Tools Reference Guide, "Retry behavior", standard mode: 500 tokens, of
    which an attempt after the first takes 5.
    """

    _MOST = 500
    _COST = 5

    def __init__(self) -> None:
        self._left = self._MOST

    def take(self) -> bool:
        """Take what one retry costs, and tell whether it was there."""
        if self._left < self._COST:
            return False
        self._left -= self._COST
        return True

    def refund(self, attempt: int) -> None:
        """Give back what a call is worth that succeeded with this attempt."""
        self._left = min(self._MOST, self._left + (self._COST if attempt > 1 else 1))


def _client_error(operation: str, reply: _Reply, attempts: int) -> ClientError:
    content = {name: value for name, value in reply.content.items() if name != "__type"}
    message = content.pop("message", None) or content.pop("Message", "")
    response: Any = {
        **content,
        "Error": {"Code": reply.code, "Message": message},
        "ResponseMetadata": {
            "HTTPStatusCode": reply.status,
            "RequestId": reply.request_id,
            "RetryAttempts": attempts - 1,
        },
    }
    return ClientError(response, operation)
