"""Deployments that fail, are interrupted or meet others: what is told, and what is left alone.

A script stands for the CDK CLI, and an object for what CloudFormation says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from media_platform.contract.outputs import StackPart, stack_name
from mediactl.deploying.bootstrap import bootstrap
from mediactl.deploying.deployment import deploy
from mediactl.deploying.destruction import destroy
from mediactl.deploying.difference import difference
from mediactl.deploying.settled import first_failure
from mediactl.deploying.stage import CdkStage
from mediactl.environment import AwsEnvironment
from mediactl.errors import FAILED, REFUSED, CommandError
from mediactl.locks import alone
from mediactl.options import Consent

REGION = "eu-west-1"
STORE = stack_name("dev", StackPart.STORE)
TEMPLATE = {"Resources": {"Raw": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}}}
YES = Consent(yes=True, confirm=None)


class Account(AwsEnvironment):
    """A stage of one stack, with an app whose CDK CLI is a script.

    Args:
        status: Status of the stack, ``None`` if it is not deployed.
        bootstrapped: Version of the CDK bootstrap, ``None`` for none.
    """

    def __init__(
        self, status: str | None = "CREATE_COMPLETE", bootstrapped: int | None = 30
    ) -> None:
        Path("cdk.json").write_text("{}")
        super().__init__(
            "dev", stage="dev", regions=(REGION,), app=Path.cwd(), account="111122223333"
        )
        self.status = status
        self.bootstrapped = bootstrapped
        self.protected = False
        self.events: list[dict[str, Any]] = []
        self.failed_validations: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.cdk(deploying="exit 0")

    def cdk(self, *, deploying: str = "exit 0", writes: bool = True) -> None:
        """Write the CDK CLI.

        Args:
            deploying: What it does when it changes something.
            writes: Whether the app writes templates.
        """
        made = Path("made")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        if writes:
            properties = {
                "stackName": STORE,
                "templateFile": "Store.json",
                "requiresBootstrapStackVersion": 6,
                "bootstrapStackVersionSsmParameter": "/cdk-bootstrap/version",
            }
            artifact = {
                "type": "aws:cloudformation:stack",
                "environment": f"aws://111122223333/{REGION}",
                "properties": properties,
            }
            (made / "manifest.json").write_text(json.dumps({"artifacts": {"Store": artifact}}))
            (made / "Store.json").write_text(json.dumps(TEMPLATE))
        program = Path("node_modules/.bin/cdk")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = synth ]; then mkdir -p "$4"; cp -r {made.resolve()}/. "$4"\n'
            'test -f "$4/manifest.json" && exit 0\n'
            "echo \"ENOENT: no such file or directory, open '$4/manifest.json'\"; exit 1; fi\n"
            f"cd {Path.cwd()}; {deploying}\n"
        )
        program.chmod(0o755)

    def deploy(self) -> None:
        """Deploy, with consent to everything."""
        deploy(self, consent=YES, say=self.said.append)

    def stack(self, name: str, region: str) -> dict[str, Any] | None:
        if (name, region) != (STORE, REGION) and name != "CDKToolkit":
            return None
        return {"StackName": name, "StackStatus": self.status} if self.status else None

    def _check_region(self, region: str) -> None:
        """Be of the right account."""

    def _make_client(self, service: str, region: str) -> Any:
        del region
        return {"ssm": Parameters, "cloudformation": CloudFormation}[service](self)


class CloudFormation:
    """What CloudFormation answers."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def get_template(self, **_: Any) -> dict[str, Any]:
        return {"TemplateBody": TEMPLATE}

    def can_paginate(self, operation: str) -> bool:
        return operation == "describe_events"

    def get_paginator(self, operation: str) -> Any:
        answers: dict[str, Any] = {
            "describe_stack_events": {"StackEvents": self.account.events},
            "describe_events": {"OperationEvents": self.account.failed_validations},
            "list_stack_resources": {"StackResourceSummaries": []},
        }

        class Pages:
            def paginate(self, **_: Any) -> list[dict[str, Any]]:
                return [answers[operation]]

        return Pages()


