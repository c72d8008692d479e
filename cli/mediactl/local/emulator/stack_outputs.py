"""Outputs of stacks are read in the region that a reference names.

MiniStack looks for the stack in the region of whoever reads.

Source: AWS CloudFormation User Guide, "Fn::GetStackOutput", ``Region``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services.cloudformation import engine

FUNCTION = "Fn::GetStackOutput"


def install() -> None:
    """Read outputs where they are."""
    resolve: Callable[..., Any] = engine._resolve_refs  # noqa: SLF001

    def resolve_refs(value: Any, *context: Any, **options: Any) -> Any:
        if not (isinstance(value, dict) and FUNCTION in value):
            return resolve(value, *context, **options)
        region = resolve(value[FUNCTION].get("Region") or get_region(), *context, **options)
        with request_scope(get_account_id(), region):
            return resolve(value, *context, **options)

    engine._resolve_refs = resolve_refs  # noqa: SLF001
