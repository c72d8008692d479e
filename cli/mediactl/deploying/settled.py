"""How stacks are: settled, being changed, or stuck, and what failed first in one that is stuck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mediactl.deploying.assembly import AssemblyStack
from mediactl.environment import Environment
from mediactl.errors import REFUSED, CommandError

_REMADE = "ROLLBACK_COMPLETE"
_DELETED_BY_HAND = (
    "`aws cloudformation delete-stack --stack-name {name} --region {region}`, then deploy again"
)
_STUCK = {
    _REMADE: "its next deployment makes it anew; what it kept, such as buckets with a name, has to"
    " be removed before",
    "CREATE_FAILED": _DELETED_BY_HAND,
    "ROLLBACK_FAILED": _DELETED_BY_HAND,
    "DELETE_FAILED": "`mediactl destroy -e {environment}` goes on with it",
    "UPDATE_FAILED": "`aws cloudformation rollback-stack --stack-name {name} --region {region}`"
    " puts it back",
    "UPDATE_ROLLBACK_FAILED": "`aws cloudformation continue-update-rollback --stack-name {name}"
    " --region {region}` puts it back, once what its events tell is mended",
}
"""What to do about a stack that is stuck, by its status.

Source: AWS CloudFormation User Guide, "Understand CloudFormation stack creation events" (status
codes) and "Continue rolling back an update".
"""


@dataclass(frozen=True)
class Failure:
    """What failed first in a stack; all else followed from it.

    Attributes:
        stack: Name of the stack.
        region: Its region.
        logical_id: Resource that failed.
        type: Its type.
        reason: What AWS said.
    """

    stack: str
    region: str
    logical_id: str
    type: str
    reason: str


def is_busy(status: str | None) -> bool:
    """Return whether CloudFormation is changing a stack that has a status."""
    # In review, a stack waits for somebody to make it from a change set; nothing is under way.
    return status is not None and status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"


def remedy(environment: Environment, stack: AssemblyStack, status: str) -> str | None:
    """Return what to do about a stack, ``None`` if it is not stuck."""
    text = _STUCK.get(status)
    return text and text.format(name=stack.name, region=stack.region, environment=environment.name)


def check_not_busy(environment: Environment, stacks: Sequence[AssemblyStack]) -> None:
    """Check that nobody else changes stacks.

    Raises:
        CommandError: If one does; nothing happened then.
    """
    for stack in stacks:
        status = environment.stack_status(stack.name, stack.region)
        if is_busy(status):
            raise CommandError(
                f"{stack.name} in {stack.region} is being changed ({status})",
                hint=f"wait until that is over; `mediactl doctor -e {environment.name}` tells",
                exit_code=REFUSED,
            )


def check_settled(environment: Environment, stacks: Sequence[AssemblyStack]) -> None:
    """Check that nobody else changes stacks, and that none is stuck.

    Raises:
        CommandError: If one is; nothing happened then.
    """
    check_not_busy(environment, stacks)
    for stack in stacks:
        status = environment.stack_status(stack.name, stack.region) or ""
        hint = remedy(environment, stack, status)
        if hint is not None and status != _REMADE:
            raise CommandError(
                f"{stack.name} in {stack.region} is half deployed ({status})",
                hint=hint,
                exit_code=REFUSED,
            )


def failed_change(
    environment: Environment, stacks: Sequence[AssemblyStack], since: datetime, *, log: Path
) -> CommandError | None:
    """Return what failed first in stacks and what to do about it, ``None`` if AWS tells nothing.

    Args:
        environment: The environment.
        stacks: The stacks, in the order in which they were changed.
        since: When that began.
        log: File with the output of the CDK CLI.
    """
    for stack in stacks:
        failure = first_failure(environment, stack, since)
        if failure is not None:
            status = environment.stack_status(stack.name, stack.region) or ""
            then = remedy(environment, stack, status) or (
                "the stack is as it was before; deploy again"
                if status.endswith("_COMPLETE")
                else "do it again"
            )
            return CommandError(
                f"{failure.logical_id} ({failure.type}) of {stack.name} in {stack.region}"
                f" failed: {failure.reason}",
                hint=f"mend that; {then}; the output of the CDK CLI is in {log}",
            )
    return None


def first_failure(
    environment: Environment, stack: AssemblyStack, since: datetime
) -> Failure | None:
    """Return what failed first in a stack, ``None`` if nothing did.

    Args:
        environment: The environment.
        stack: The stack.
        since: When its deployment began; what failed before is of another.
    """
    if environment.stack(stack.name, stack.region) is None:
        return None
    client = environment.client("cloudformation", stack.region)
    failed: dict[str, Any] | None = None
    # Events come newest first; a clock may be a little wrong.
    begun = since - timedelta(seconds=5)
    for page in client.get_paginator("describe_stack_events").paginate(StackName=stack.name):
        for event in page["StackEvents"]:
            if event["Timestamp"] < begun:
                break
            reason = event.get("ResourceStatusReason", "")
            is_cause = event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason
            is_stack = event["LogicalResourceId"] == stack.name
            if is_cause and not (is_stack and failed is not None):
                failed = event
        else:
            continue
        break
    if failed is None:
        return None
    if "DescribeEvents" in failed.get("ResourceStatusReason", ""):
        failed = _invalid(client, stack.name, begun) or failed
    reason = failed.get("ValidationStatusReason") or failed.get("ResourceStatusReason")
    return Failure(
        stack.name,
        stack.region,
        failed["LogicalResourceId"],
        failed["ResourceType"],
        " ".join((reason or "no reason is told").split()),
    )


def _invalid(client: Any, name: str, since: datetime) -> dict[str, Any] | None:
    """Return the event of the first resource that CloudFormation refused before it began.

    The events of the stack only say that there is one. Source: AWS CloudFormation User Guide,
    "Validate stack deployments".
    """
    if not client.can_paginate("describe_events"):
        # An older boto3 does not know the call.
        return None
    pages = client.get_paginator("describe_events").paginate(
        StackName=name, Filters={"FailedEvents": True}
    )
    for page in pages:
        for event in page["OperationEvents"]:
            if event["Timestamp"] >= since and event.get("ValidationStatus") == "FAILED":
                found: dict[str, Any] = event
                return found
    return None
