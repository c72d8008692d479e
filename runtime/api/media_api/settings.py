"""What the service is told when it starts, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from media_platform.contract.environment import (
    API_PORT,
    LISTEN_ADDRESS,
    ApiEnvironment,
    InvalidEnvironmentError,
)

ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - a task has one interface, behind its security group
LONGEST_UPLOAD_EXPIRY_SECONDS = 7 * 24 * 3600
"""Longest lifetime of a SigV4 query signature.

Source: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters".
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process.

    Attributes:
        environment: What the task definition says.
        host: Address to listen on.
        port: TCP port to listen on; 0 lets the system choose one.
    """

    environment: ApiEnvironment
    host: str = ALL_INTERFACES
    port: int = API_PORT

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
                ("upload_max_bytes", 50 * 1024**4),
                ("upload_expiry_seconds", LONGEST_UPLOAD_EXPIRY_SECONDS),
                ("playback_expiry_seconds", LONGEST_UPLOAD_EXPIRY_SECONDS),
            )
            if not 1 <= (value := getattr(environment, name)) <= most
        ]
        host, port = ALL_INTERFACES, API_PORT
        address = variables.get(LISTEN_ADDRESS)
        if address:
            name, separator, number = address.rpartition(":")
            if separator and name and number.isdecimal() and int(number) < 2**16:
                host, port = name.strip("[]"), int(number)
            else:
                problems.append(f"{LISTEN_ADDRESS} is {address!r}, not <host>:<port>")
        if problems:
            raise InvalidEnvironmentError(f"{cls.__name__}: {'; '.join(problems)}")
        return cls(environment=environment, host=host, port=port)
