"""What constructs are in."""

from __future__ import annotations

import functools

from constructs import IConstruct


@functools.cache
def scopes_of(construct: IConstruct) -> tuple[IConstruct, ...]:
    """Return all that a construct is in, from the app to itself, which never changes."""
    return tuple(construct.node.scopes)
