"""Batch calls are authorized as the call they repeat; IAM knows no action of their own.

Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon SQS",
"... for Amazon SNS" and "... for Amazon S3", which list no batch actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.core import iam_actions

ACTIONS: dict[str, str] = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
"""The action of IAM by the name of the batch call."""

DELETE_OBJECT = "s3:DeleteObject"
DELETE_VERSION = "s3:DeleteObjectVersion"


def _first_delete(path: str, body: bytes) -> str:
    """Return the action of the first delete of a batch; MiniStack checks the others itself."""
    targets = iam_actions._s3_batch_delete_targets(path.strip("/"), body)  # noqa: SLF001
    return DELETE_VERSION if targets and targets[0][1] else DELETE_OBJECT


def install() -> None:
    """Name the actions of batch calls as AWS does."""
    extract: Callable[..., str | None] = iam_actions.extract_iam_action

    def extract_iam_action(  # noqa: PLR0917 - the signature is MiniStack's
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
    ) -> str | None:
        action = extract(service, method, path, headers, body, query_params)
        if action == DELETE_OBJECT and "delete" in query_params:
            return _first_delete(path, body)
        return action if action is None else ACTIONS.get(action, action)

    iam_actions.extract_iam_action = extract_iam_action
