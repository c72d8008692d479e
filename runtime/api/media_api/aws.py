"""Clients of the AWS services that the API uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import ClientError

from media_api.cache import CoherentTable, VideoCache, ViewCache
from media_api.dynamodb import ATTEMPTS, Credentials, DynamoDb

if TYPE_CHECKING:
    from media_api.calls import Calls

_CONNECTIONS = 64
"""Connections a service; more requests than that wait for one."""

_KEPT_SECONDS = 20
"""How long an idle connection to the table is kept."""

_CONNECT_SECONDS = 2
_READ_SECONDS = 5

_RETRIES = {"mode": "standard", "total_max_attempts": ATTEMPTS}
"""Standard mode backs off exponentially with jitter and stops when retries do not help.

Source: AWS SDKs and Tools Reference Guide, "Retry behavior".
"""

_COMMON: dict[str, Any] = {
    "connect_timeout": _CONNECT_SECONDS,
    "read_timeout": _READ_SECONDS,
    "retries": _RETRIES,
    "max_pool_connections": _CONNECTIONS,
    "tcp_keepalive": True,
    # The services check what they are sent; checking it here again costs more than the call.
    "parameter_validation": False,
}


@dataclass(frozen=True, kw_only=True)
class Clients:
    """One client a service, all in the home region.

    Attributes:
        dynamodb: Of the table.
        s3: Of both buckets; signs uploads.
        ssm: Of the delivery document.
        secrets: Of the signing keys.
    """

    dynamodb: Any
    s3: Any
    ssm: Any
    secrets: Any


@asynccontextmanager
async def open_clients(
    region: str, *, cache: ViewCache[Any] | None = None, calls: Calls | None = None
) -> AsyncIterator[Clients]:
    """Open the clients for as long as the service runs.

    Credentials and endpoints come from where the AWS SDKs look for them.

    Args:
        region: The home region.
        cache: As in :func:`open_services`.
        calls: As in :func:`open_services`.
    """
    names = ("dynamodb", "s3", "ssm", "secretsmanager")
    async with open_services(region, *names, cache=cache, calls=calls) as opened:
        dynamodb, s3, ssm, secrets = opened
        yield Clients(dynamodb=dynamodb, s3=s3, ssm=ssm, secrets=secrets)


@asynccontextmanager
async def open_tables(
    regions: Iterable[str], *, cache: ViewCache[Any] | None = None, calls: Calls | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Open a client of the table in each of ``regions``, by region.

    Args:
        regions: The regions.
        cache: As in :func:`open_services`.
        calls: As in :func:`open_services`.
    """
    async with AsyncExitStack() as stack:
        yield {
            region: (
                await stack.enter_async_context(
                    open_services(region, "dynamodb", cache=cache, calls=calls)
                )
            )[0]
            for region in regions
        }


@asynccontextmanager
async def open_services(
    region: str,
    *services: str,
    cache: ViewCache[Any] | None = None,
    calls: Calls | None = None,
) -> AsyncIterator[list[Any]]:
    """Open one client for each of ``services``, in their order, with the limits of this module.

    Args:
        region: The home region.
        *services: Names of services, as botocore knows them.
        cache: Keeps videos, and learns of what the client of the table writes. Default: this
            process keeps none; its writes are still held until others keep nothing older.
        calls: Sees every call. Default: nothing does.
    """
    session = get_session()
    # Without "virtual", botocore signs for the global host, which redirects other regions'
    # uploads; without "when_required" it signs a checksum of an empty body.
    s3_config = AioConfig(
        **_COMMON,
        signature_version="s3v4",
        s3={"addressing_style": "virtual"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    async with AsyncExitStack() as stack:
        opened = []
        for service in services:
            if service == "dynamodb":
                client: Any = await stack.enter_async_context(
                    _open_table(session, region, cache, calls)
                )
            else:
                config = s3_config if service == "s3" else AioConfig(**_COMMON)
                client = await stack.enter_async_context(
                    session.create_client(service, region_name=region, config=config)
                )
                if calls is not None:
                    calls.watch(client)
            opened.append(client)
        yield opened


@asynccontextmanager
async def _open_table(
    session: AioSession, region: str, cache: ViewCache[Any] | None, calls: Calls | None
) -> AsyncIterator[CoherentTable]:
    """Open a client of the table, with the endpoint and the credentials that botocore finds."""
    found = await session.get_credentials()

    async def credentials() -> Credentials | None:
        return None if found is None else await found.get_frozen_credentials()

    async with session.create_client(
        "dynamodb", region_name=region, config=AioConfig(**_COMMON)
    ) as found_by_botocore:
        endpoint = found_by_botocore.meta.endpoint_url
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEPT_SECONDS)
    timeout = aiohttp.ClientTimeout(
        total=None, connect=_READ_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "User-Agent"),
    ) as http:
        client = DynamoDb(
            http, endpoint=endpoint, region=region, credentials=credentials, calls=calls
        )
        yield CoherentTable(client, VideoCache() if cache is None else cache)


def error_code(error: ClientError) -> str:
    """Return the code of an error answer, e.g. ``ResourceNotFoundException``."""
    return str(error.response.get("Error", {}).get("Code", ""))


_PASSING = frozenset(
    {
        "InternalServerError",
        "InternalError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def is_passing(error: ClientError) -> bool:
    """Tell whether an error answer is one of overload or outage, and not of the request."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error_code(error) in _PASSING or int(status) >= 500  # noqa: PLR2004 - HTTP
