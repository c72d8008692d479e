"""What the admin service is told when it starts, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from media_api.settings import Listening
from media_platform.contract.environment import AdminEnvironment


@dataclass(frozen=True, kw_only=True)
class AdminSettings:
    """The settings of one process.

    Attributes:
        environment: What the task definition says.
        listening: Where it listens.
    """

    environment: AdminEnvironment
    listening: Listening

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Raises:
            InvalidEnvironmentError: If a variable is missing or malformed.
        """
        return cls(
            environment=AdminEnvironment.from_variables(variables),
            listening=Listening.from_variables(variables),
        )
