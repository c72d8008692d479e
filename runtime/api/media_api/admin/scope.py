"""How far an administrator reaches: its own tenant, or every one."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from media_api.access import caller_of, is_operator
from media_api.problems import Kind, Problem
from media_api.tokens import Caller


@dataclass(frozen=True)
class Scope:
    """What a caller administers.

    Attributes:
        caller: Who asks.
        everywhere: Whether it is an operator, to whom every tenant is open.
    """

    caller: Caller
    everywhere: bool

    def covers(self, tenant: str) -> bool:
        """Tell whether the caller administers a tenant."""
        return self.everywhere or tenant == self.caller.tenant

    def tenant(self, asked: str | None) -> str:
        """Return the tenant that is asked for; by default that of the caller.

        Raises:
            Problem: If the caller does not administer it.
        """
        if asked is None:
            return self.caller.tenant
        if not self.covers(asked):
            raise Problem(
                Kind.FORBIDDEN,
                f"only operators of the platform see tenant {asked}; leave tenant out for your own",
            )
        return asked


def scope_of(request: Request) -> Scope:
    """Return what the caller of a request administers."""
    caller = caller_of(request)
    return Scope(caller, is_operator(request, caller))
