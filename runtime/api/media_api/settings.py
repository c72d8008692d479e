"""What the service is told when it starts, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from media_platform.contract.environment import (
    API_PORT,
    LISTEN_ADDRESS,
    NO_CACHE,
    ApiEnvironment,
    InvalidEnvironmentError,
)
from media_platform.contract.upload import UPLOAD_MAX_BYTES
from media_platform.contract.webhook_urls import parse_networks

ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - a task has one interface, behind its security group
LONGEST_UPLOAD_EXPIRY_SECONDS = 7 * 24 * 3600
"""Longest lifetime of a SigV4 query signature.

Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters".
"""


_MOST = 2**53
"""Largest number that every JSON reader takes exactly."""


def cache_problems(url: str) -> list[str]:
    """Return what is wrong with the URL of a cache, if anything is."""
    parts = urlsplit(url)
    if url == NO_CACHE or (parts.scheme in {"redis", "rediss"} and parts.hostname):
        return []
    return [f"CACHE_URL is {url!r}, not rediss://<host>:<port>; correct it, or write {NO_CACHE}"]


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a process listens.

    Attributes:
        host: Address to listen on.
        port: TCP port to listen on; 0 lets the system choose one.
    """

    host: str = ALL_INTERFACES
    port: int = API_PORT

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Read it from environment variables; without any, a task listens on its interface.

        Raises:
            InvalidEnvironmentError: If the address is malformed.
        """
        address = variables.get(LISTEN_ADDRESS)
        if not address:
            return cls()
        name, separator, number = address.rpartition(":")
        if not (separator and name and number.isdecimal() and int(number) < 2**16):
            raise InvalidEnvironmentError(f"{LISTEN_ADDRESS} is {address!r}, not <host>:<port>")
        return cls(host=name.strip("[]"), port=int(number))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process.

    Attributes:
        environment: What the task definition says.
        listening: Where it listens.
    """

    environment: ApiEnvironment
    listening: Listening = Listening()

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Raises:
            InvalidEnvironmentError: If a variable is missing, malformed or out of range; the
                message is one line that names all of them.
        """
        environment = ApiEnvironment.from_variables(variables)
        problems = [
            f"{name.upper()} is {value}, which is not from 1 to {most}; correct the stage"
            for name, most in (
                ("upload_max_bytes", UPLOAD_MAX_BYTES),
                ("upload_expiry_seconds", LONGEST_UPLOAD_EXPIRY_SECONDS),
                ("playback_expiry_seconds", LONGEST_UPLOAD_EXPIRY_SECONDS),
                *((name, _MOST) for name in ("quota_videos", "quota_bytes", "quota_uploads")),
            )
            if not 1 <= (value := getattr(environment, name)) <= most
        ]
        try:
            parse_networks(environment.webhook_allowed_networks)
        except ValueError as error:
            problems.append(
                f"WEBHOOK_ALLOWED_NETWORKS is {environment.webhook_allowed_networks!r}: {error}; "
                "list networks with commas, or write none"
            )
        problems += cache_problems(environment.cache_url)
        listening = Listening()
        try:
            listening = Listening.from_variables(variables)
        except InvalidEnvironmentError as error:
            problems.append(str(error))
        if problems:
            raise InvalidEnvironmentError(f"{cls.__name__}: {'; '.join(problems)}")
        return cls(environment=environment, listening=listening)
