"""What the admin service is told when it starts, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from media_api.settings import Listening, cache_problems
from media_platform.contract.environment import AdminEnvironment, InvalidEnvironmentError


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
        environment = AdminEnvironment.from_variables(variables)
        if problems := cache_problems(environment.cache_url):
            raise InvalidEnvironmentError(f"{cls.__name__}: {'; '.join(problems)}")
        return cls(
            environment=environment,
            listening=Listening.from_variables(variables),
        )
