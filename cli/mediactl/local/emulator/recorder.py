"""The recorder: every authorization decision on a role, one JSON object a line.

MiniStack decides in one function, :func:`ministack.core.iam_evaluator.enforce`; all callers look it
up in its module when they call it, so wrapping the attribute sees every decision.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import sts


class Recorder:
    """Appends decisions to a file; lines are whole even when threads write at once."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("a", buffering=1, encoding="utf-8")
        self._lock = threading.Lock()

    def record(self, *, role: str, action: str, resource: str, region: str, allowed: bool) -> None:
        """Append one decision."""
        line = json.dumps(
            {
                "time": round(time.time(), 3),
                "role": role,
                "action": action,
                "resource": resource,
                "region": region,
                "allowed": allowed,
            }
        )
        with self._lock:
            self._stream.write(line + "\n")


def role_of(principal_arn: str) -> str | None:
    """Return the role name of an assumed-role ARN, ``None`` for other principals."""
    _, found, session = principal_arn.partition(":assumed-role/")
    return session.split("/", 1)[0] if found else None


def install(recorder: Recorder) -> None:
    """Record what :func:`enforce` decides on calls of roles.

    A call that fails before a policy is read (unknown key, wrong signature) is no decision on a
    role and is not recorded.
    """
    decide: Callable[..., Any] = iam_evaluator.enforce

    def enforce(  # noqa: PLR0917 - the signature is MiniStack's
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        result = decide(access_key_id, iam_action, service, region, resource_arn, service_context)
        session = sts._sessions.get(access_key_id) or {}  # noqa: SLF001
        role = role_of(str(session.get("Arn", "")))
        if role is not None and not isinstance(result, iam_evaluator.AuthError):
            recorder.record(
                role=role,
                action=iam_action,
                resource=resource_arn,
                region=region,
                allowed=result is None,
            )
        return result

    iam_evaluator.enforce = enforce
