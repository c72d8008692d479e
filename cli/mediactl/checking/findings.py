"""Findings of ``mediactl doctor``: what a check yields, and what it gets to look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from mediactl.deployed import regions_of
from mediactl.deploying.assembly import AssemblyStack
from mediactl.deploying.stage import CdkStage
from mediactl.environment import Environment

State = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        check: Name of the check.
        state: ``ok``, ``warn``, ``fail``, or ``skipped`` where nobody could look.
        seen: What was seen, or why nobody could look.
        region: The region, if it is about one.
        fix: What to do about it, a command where one does.
    """

    check: str
    state: State
    seen: str
    region: str | None = None
    fix: str | None = None


class UnseenError(Exception):
    """What a check looks at is not there, of which another check tells the reason."""


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: Its name, for people.
        look: Yields what it finds.
        offline: Whether it asks nobody over the network.
        where: Whether it is for planes on this machine, for AWS alone, or for both; an emulator is
            no AWS.
    """

    name: str
    look: Callable[[Patient], Iterator[Finding]]
    offline: bool = False
    where: Literal["local", "aws", "both"] = "both"


class Patient:
    """An environment that is looked at, and what more than one check wants to know.

    Args:
        environment: The environment.
        say: Tells the person a line.
        offline: Whether nobody is asked over the network.
        drift: Whether CloudFormation compares stacks with what there is, which takes minutes.
    """

    def __init__(
        self, environment: Environment, say: Callable[[str], None], *, offline: bool, drift: bool
    ) -> None:
        self.environment = environment
        self.offline = offline
        self.drift = drift
        self.is_emulated = environment.is_local or bool(os.environ.get("AWS_ENDPOINT_URL"))
        self.unreachable: str | None = None
        """Why nothing can be asked over the network."""
        self.templates: list[AssemblyStack] | None = None
        """What the app synthesizes to, once a check has tried it."""
        self.lost: frozenset[str] = frozenset()
        """Regions that do not answer; they were told of, and are not asked again."""
        self._say = say

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that answer, that of the Edge stack among them."""
        return tuple(one for one in regions_of(self.environment) if one not in self.lost)

    @cached_property
    def stage(self) -> CdkStage:
        """The CDK app of the environment; it is synthesized also where nobody tells the account."""
        offline = self.offline or self.unreachable is not None
        return CdkStage(self.environment, self._say, offline=offline)

    def required_templates(self) -> list[AssemblyStack]:
        """Return what the app synthesizes to.

        Raises:
            UnseenError: If that failed.
        """
        if self.templates is None:
            raise UnseenError("there are no templates to look at; see templates")
        return self.templates

    def reached_templates(self) -> list[AssemblyStack]:
        """Return those of the regions that answer.

        Raises:
            UnseenError: As :meth:`required_templates`.
        """
        return [one for one in self.required_templates() if one.region not in self.lost]
