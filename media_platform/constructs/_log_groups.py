"""Log groups as the platform wants them: not kept for ever, and encrypted as the store is."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

from media_platform.constructs._scopes import scopes_of
from media_platform.constructs._video_store_base import KEY_ACTIONS

_RETENTION = logs.RetentionDays.ONE_MONTH

_keys: WeakKeyDictionary[IConstruct, kms.IKey] = WeakKeyDictionary()
"""What encrypts the log groups within a construct."""


def encrypt_logs(construct: IConstruct, key: kms.IKey | None) -> None:
    """Encrypt the log groups that are made within ``construct`` from now on.

    Args:
        construct: Where they are made.
        key: With what; the policy of an imported one must hold :func:`logs_use_key`. ``None``
            leaves them to the key that CloudWatch Logs owns.
    """
    if key is not None:
        _keys[construct] = key
        key.add_to_resource_policy(logs_use_key(construct))


def log_group(
    scope: Construct,
    construct_id: str,
    *,
    name: str | None = None,
    retention: logs.RetentionDays = _RETENTION,
) -> logs.LogGroup:
    """Return a log group, which goes with its stack.

    Args:
        scope: Parent.
        construct_id: Id in it.
        name: Its physical name. Default: one of CloudFormation's.
        retention: For how long an entry is kept. Default one month.
    """
    around = (_keys.get(construct) for construct in reversed(scopes_of(scope)))
    return logs.LogGroup(
        scope,
        construct_id,
        log_group_name=name,
        retention=retention,
        encryption_key=next((key for key in around if key is not None), None),
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )


def logs_use_key(scope: IConstruct) -> iam.PolicyStatement:
    """Return what the policy of a key says so that log groups of its region may have it.

    Args:
        scope: A construct of the region and account.

    Source: CloudWatch Logs User Guide, "Encrypt log data in CloudWatch Logs using AWS KMS".
    """
    stack = cdk.Stack.of(scope)
    groups = stack.format_arn(
        service="logs",
        resource="log-group",
        resource_name="*",
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )
    return iam.PolicyStatement(
        sid="LogGroupsUse",
        actions=list(KEY_ACTIONS),
        principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
        resources=["*"],
        conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )
