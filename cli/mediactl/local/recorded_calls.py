"""The calls that roles made, as the emulator recorded them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RecordedCall:
    """One authorization decision on a role.

    Attributes:
        time: Unix seconds.
        role: Name of the role.
        action: For example ``s3:GetObject``.
        resource: ARN, or ``*`` for actions that have none.
        region: Region of the call.
        allowed: Whether the policies of the role, and those of the resource, allow it.
    """

    time: float
    role: str
    action: str
    resource: str
    region: str
    allowed: bool


def grouped(call: RecordedCall) -> str:
    """Return the resource of a call, for an object the folder that is two levels deep."""
    parts = call.resource.split("/", 3)
    if not call.resource.startswith("arn:aws:s3:::") or len(parts) <= 3:  # noqa: PLR2004
        return call.resource
    return "/".join([*parts[:3], "*"])


def read_calls(file: Path, *, since: float = 0.0) -> Iterator[RecordedCall]:
    """Yield the recorded calls, oldest first.

    Args:
        file: ``calls.jsonl`` of a state folder.
        since: Unix seconds; older calls are left out.
    """
    if not file.exists():
        return
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            # The last line may still be in the making.
            if line.endswith("\n"):
                call = RecordedCall(**json.loads(line))
                if call.time >= since:
                    yield call
