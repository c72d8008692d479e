"""Which keys sign playback, by parameters of the Edge stack, and what a rotation makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from media_platform.contract.delivery import NO_KEY, SLOTS
from media_platform.contract.outputs import EdgeParameter
from mediactl.errors import NOT_FOUND, CommandError

_KEY_OF_SLOT = dict(zip(SLOTS, (EdgeParameter.KEY_A, EdgeParameter.KEY_B), strict=True))


class State(StrEnum):
    """Where a rotation stands."""

    SETTLED = "SETTLED"
    ADDED = "ADDED"
    SWITCHED = "SWITCHED"


@dataclass(frozen=True)
class Numbers:
    """The parameters of the stack.

    Attributes:
        keys: Number of the key in each slot, 0 for none.
        active: Slot that signs.
    """

    keys: Mapping[str, int]
    active: str

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Numbers:
        """Read the parameters of the Edge stack.

        Raises:
            CommandError: If the stack has none.
        """
        try:
            keys = {slot: int(parameters[name]) for slot, name in _KEY_OF_SLOT.items()}
            return cls(keys, parameters[EdgeParameter.ACTIVE_SLOT])
        except KeyError:
            raise CommandError(
                "the Edge stack has no parameters for keys",
                hint="deploy it once with this version: mediactl deploy",
                exit_code=NOT_FOUND,
            ) from None

    def to_parameters(self) -> dict[str, str]:
        """Return the parameters of the Edge stack."""
        numbers = {_KEY_OF_SLOT[slot].value: str(number) for slot, number in self.keys.items()}
        return {**numbers, EdgeParameter.ACTIVE_SLOT.value: self.active}

    @property
    def other(self) -> str:
        """The slot that does not sign."""
        (other,) = set(SLOTS) - {self.active}
        return other

    @property
    def state(self) -> State:
        """Where a rotation stands: the key of the greater number is the new one."""
        if self.keys[self.other] == NO_KEY:
            return State.SETTLED
        newer = self.keys[self.active] > self.keys[self.other]
        return State.SWITCHED if newer else State.ADDED

    def added(self, now: float) -> Numbers:
        """Return what is to be with a new key in the empty slot.

        Args:
            now: Unix seconds, from which its number is made: none may be used twice.
        """
        number = max(int(now), self.keys[self.active] + 1)
        return Numbers({**self.keys, self.other: number}, self.active)

    def switched(self) -> Numbers:
        """Return what is to be with the other key signing."""
        return Numbers(self.keys, self.other)

    def removed(self) -> Numbers:
        """Return what is to be with the active key alone."""
        return Numbers({**self.keys, self.other: NO_KEY}, self.active)
