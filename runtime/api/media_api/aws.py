"""Clients of the AWS services that the API uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

_CONNECTIONS = 64
"""Connections a service; more requests than that wait for one."""

_RETRIES = {"mode": "standard", "total_max_attempts": 5}
"""Standard mode backs off exponentially with jitter and stops when retries do not help.

Source: AWS SDKs and Tools Reference Guide, "Retry behavior".
"""

_COMMON: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": _RETRIES,
    "max_pool_connections": _CONNECTIONS,
    "tcp_keepalive": True,
    # The table checks its own types; validating every request again costs more than the call.
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
async def open_clients(region: str) -> AsyncIterator[Clients]:
    """Open the clients for as long as the service runs.

    Credentials and endpoints come from where the AWS SDKs look for them.
    """
    async with open_services(region, "dynamodb", "s3", "ssm", "secretsmanager") as opened:
        dynamodb, s3, ssm, secrets = opened
        yield Clients(dynamodb=dynamodb, s3=s3, ssm=ssm, secrets=secrets)


@asynccontextmanager
async def open_services(region: str, *services: str) -> AsyncIterator[list[Any]]:
    """Open one client for each of ``services``, in their order, with the limits of this module."""
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
        yield [
            await stack.enter_async_context(
                session.create_client(
                    service,
                    region_name=region,
                    config=s3_config if service == "s3" else AioConfig(**_COMMON),
                )
            )
            for service in services
        ]


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
