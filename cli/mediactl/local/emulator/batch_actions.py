"""Batch calls are authorized as the call they repeat; IAM knows no action of their own.

Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon SQS" and
"... for Amazon SNS", which list no batch actions.
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


def install() -> None:
    """Name the actions of batch calls as AWS does."""
    extract: Callable[..., str | None] = iam_actions.extract_iam_action

    def extract_iam_action(*args: Any, **options: Any) -> str | None:
        action = extract(*args, **options)
        return action if action is None else ACTIONS.get(action, action)

    iam_actions.extract_iam_action = extract_iam_action
