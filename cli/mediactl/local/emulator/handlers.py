"""Shared parts of CloudFormation handlers.

MiniStack keeps its handlers in one dictionary by resource type. A handler is a dictionary of
functions: ``create(logical_id, properties, stack)`` and ``update(physical_id, old, new, stack)``
return the physical id and the attributes, ``delete(physical_id, properties)`` returns nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_region
from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]
Outcome = tuple[str, dict[str, Any]]
Handlers = dict[str, Any]
After = Callable[[str, Properties], dict[str, Any]]


def register(resource_type: str, handlers: Handlers) -> None:
    """Register the handlers of a type, in place of MiniStack's."""
    provisioners._RESOURCE_HANDLERS[resource_type] = handlers  # noqa: SLF001


def extend(resource_type: str, after: After) -> None:
    """Run ``after`` when MiniStack's handler created or updated a resource.

    Args:
        resource_type: A type that MiniStack handles.
        after: Takes the physical id and the properties, does what the handler leaves out, and
            returns attributes to add.
    """
    known = provisioners._RESOURCE_HANDLERS[resource_type]  # noqa: SLF001
    create_first = known["create"]
    update_first = known.get("update")

    def create(logical_id: str, properties: Properties, stack: str) -> Outcome:
        physical_id, attributes = create_first(logical_id, properties, stack)
        return physical_id, {**(attributes or {}), **after(physical_id, properties)}

    extended = {**known, "create": create}
    if update_first is not None:

        def update(
            physical_id: str, old: Properties, new: Properties, stack: str, *rest: Any
        ) -> Outcome:
            new_id, attributes = update_first(physical_id, old, new, stack, *rest)
            return new_id, {**(attributes or {}), **after(new_id, new)}

        extended["update"] = update
    provisioners._RESOURCE_HANDLERS[resource_type] = extended  # noqa: SLF001


def replacing(create: Callable[..., Outcome], delete: Callable[..., None]) -> Handlers:
    """Return handlers of a type of which every change is a replacement.

    CloudFormation deletes the predecessor when the update has succeeded, because the physical id
    differs.
    """

    def update(
        physical_id: str,
        old: Properties,
        new: Properties,
        stack: str,
        logical_id: str | None = None,
    ) -> Outcome:
        del old
        return create(logical_id or physical_id, new, stack)

    return {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }


def physical_name(stack: str, logical_id: str, *, longest: int = 128) -> str:
    """Return the name that CloudFormation generates for a resource without one."""
    name: str = provisioners._physical_name(stack, logical_id, max_len=longest)  # noqa: SLF001
    return name


def name_by_region() -> None:
    """Give resources of equal stacks different names in different regions.

    MiniStack makes a name from stack and logical id alone, and then the roles of the one region
    would take the place of those of the other: their names are of the whole account.
    """
    make_name: Callable[..., str] = provisioners._physical_name  # noqa: SLF001
    seed = provisioners._NAME_SEED  # noqa: SLF001

    def name(stack: str, logical_id: str, *, seeded: bool = True, **options: Any) -> str:
        token = seed.set(f"{seed.get() if seeded else ''}@{get_region()}")
        try:
            return make_name(stack, logical_id, **options)
        finally:
            seed.reset(token)

    provisioners._physical_name = name  # noqa: SLF001


def new_id(prefix: str) -> str:
    """Return a fresh id as EC2 writes them."""
    return f"{prefix}-{uuid.uuid4().hex[:17]}"


def require_ok(response: tuple[int, Any, Any], what: str) -> Any:
    """Return the body of an answer of a MiniStack service.

    Raises:
        ValueError: If the service refused; CloudFormation rolls back with the text.
    """
    status, _, body = response
    if status >= 400:  # noqa: PLR2004 - HTTP errors
        raise ValueError(f"{what} failed: {body!r}")
    return body
