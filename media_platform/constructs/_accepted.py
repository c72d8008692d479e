"""The table of findings that are accepted, and how they are accepted where they are found.

Constructs accept what is found on the resources that they make, so that whoever uses them has no
findings of his own to explain. ``docs/compliance.md`` lists every resource of ``prod``; a test
finds rows and places without a finding, and findings without a row.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import IConstruct

_AWS_SOLUTIONS = "AwsSolutions"
_NIST = "NIST.800.53.R5"
_CHECKOV = "CKV"


class Accepted(Enum):
    """What is accepted: on what, why, and which rules find it.

    Rules of AwsSolutions and NIST 800-53 r5 are those of cdk-nag, ``CKV`` are those of checkov. The
    other packs of cdk-nag find the same under their own names (``docs/compliance.md``).
    """

    DEAD_LETTERS = (
        "a dead-letter queue of calls",
        "It is a dead-letter queue itself; the rule knows only those of queues.",
        "AwsSolutions-SQS3",
    )
    QUEUE_KEY = (
        "a queue",
        "It is encrypted, with a key that SQS manages; the rule knows only keys of KMS.",
        "CKV_AWS_27",
    )
    LOGS_OF_LOGS = (
        "the bucket of access logs",
        "It holds access logs; its own would be written into it for ever.",
        "CKV_AWS_18",
    )
    LOGS_OF_REQUEST_LOGS = (
        "a bucket of access logs beside a store without one",
        "It holds access logs; its own would be written into it for ever.",
        "AwsSolutions-S1",
        "NIST.800.53.R5-S3BucketLoggingEnabled",
    )
    LOG_KEY = (
        "the bucket of access logs",
        "Neither S3 nor load balancers write logs to a bucket with another key than that of S3.",
        "NIST.800.53.R5-S3DefaultEncryptionKMS",
    )
    LOG_COPIES = (
        "the bucket of access logs",
        "Logs tell of the requests of their region, and nothing that serves needs them.",
        "NIST.800.53.R5-S3BucketReplicationEnabled",
    )
    FAILURE_COPIES = (
        "the bucket of what the relay could not publish",
        "The events are in the table, which is replicated; a sweep publishes them.",
        "NIST.800.53.R5-S3BucketReplicationEnabled",
    )
    JOINING_COPIES = (
        "a bucket whose copies are to be in regions that join",
        "S3 copies to buckets that exist; the next deployment tells it to.",
        "NIST.800.53.R5-S3BucketReplicationEnabled",
    )
    OBJECT_LOGS_OFF = (
        "a bucket",
        "Access logs are switched off by argument (access_logs).",
        "AwsSolutions-S1",
    )
    REQUEST_LOGS_OFF = (
        "the load balancer",
        "Access logs are switched off by argument (access_logs).",
        "AwsSolutions-ELB2",
    )
    REQUEST_LOGS_NOWHERE = (
        "the load balancer",
        "The stack has no region, which decides who may write logs.",
        "AwsSolutions-ELB2",
    )
    DELIVERY_LOGS_OFF = (
        "the distribution",
        "Access logs are switched off (access_logs).",
        "AwsSolutions-CFR3",
    )
    DELIVERY_LOGS_NEW = (
        "the distribution",
        "There are access logs of version 2, which the rule cannot see.",
        "AwsSolutions-CFR3",
        "CKV_AWS_86",
    )
    EVERYWHERE = (
        "the distribution",
        "Which countries may watch is a decision of the team that uses the platform.",
        "AwsSolutions-CFR1",
    )
    NO_WEB_ACL = (
        "the distribution",
        (
            "Media are behind signatures and the API checks every token; a web ACL (waf) costs its "
            "price for every request."
        ),
        "AwsSolutions-CFR2",
    )
    NO_CERTIFICATE = (
        "the distribution",
        "CloudFront's own domain does not let the viewer's TLS version be set.",
        "AwsSolutions-CFR4",
    )
    BUCKET_POLICIES = (
        "the distribution",
        "Every store writes the policy of its own bucket.",
        "Annotation::@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac",
    )
    KEY_SLOTS = (
        "the secret of a signing key",
        (
            "The pair is changed by filling the other slot, since CloudFront has to trust the new "
            "key before anything is signed with it."
        ),
        "AwsSolutions-SMG4",
        "NIST.800.53.R5-SecretsManagerRotationEnabled",
    )
    ADDRESSES_OF_NETWORK = (
        "the security group of the load balancer",
        "The rule cannot read the address range, which is that of the VPC.",
        "AwsSolutions-EC23",
    )
    ZONES = (
        "a subnet",
        "Zones are configured, so that synthesizing asks nobody.",
        "CloudFormation-Validate::W3010",
    )
    INTERNET_ROUTE = (
        "the route of a public subnet",
        (
            "Load balancers and NAT gateways reach the internet by it; what they admit, security "
            "groups say."
        ),
        "NIST.800.53.R5-VPCNoUnrestrictedRouteToIGW",
    )
    OPTIONAL_SECOND_FACTOR = (
        "the user pool",
        "A second factor is offered to everybody; programs sign in by password alone.",
        "AwsSolutions-COG2",
    )
    THREAT_PROTECTION = (
        "the user pool",
        "Threat protection belongs to the Plus plan, at more than three times the price.",
        "AwsSolutions-COG8",
    )
    PLAIN_VARIABLES = (
        "a task",
        "Variables hold names and limits; secrets are read from Secrets Manager at run time.",
        "AwsSolutions-ECS2",
    )
    VARIABLE_KEY = (
        "a function with variables",
        "Variables hold names and limits, no secrets; Lambda encrypts them with a key of its own.",
        "CKV_AWS_173",
    )
    OWN_POLICY = (
        "a role",
        "The policy says what this one role may do; a managed one could be attached to others.",
        "NIST.800.53.R5-IAMNoInlinePolicy",
    )
    OUTSIDE = (
        "a function",
        (
            "It is called by AWS and calls AWS, as its own role; inside of the network, code that "
            "handles what users send and where their webhooks go would have something to reach."
        ),
        "NIST.800.53.R5-LambdaInsideVPC",
        "CKV_AWS_117",
    )
    SHARED_CONCURRENCY = (
        "a function",
        (
            "What is reserved for one is taken from all others of the account, and a new account "
            "has ten; an alarm tells that calls are refused, and they come again."
        ),
        "NIST.800.53.R5-LambdaConcurrency",
        "CKV_AWS_115",
    )
    FAILURES_TO_QUEUE = (
        "a function that is called asynchronously",
        (
            "Calls that fail go to a dead-letter queue as their destination, with the reason; the "
            "rule knows only queues that get neither result nor reason."
        ),
        "NIST.800.53.R5-LambdaDLQ",
        "CKV_AWS_116",
    )
    FAILURES_AT_SOURCE = (
        "a function that reads a queue or a stream",
        (
            "What it fails at stays in the queue, which has a dead-letter queue, or goes from the "
            "stream to a bucket; the property is for asynchronous calls."
        ),
        "NIST.800.53.R5-LambdaDLQ",
        "CKV_AWS_116",
    )
    FAILURES_TO_CALLER = (
        "a function whose answer is waited for",
        (
            "Cognito or CloudFormation waits for the answer and gives up what it was doing without "
            "one; to try again later would change nothing."
        ),
        "NIST.800.53.R5-LambdaDLQ",
        "CKV_AWS_116",
    )
    REGISTRY_TOKEN = (
        "the execution role of a task",
        "ecr:GetAuthorizationToken knows no resources.",
        "AwsSolutions-IAM5",
    )
    SEGMENTS = (
        "the role of a task that sends spans to X-Ray",
        "xray:PutTraceSegments knows no resources.",
        "AwsSolutions-IAM5",
    )
    STREAMS = (
        "the role of the relay",
        "dynamodb:ListStreams knows no resources.",
        "AwsSolutions-IAM5",
    )
    KEPT_FAILURES = (
        "the role of the relay",
        "Lambda names the records that it keeps.",
        "AwsSolutions-IAM5",
    )
    COPIED_OBJECTS = (
        "the role that S3 takes",
        "S3 copies any object of these buckets.",
        "AwsSolutions-IAM5",
    )
    API_OBJECTS = (
        "the role of the API",
        "It signs uploads and reads playlists of all videos, and decides itself for whom.",
        "AwsSolutions-IAM5",
    )
    WORKER_OBJECTS = (
        "the role of the workers",
        (
            "A worker transcodes any video; ids of tasks and of scalable targets are not known "
            "before there is one."
        ),
        "AwsSolutions-IAM5",
    )
    TAKEN_IN = (
        "the role of the intake",
        "It takes any upload in; the id of the scalable target is not known to CloudFormation.",
        "AwsSolutions-IAM5",
    )
    LEFT_UPLOADS = (
        "the role of the sweep of uploads",
        "It ends any upload; the id of the scalable target is not known to CloudFormation.",
        "AwsSolutions-IAM5",
    )
    REFUSED_UPLOADS = (
        "the role of the function that takes verdicts",
        "Any upload may be refused; the id of the scalable target is not known to CloudFormation.",
        "AwsSolutions-IAM5",
    )
    JUDGED_UPLOADS = (
        "the role of a scanner",
        "Any upload is judged.",
        "AwsSolutions-IAM5",
    )
    EMPTIED_OBJECTS = (
        "the role of the function that empties buckets",
        "All that is in a bucket goes with it.",
        "AwsSolutions-IAM5",
    )
    PURGED_OBJECTS = (
        "the role of the purge",
        "It deletes the objects of any run that was replaced and any video that was deleted.",
        "AwsSolutions-IAM5",
    )

    def __init__(self, resource: str, reason: str, *rules: str) -> None:
        self.resource = resource
        self.reason = reason
        self.rules = rules


def accept(construct: IConstruct, *rows: Accepted) -> None:
    """Accept what is found on the one resource of ``construct`` that the rules of ``rows`` look at.

    Args:
        construct: The resource, or the construct whose one resource of the kind it is.
        *rows: The rows of the table.
    """
    acknowledge(construct, {rule: row for row in rows for rule in row.rules})


def accept_wildcards(grantee: iam.IGrantable, row: Accepted, *resources: str) -> None:
    """Accept that the policy of a role names ``resources`` with a wildcard in them.

    Args:
        grantee: The role, or what acts as it.
        row: The row of the table, which says why no narrower resource can be named.
        *resources: The ARNs as they stand in the policy; tokens are welcome.
    """
    role = cast("iam.Role", grantee.grant_principal)
    stack = cdk.Stack.of(role)
    (rule,) = row.rules
    acknowledge(role, {f"{rule}[Resource::{_as_reported(stack, name)}]": row for name in resources})


def acknowledge(construct: IConstruct, rows: Mapping[str, Accepted]) -> None:
    """Tell the CDK that findings are accepted; cdk-nag knows no wildcards in names of rules.

    Args:
        construct: Where they are found.
        rows: Why, by the full names of the rules.
    """
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=_qualified(rule), reason=row.reason) for rule, row in rows.items())
    )


def _qualified(rule: str) -> str:
    """Return the name of a rule with the plugin that has it; checkov is none and sees none."""
    for plugin in (_AWS_SOLUTIONS, _NIST):
        if rule.startswith(f"{plugin}-"):
            return f"{plugin}::{rule}"
    return f"checkov::{rule}" if rule.startswith(_CHECKOV) else rule


@functools.cache
def _as_reported(stack: cdk.Stack, resource: str) -> str:
    """Return an ARN as cdk-nag writes it, which is after references became imports."""
    fragments = cdk.Tokenization.reverse_string(resource)
    for token in fragments.tokens:
        if not cdk.Reference.is_reference(token):
            continue
        owner = cdk.Stack.of(cast("cdk.Reference", token).target)
        if owner.artifact_id != stack.artifact_id:
            resource = resource.replace(cdk.Token.as_string(token), owner.export_value(token))
    return _flatten(stack.resolve(resource))


def _flatten(value: Any) -> str:
    match value:
        case {"Fn::Join": [delimiter, parts]}:
            return str(delimiter).join(_flatten(part) for part in parts)
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::ImportValue": name}:
            return str(name)
    return str(value)
