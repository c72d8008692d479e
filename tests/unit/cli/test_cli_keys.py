"""Which step of a rotation comes next, and how a change of a stack ends that cannot be made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.stub import ANY, Stubber

from media_platform.contract.delivery import longest_grant_seconds
from mediactl.deploying.stack_updates import StackUpdates
from mediactl.errors import FAILED, NOT_FOUND, REFUSED, CommandError
from mediactl.keys.numbers import Numbers, State
from mediactl.keys.rotation import Step, next_step

NOW = 1_800_000_000


def numbers(a: int, b: int, active: str) -> Numbers:
    return Numbers({"a": a, "b": b}, active)


@pytest.mark.parametrize(
    ("seen", "state", "kept", "step"),
    [
        (numbers(1, 0, "a"), State.SETTLED, 1, None),
        (numbers(1, NOW, "a"), State.ADDED, NOW, Step.SWITCH),
        (numbers(1, NOW, "b"), State.SWITCHED, NOW, Step.REMOVE),
        (numbers(0, NOW, "b"), State.SETTLED, NOW, None),
        (numbers(NOW + 9, NOW, "b"), State.ADDED, NOW + 9, Step.SWITCH),
        # Back to the old key, from wherever it is.
        (numbers(1, NOW, "a"), State.ADDED, 1, Step.REMOVE),
        (numbers(1, NOW, "b"), State.SWITCHED, 1, Step.SWITCH),
    ],
)
def test_the_next_step_follows_from_what_there_is(
    seen: Numbers, state: State, kept: int, step: Step | None
) -> None:
    assert seen.state is state
    assert next_step(seen, kept) is step


def test_steps_lead_from_one_key_to_the_next_and_no_number_is_used_twice() -> None:
    seen = numbers(1, 0, "a")
    for now in (NOW, NOW, NOW + 5.7):
        old = seen.keys[seen.active]
        added = seen.added(now)
        assert added.keys[added.other] > old
        seen = added.switched().removed()
        assert seen.state is State.SETTLED
        assert seen.keys[seen.active] == added.keys[added.other]
    assert seen == numbers(0, NOW + 5, "b")
    assert Numbers.from_parameters({**seen.to_parameters(), "BootstrapVersion": "33"}) == seen


def test_a_rotation_that_somebody_else_has_ended_is_told() -> None:
    with pytest.raises(CommandError, match="somebody else has ended the rotation") as told:
        next_step(numbers(1, 0, "a"), NOW)
    assert told.value.exit_code == REFUSED


def test_a_stack_of_an_older_version_is_told() -> None:
    with pytest.raises(CommandError, match="the Edge stack has no parameters for keys") as told:
        Numbers.from_parameters({"BootstrapVersion": "33"})
    assert told.value.exit_code == NOT_FOUND


@pytest.mark.parametrize(("lifetime", "longest"), [(10, 12), (14_400, 18_000), (3, 4)])
def test_a_grant_holds_for_a_quarter_longer_at_most(lifetime: int, longest: int) -> None:
    assert longest_grant_seconds(lifetime) == longest


@pytest.fixture
def stubbed() -> tuple[Stubber, StackUpdates]:
    client: Any = botocore.session.get_session().create_client(
        "cloudformation",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    return Stubber(client), StackUpdates(client, "Edge", poll_seconds=0)


def stack(status: str = "UPDATE_COMPLETE", **parameters: str) -> dict[str, Any]:
    return {
        "Stacks": [
            {
                "StackName": "Edge",
                "CreationTime": datetime.now(UTC) - timedelta(days=1),
                "StackStatus": status,
                "Tags": [{"Key": "stage", "Value": "test"}],
                "Parameters": [
                    {"ParameterKey": name, "ParameterValue": value}
                    for name, value in {"Other": "o", **parameters}.items()
                ],
            }
        ]
    }


def expect_change_set(stubber: Stubber, status: str = "CREATE_COMPLETE", reason: str = "") -> None:
    stubber.add_response("describe_stacks", stack("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Key="1"))
    stubber.add_response("describe_stacks", stack(Key="1"))
    stubber.add_response(
        "create_change_set",
        {"Id": "arn:aws:cloudformation:change-set"},
        {
            "StackName": "Edge",
            "ChangeSetName": ANY,
            "UsePreviousTemplate": True,
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            "Parameters": [
                {"ParameterKey": "Other", "UsePreviousValue": True},
                {"ParameterKey": "Key", "ParameterValue": "2"},
            ],
            "Tags": [{"Key": "stage", "Value": "test"}],
            "NotificationARNs": [],
        },
    )
    stubber.add_response("describe_change_set", {"Status": "CREATE_IN_PROGRESS"})
    stubber.add_response("describe_change_set", {"Status": status, "StatusReason": reason})


def change(updates: StackUpdates) -> None:
    updates.change({"Key": "1"}, {"Key": "2"})


def test_a_change_waits_for_others_and_keeps_all_else(
    stubbed: tuple[Stubber, StackUpdates],
) -> None:
    stubber, updates = stubbed
    expect_change_set(stubber)
    stubber.add_response("describe_stacks", stack(Key="1"))
    stubber.add_response("execute_change_set", {})
    stubber.add_response("describe_stacks", stack("UPDATE_IN_PROGRESS", Key="1"))
    stubber.add_response("describe_stacks", stack(Key="2"))
    with stubber:
        change(updates)
    stubber.assert_no_pending_responses()


def test_what_is_so_already_is_no_change(stubbed: tuple[Stubber, StackUpdates]) -> None:
    stubber, updates = stubbed
    expect_change_set(stubber, "FAILED", "The submitted information didn't contain changes.")
    stubber.add_response("delete_change_set", {})
    with stubber:
        change(updates)
    stubber.assert_no_pending_responses()


def overtaken_before(stubber: Stubber) -> None:
    stubber.add_response("describe_stacks", stack(Key="3"))


def overtaken_meanwhile(stubber: Stubber) -> None:
    stubber.add_response("describe_stacks", stack(Key="1"))
    stubber.add_client_error("execute_change_set", "InvalidChangeSetStatus")


def deleted_meanwhile(stubber: Stubber) -> None:
    stubber.add_response("describe_stacks", stack(Key="1"))
    stubber.add_client_error("execute_change_set", "ChangeSetNotFound")


@pytest.mark.parametrize("overtaken", [overtaken_before, overtaken_meanwhile, deleted_meanwhile])
def test_of_two_who_change_a_stack_at_once_one_is_refused(
    stubbed: tuple[Stubber, StackUpdates], overtaken: Callable[[Stubber], None]
) -> None:
    stubber, updates = stubbed
    expect_change_set(stubber)
    overtaken(stubber)
    stubber.add_response("delete_change_set", {})
    with stubber, pytest.raises(CommandError, match="somebody else has changed stack Edge") as told:
        change(updates)
    assert told.value.exit_code == REFUSED
    stubber.assert_no_pending_responses()


def event(logical_id: str, status: str, reason: str = "") -> dict[str, Any]:
    return {
        "StackId": "s",
        "EventId": "e",
        "StackName": "Edge",
        "LogicalResourceId": logical_id,
        "ResourceStatus": status,
        "Timestamp": datetime.now(UTC),
        **({"ResourceStatusReason": reason} if reason else {}),
    }


def test_a_change_that_was_taken_back_is_told_with_the_first_reason_of_this_time(
    stubbed: tuple[Stubber, StackUpdates],
) -> None:
    stubber, updates = stubbed
    expect_change_set(stubber)
    stubber.add_response("describe_stacks", stack(Key="1"))
    stubber.add_response("execute_change_set", {})
    stubber.add_response("describe_stacks", stack("UPDATE_ROLLBACK_COMPLETE", Key="1"))
    events = [
        event("Edge", "UPDATE_ROLLBACK_COMPLETE"),
        event("Group", "UPDATE_FAILED", "Resource update cancelled"),
        event("Pair", "UPDATE_FAILED", "the region does not answer"),
        event("Edge", "UPDATE_IN_PROGRESS"),
        event("Pair", "UPDATE_FAILED", "that was last week"),
    ]
    stubber.add_response("describe_stack_events", {"StackEvents": events})
    stubber.add_response("delete_change_set", {})
    with (
        stubber,
        pytest.raises(CommandError, match=r"taken back .*: Pair: the") as told,
    ):
        change(updates)
    assert told.value.exit_code == FAILED
