"""A Lambda function of the runtime: ARM64, its own role, its own log group."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from media_platform import assets
from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._alarms import OperatorAlarm
from media_platform.constructs._log_groups import log_group

_PERIODS_IN_TROUBLE = 3
"""Five minutes each, in a row: a call that fails once is called again."""


def python_function(
    scope: Construct,
    construct_id: str,
    *,
    service: Service,
    handler: str,
    description: str,
    timeout: cdk.Duration,
    failures: Accepted,
    environment: Mapping[str, str] | None = None,
    memory_mebibytes: int = 256,
) -> lambda_.Function:
    """Return a function that runs ``handler`` of ``service`` with boto3 and nothing else.

    Its role may write to its own log group and nothing more; grants add the rest. Alarms tell that
    it fails or is throttled for a quarter of an hour.

    Args:
        scope: Parent.
        construct_id: Id in it.
        service: The service whose sources it runs.
        handler: Dotted name of the handler.
        description: What it does, in one line.
        timeout: Time after which an invocation is ended.
        failures: Where calls are that fail, which is not where rules look for them.
        environment: Its variables. Default: none.
        memory_mebibytes: Memory, and CPU in proportion. Default 256 MiB.
    """
    parts = Construct(scope, construct_id)
    logs = log_group(parts, "Logs")
    role = iam.Role(
        parts,
        "Role",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        description=description,
    )
    logs.grant_write(role)
    function = lambda_.Function(
        parts,
        "Function",
        runtime=lambda_.Runtime.PYTHON_3_14,
        architecture=lambda_.Architecture.ARM_64,
        code=lambda_.Code.from_asset(str(assets.build_context(service))),
        handler=handler,
        description=description,
        timeout=timeout,
        memory_size=memory_mebibytes,
        environment=dict(environment or {}),
        role=role,
        log_group=logs,
    )
    accept(role, Accepted.OWN_POLICY)
    accepted = [Accepted.OUTSIDE, Accepted.SHARED_CONCURRENCY, failures]
    if environment:
        accepted.append(Accepted.VARIABLE_KEY)
    accept(function, *accepted)
    for name, metric, problem in (
        ("Errors", function.metric_errors(), "fails; read its log"),
        ("Throttles", function.metric_throttles(), "is throttled; raise the account's concurrency"),
    ):
        OperatorAlarm(
            parts,
            name,
            metric=metric,
            above=0,
            periods=_PERIODS_IN_TROUBLE,
            description=f"The function that {description[0].lower()}{description[1:]} {problem}",
        )
    return function
