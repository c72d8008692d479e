"""Changes of the parameters of a stack, whose template stays as it was deployed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from mediactl.errors import REFUSED, CommandError

_WORKS = "_IN_PROGRESS"
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")
_SECONDS = 1800
"""Longest wait for an update; those of a distribution take some minutes."""


class StackUpdates:
    """A stack whose parameters are changed.

    A change is a change set, which CloudFormation executes only if nobody has updated the stack
    since it was made: so nobody changes what he has not seen.

    Args:
        cloudformation: A client.
        name: Name of the stack.
        poll_seconds: Time between two looks.

    Source: CloudFormation User Guide, "Update stacks using change sets".
    """

    def __init__(self, cloudformation: Any, name: str, *, poll_seconds: float) -> None:
        self._cloudformation = cloudformation
        self._name = name
        self._poll_seconds = poll_seconds

    def parameters(self) -> dict[str, str]:
        """Return the parameters, once no update of the stack is under way."""
        return _parameters(self._at_rest())

    def change(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Change parameters and wait until it is done; nothing is done where they are so already.

        Args:
            before: What they were seen to be.
            after: What they are to be.

        Raises:
            CommandError: If somebody else changed them, or the update fails and is taken back.
        """
        made = self._cloudformation.create_change_set(
            StackName=self._name,
            ChangeSetName=f"mediactl-{uuid.uuid4()}",
            UsePreviousTemplate=True,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            **self._as_it_is(after),
        )["Id"]
        gone = self._cloudformation.exceptions
        try:
            if not self._is_made(made):
                return
            self._execute(made, before)
        except (gone.ChangeSetNotFoundException, gone.InvalidChangeSetStatusException):
            # To execute a change set deletes all others of its stack, or makes them obsolete.
            self._delete(made)
            raise self._overtaken() from None
        except BaseException:
            # One that is being executed cannot be deleted, and need not be.
            self._delete(made)
            raise
        self._check(self._at_rest())

    def _as_it_is(self, after: Mapping[str, str]) -> dict[str, Any]:
        """Return what a change set has to repeat, or it would be gone."""
        stack = self._at_rest()
        return {
            "Parameters": [
                {"ParameterKey": name, "ParameterValue": after[name]}
                if name in after
                else {"ParameterKey": name, "UsePreviousValue": True}
                for name in _parameters(stack)
            ],
            "Tags": stack.get("Tags", []),
            "NotificationARNs": stack.get("NotificationARNs", []),
        }

    def _is_made(self, change_set: str) -> bool:
        """Wait until a change set is made; return whether it changes anything."""
        while True:
            seen = self._cloudformation.describe_change_set(
                ChangeSetName=change_set, StackName=self._name
            )
            if seen["Status"] == "CREATE_COMPLETE":
                return True
            if seen["Status"] == "FAILED":
                reason = seen.get("StatusReason", "no reason is told")
                if any(text in reason for text in _UNCHANGED):
                    self._delete(change_set)
                    return False
                raise CommandError(f"stack {self._name} cannot be changed: {reason}")
            time.sleep(self._poll_seconds)

    def _execute(self, change_set: str, before: Mapping[str, str]) -> None:
        # An update until now is seen here, and a later one makes the change set obsolete.
        if not before.items() <= self.parameters().items():
            raise self._overtaken()
        self._cloudformation.execute_change_set(ChangeSetName=change_set, StackName=self._name)

    def _delete(self, change_set: str) -> None:
        try:
            self._cloudformation.delete_change_set(ChangeSetName=change_set, StackName=self._name)
        except ClientError:
            return

    def _overtaken(self) -> CommandError:
        return CommandError(
            f"somebody else has changed stack {self._name} meanwhile",
            hint="run the same command again: it goes on from what is there now",
            exit_code=REFUSED,
        )

    def _at_rest(self) -> dict[str, Any]:
        """Return the stack once no operation on it is under way."""
        deadline = time.monotonic() + _SECONDS
        while True:
            stacks = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"]
            stack: dict[str, Any] = stacks[0]
            status = str(stack["StackStatus"])
            if not status.endswith(_WORKS) or status == "REVIEW_IN_PROGRESS":
                return stack
            if time.monotonic() > deadline:
                raise CommandError(
                    f"stack {self._name} is {status} for {_SECONDS // 60} minutes",
                    hint="see its events in CloudFormation, then run the same command again",
                )
            time.sleep(self._poll_seconds)

    def _check(self, stack: Mapping[str, Any]) -> None:
        status = stack["StackStatus"]
        if status == "UPDATE_COMPLETE":
            return
        events = self._cloudformation.describe_stack_events(StackName=self._name)["StackEvents"]
        reason = next(
            (
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in reversed(_latest(events))
                if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason")
            ),
            "see its events in CloudFormation",
        )
        raise CommandError(
            f"the change of stack {self._name} failed and was taken back ({status}): {reason}",
            hint="nobody is refused by that; once the reason is mended, run the same command again",
        )


def _parameters(stack: Mapping[str, Any]) -> dict[str, str]:
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}


def _latest(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of the last operation, the newest first as they are listed."""
    for index, event in enumerate(events):
        started = event["ResourceStatus"] == "UPDATE_IN_PROGRESS"
        if started and event["LogicalResourceId"] == event["StackName"]:
            return events[:index]
    return events