class Parameters:
    """What SSM answers."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def get_parameter(self, **_: Any) -> dict[str, Any]:
        if self.account.bootstrapped is None:
            raise ClientError({"Error": {"Code": "ParameterNotFound"}}, "GetParameter")
        return {"Parameter": {"Value": str(self.account.bootstrapped)}}


def event(status: str, reason: str, *, logical_id: str = "Raw", ago: float = 0) -> dict[str, Any]:
    return {
        "LogicalResourceId": logical_id,
        "ResourceType": "AWS::S3::Bucket",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "Timestamp": datetime.now(UTC) + timedelta(minutes=1 - ago),
    }


def test_an_interrupted_deployment_tells_what_goes_on_without_it() -> None:
    account = Account()
    account.cdk(deploying="kill -INT $PPID; exec sleep 60")

    with pytest.raises(KeyboardInterrupt):
        account.deploy()
    assert account.said[-1] == "the CDK CLI was ended; CloudFormation changes no stack"


@pytest.mark.parametrize("command", ["deploy", "destroy", "bootstrap"])
def test_what_cloudformation_goes_on_with_after_ctrl_c_is_named(command: str) -> None:
    account = Account(bootstrapped=None if command == "bootstrap" else 30)
    stack = "CDKToolkit" if command == "bootstrap" else STORE
    account.cdk(deploying="touch begun; kill -INT $PPID; exec sleep 60")
    known = account.stack

    def stack_now(name: str, region: str) -> dict[str, Any] | None:
        if Path("begun").exists():
            account.status = "UPDATE_IN_PROGRESS"
        return known(name, region)

    account.stack = stack_now  # type: ignore[method-assign]
    run: Callable[..., Any] = {
        "deploy": partial(deploy, consent=YES),
        "destroy": partial(destroy, consent=YES),
        "bootstrap": bootstrap,
    }[command]
    with pytest.raises(KeyboardInterrupt):
        run(account, say=account.said.append)
    assert account.said[-1] == (
        f"the CDK CLI was ended; CloudFormation goes on with {stack} in {REGION}"
        " (UPDATE_IN_PROGRESS): `mediactl doctor -e dev` tells when that is over"
    )


def test_ctrl_c_counts_also_where_aws_does_not_answer_any_more() -> None:
    account = Account()
    account.cdk(deploying="touch begun; kill -INT $PPID; exec sleep 60")
    known = account.stack

    def stack_now(name: str, region: str) -> dict[str, Any] | None:
        if Path("begun").exists():
            raise EndpointConnectionError(endpoint_url="https://example.invalid")
        return known(name, region)

    account.stack = stack_now  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        account.deploy()
    assert account.said[-1].startswith("the CDK CLI was ended; CloudFormation may go on")


def test_an_app_that_writes_nothing_is_not_deployed_as_it_was_before() -> None:
    account = Account()
    account.cdk(deploying="touch deployed")
    account.deploy()
    Path("deployed").unlink()
    account.cdk(deploying="touch deployed", writes=False)
    with pytest.raises(CommandError, match=r"writes no templates; does it call `app\.synth\(\)`"):
        account.deploy()
    assert not Path("deployed").exists()


def test_who_deploys_is_alone_and_others_may_look() -> None:
    account = Account()
    folder = Path("cdk.out/mediactl/dev/changes")
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as file, alone(file, "at work"):
        with pytest.raises(CommandError, match="another mediactl is at work on dev") as caught:
            account.deploy()
        assert caught.value.exit_code == REFUSED
        assert not difference(CdkStage(account, account.said.append)).differs
    account.deploy()


def test_who_is_overtaken_by_another_deployment_is_refused() -> None:
    account = Account()
    reason = "Stack:arn:aws:cloudformation:a is in UPDATE_IN_PROGRESS state and can not be updated."
    account.cdk(deploying=f"echo '‣ ValidationError: {reason}'; exit 1")
    with pytest.raises(CommandError, match="UPDATE_IN_PROGRESS") as caught:
        account.deploy()
    assert caught.value.exit_code == REFUSED
    assert "somebody else was faster" in str(caught.value.hint)


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_what_another_changes_is_not_destroyed(status: str) -> None:
    account = Account(status)
    account.cdk(deploying="touch destroyed")
    with pytest.raises(CommandError, match=f"is being changed \\({status}\\)") as caught:
        destroy(account, consent=YES, say=account.said.append)
    assert caught.value.exit_code == REFUSED
    assert not Path("destroyed").exists()


@pytest.mark.parametrize(
    ("version", "told"),
    [(None, "eu-west-1 is not bootstrapped"), (5, "eu-west-1 has version 5, needed is 6")],
)
def test_an_account_that_is_not_ready_is_told_before_anything_changes(
    version: int | None, told: str
) -> None:
    account = Account(bootstrapped=version)
    account.cdk(deploying="touch deployed")
    with pytest.raises(CommandError, match=told) as caught:
        account.deploy()
    assert caught.value.hint == "run `mediactl bootstrap -e dev`"
    assert not Path("deployed").exists()


def test_a_stack_that_was_never_made_is_new_to_a_deployment() -> None:
    assert [one.change for one in difference(stage("ROLLBACK_COMPLETE")).stacks] == ["new"]
    assert [one.change for one in difference(stage("UPDATE_COMPLETE")).stacks] == ["none"]


def stage(status: str) -> CdkStage:
    return CdkStage(Account(status), lambda _: None)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", "mend that; the stack is as it was before; deploy again"),
        ("ROLLBACK_COMPLETE", "mend that; its next deployment makes it anew"),
        ("UPDATE_ROLLBACK_FAILED", f"continue-update-rollback --stack-name {STORE} --region"),
        ("DELETE_FAILED", "mend that; `mediactl destroy -e dev` goes on with it"),
    ],
)
def test_what_failed_first_is_told_with_what_to_do_then(status: str, remedy: str) -> None:
    account = Account()
    account.events = [
        event("UPDATE_ROLLBACK_FAILED", "The following failed", logical_id=STORE),
        event("CREATE_FAILED", "Resource creation cancelled", logical_id="Other"),
        event("CREATE_FAILED", "the bucket\n exists"),
        event("CREATE_FAILED", "long ago", logical_id="Old", ago=60),
    ]
    known = account.stack

    def stack_now(name: str, region: str) -> dict[str, Any] | None:
        if Path("begun").exists():
            account.status = status
        return known(name, region)

    account.stack = stack_now  # type: ignore[method-assign]
    account.cdk(deploying="touch begun; exit 1")
    with pytest.raises(CommandError, match=r"^Raw \(AWS::S3::Bucket\)") as caught:
        account.deploy()
    assert str(caught.value).endswith("failed: the bucket exists")
    assert remedy in str(caught.value.hint)
    assert caught.value.exit_code == FAILED


def test_what_was_refused_before_it_began_is_told_by_its_resource() -> None:
    """CloudFormation checks names first; the events of the stack only say that some are wrong."""
    account = Account()
    account.events = [
        event("CREATE_FAILED", "Validation failed. Call DescribeEvents", logical_id=STORE)
    ]
    (one,) = CdkStage(account, account.said.append).synthesize()
    failure = first_failure(account, one, datetime.now(UTC))
    assert failure is not None
    assert failure.logical_id == STORE
    refused = event("", "") | {"ValidationStatus": "FAILED", "ValidationStatusReason": "it exists"}
    account.failed_validations = [refused]
    failure = first_failure(account, one, datetime.now(UTC))
    assert failure is not None
    assert (failure.logical_id, failure.reason) == ("Raw", "it exists")


def test_a_disk_that_fills_up_meanwhile_is_told_with_the_file() -> None:
    account = Account()
    account.cdk(deploying="echo a line")
    stage = CdkStage(account, account.said.append)
    stage.synthesize()
    stage.log.unlink()
    stage.log.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        stage.run(["diff"], heard=account.said.append)
    assert caught.value.filename == str(stage.log)
