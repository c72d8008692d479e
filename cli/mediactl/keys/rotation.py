"""The rotation of the key that signs playback, step by step, without a playback that is refused.

A second key is added, and signs once all edge locations have it; the first goes once everything
that it signed has ended. Each step is one change of the parameters of the Edge stack, and which
comes next follows from them. So a rotation goes on wherever it was left, whoever left it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mediactl.errors import NOT_FOUND, REFUSED, CommandError
from mediactl.keys.numbers import Numbers, State
from mediactl.keys.signing_keys import Rotation, SigningKeys, as_text, clock_time


class Step(StrEnum):
    """What is done to the keys."""

    ADD = "add"
    SWITCH = "switch"
    REMOVE = "remove"


@dataclass(frozen=True)
class Obstacle:
    """Why a step has to wait.

    Attributes:
        reason: Why, for people.
        ends_at: When it ends, where that is known.
    """

    reason: str
    ends_at: datetime | None = None


def next_step(numbers: Numbers, kept: int) -> Step | None:
    """Return the next step on the way to one key alone, ``None`` if it is there.

    Args:
        numbers: What there is.
        kept: Number of the key that is to stay.

    Raises:
        CommandError: If that key is gone.
    """
    if kept not in numbers.keys.values():
        raise CommandError(
            "the key that was to stay is gone: somebody else has ended the rotation",
            hint="see what there is: mediactl keys list",
            exit_code=REFUSED,
        )
    if numbers.keys[numbers.active] != kept:
        return Step.SWITCH
    return None if numbers.state is State.SETTLED else Step.REMOVE


@dataclass
class KeyRotation:
    """A rotation.

    Attributes:
        keys: The keys.
        say: Tells the person what happens.
        waits: Whether to wait for what takes time, or to stop there.
        revokes: Whether the old key goes although what it signed has not ended.
    """

    keys: SigningKeys
    say: Callable[[str], None]
    waits: bool = True
    revokes: bool = False
    _done: list[str] = field(default_factory=list)

    def rotate(self) -> Rotation:
        """Begin a rotation, or go on with the one that there is, to its end."""
        numbers = self.keys.numbers()
        if numbers.state is State.SETTLED:
            after = numbers.added(self.keys.now().timestamp())
            self._change(Step.ADD, numbers, after)
            numbers = after
        return self._finish(max(numbers.keys.values()))

    def abort(self) -> Rotation:
        """Go back to the old key, to the end.

        Raises:
            CommandError: If there is no rotation.
        """
        numbers = self.keys.numbers()
        if numbers.state is State.SETTLED:
            raise CommandError("no rotation is under way", exit_code=NOT_FOUND)
        return self._finish(min(numbers.keys.values()))

    def plan(self, *, aborts: bool = False) -> Rotation:
        """Return what would be done, without doing anything."""
        numbers = self.keys.numbers()
        settled = numbers.state is State.SETTLED
        if settled and not aborts:
            steps = [Step.ADD, Step.SWITCH, Step.REMOVE]
        elif settled:
            steps = []
        else:
            pick = min if aborts else max
            kept_signs = numbers.keys[numbers.active] == pick(numbers.keys.values())
            steps = [Step.REMOVE] if kept_signs else [Step.SWITCH, Step.REMOVE]
        return self._shown(numbers, next_=[_TOLD[step] for step in steps])

    def _finish(self, kept: int) -> Rotation:
        while True:
            numbers = self.keys.numbers()
            step = next_step(numbers, kept)
            if step is None:
                return self._shown(numbers)
            obstacle = self._wait(step, numbers)
            if obstacle is not None:
                return self._shown(numbers, next_=[_TOLD[step]], next_at=obstacle.ends_at)
            after = numbers.switched() if step is Step.SWITCH else numbers.removed()
            self._change(step, numbers, after)

    def _wait(self, step: Step, numbers: Numbers) -> Obstacle | None:
        """Wait until a step may be done; return why it may not, if that is not waited for."""
        told = ""
        while (obstacle := self._obstacle(step, numbers)) is not None:
            if obstacle.reason != told:
                told = obstacle.reason
                self.say(f"before {_TOLD[step]}: {told}")
            if not self.waits:
                return obstacle
            time.sleep(self.keys.poll_seconds)
        return None

    def _obstacle(self, step: Step, numbers: Numbers) -> Obstacle | None:
        if step is Step.SWITCH:
            reason = self.keys.untrusted_because(numbers.other)
            return Obstacle(reason) if reason else None
        leaving = self.keys.ids().get(numbers.other)
        if leaving is None:
            return None
        ends_at = (
            self.keys.last_signed_at(leaving)
            if self.revokes
            else self.keys.last_grant_ends_at(leaving)
        )
        if ends_at is None or ends_at <= self.keys.now():
            return None
        what = "tasks read which key signs" if self.revokes else f"what {leaving} signed ends"
        return Obstacle(f"{what} by {clock_time(ends_at)}", ends_at)

    def _change(self, step: Step, before: Numbers, after: Numbers) -> None:
        self.say(f"{_TOLD[step]} …")
        self.keys.change(before, after)
        self._done.append(_TOLD[step])

    def _shown(
        self, numbers: Numbers, *, next_: list[str] | None = None, next_at: datetime | None = None
    ) -> Rotation:
        ids = self.keys.ids()
        left = numbers.state is not State.SETTLED
        return Rotation(
            state=numbers.state,
            signs_with=ids.get(numbers.active, ""),
            other=ids.get(numbers.other) if left else None,
            done=list(self._done),
            next=next_ or [],
            next_at=as_text(next_at) if next_at else None,
        )


_TOLD = {
    Step.ADD: "adding a key",
    Step.SWITCH: "switching to the other key",
    Step.REMOVE: "removing the other key",
}
