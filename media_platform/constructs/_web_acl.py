"""Web ACLs: what AWS WAF keeps from load balancers and distributions."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_logs as cloudwatch_logs
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from media_platform.constructs._checks import reject
from media_platform.constructs._log_groups import log_group
from media_platform.contract import playback
from media_platform.contract.object_keys import MEDIA_PREFIX

_COUNTED_ONLY = ("SizeRestrictions_BODY", "GenericRFI_BODY")
"""Rules that would refuse what the API takes: bodies above 8 KiB, of which its own limit is 64 KiB,
and URLs with an address for a host, which webhooks may have."""

_REQUEST_RULES = (
    ("AWSManagedRulesCommonRuleSet", _COUNTED_ONLY),
    ("AWSManagedRulesKnownBadInputsRuleSet", ()),
)
_ADDRESS_RULES = (("AWSManagedRulesAmazonIpReputationList", ()),)
_TOO_MANY_REQUESTS = 429

_SECRETS: dict[str, Sequence[str] | None] = {
    "SINGLE_HEADER": ("authorization", "cookie"),
    "SINGLE_COOKIE": None,
    "SINGLE_QUERY_ARGUMENT": (
        playback.QUERY.policy,
        playback.QUERY.signature,
        playback.QUERY.key_pair_id,
    ),
}
"""Parts of requests with which whoever reads of them could do what the viewer may; of cookies
all."""

_LOG_PREFIX = "aws-waf-logs-"
"""Start of the name of a log group to which AWS WAF writes."""

_LOG_RETENTION = cloudwatch_logs.RetentionDays.ONE_YEAR
"""As long as access logs, which hold the requests that these say were refused."""


def check_waf_logs(scope: Construct, waf_logs: bool, *, waf: bool) -> None:
    """Check that there is something to log.

    Args:
        scope: Whose arguments they are.
        waf_logs: Whether what AWS WAF refuses is logged.
        waf: Whether it refuses anything.

    Raises:
        ValueError: If it does not.
    """
    if waf_logs and not waf:
        raise reject(
            scope, "waf_logs is True, but waf is not; switch waf on, or leave waf_logs out"
        )


def load_balancer_acl(scope: Construct, construct_id: str, *, logs: bool) -> wafv2.CfnWebACL:
    """Return an ACL that looks at what requests say, for a load balancer behind CloudFront.

    It looks at no addresses: those it sees are CloudFront's, and of ``X-Forwarded-For`` AWS WAF
    reads the first, which whoever asks may write. A limit by it would be evaded by everybody, and
    would shut out whom somebody else names. The limit is at the distribution, which sees viewers.

    Args:
        scope: Parent.
        construct_id: Id in it.
        logs: Whether what it refuses is logged.

    Source: AWS WAF Developer Guide, "Using forwarded IP addresses".
    """
    return _acl(scope, construct_id, kind="REGIONAL", rules=_managed(_REQUEST_RULES), logs=logs)


def distribution_acl(
    scope: Construct, construct_id: str, *, requests_per_address: int, logs: bool
) -> wafv2.CfnWebACL:
    """Return an ACL that looks at what requests say, where they come from, and how many they are.

    Args:
        scope: Parent, of a stack in us-east-1.
        construct_id: Id in it.
        requests_per_address: Most requests of an address in five minutes, media not counted: these
            are signed, come from the cache, and of an office they are many.
        logs: Whether what it refuses is logged.
    """
    managed = _managed([*_ADDRESS_RULES, *_REQUEST_RULES])
    limit = wafv2.CfnWebACL.RuleProperty(
        name="RequestsPerAddress",
        priority=len(managed),
        action=wafv2.CfnWebACL.RuleActionProperty(
            block=wafv2.CfnWebACL.BlockActionProperty(
                custom_response=wafv2.CfnWebACL.CustomResponseProperty(
                    response_code=_TOO_MANY_REQUESTS
                )
            )
        ),
        statement=wafv2.CfnWebACL.StatementProperty(
            rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="IP",
                limit=requests_per_address,
                evaluation_window_sec=300,
                scope_down_statement=wafv2.CfnWebACL.StatementProperty(
                    not_statement=wafv2.CfnWebACL.NotStatementProperty(statement=_is_for_media())
                ),
            )
        ),
        visibility_config=_metric("RequestsPerAddress"),
    )
    return _acl(scope, construct_id, kind="CLOUDFRONT", rules=[*managed, limit], logs=logs)


def _is_for_media() -> wafv2.CfnWebACL.StatementProperty:
    return wafv2.CfnWebACL.StatementProperty(
        byte_match_statement=wafv2.CfnWebACL.ByteMatchStatementProperty(
            field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(uri_path={}),
            positional_constraint="STARTS_WITH",
            search_string=f"/{MEDIA_PREFIX}",
            text_transformations=[
                wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")
            ],
        )
    )


def _managed(
    groups: Sequence[tuple[str, Sequence[str]]],
) -> list[wafv2.CfnWebACL.RuleProperty]:
    return [
        wafv2.CfnWebACL.RuleProperty(
            name=name,
            priority=priority,
            override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
            statement=wafv2.CfnWebACL.StatementProperty(
                managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
                    vendor_name="AWS",
                    name=name,
                    rule_action_overrides=[
                        wafv2.CfnWebACL.RuleActionOverrideProperty(
                            name=rule,
                            action_to_use=wafv2.CfnWebACL.RuleActionProperty(count={}),
                        )
                        for rule in counted_only
                    ]
                    or None,
                )
            ),
            visibility_config=_metric(name),
        )
        for priority, (name, counted_only) in enumerate(groups)
    ]


def _acl(
    scope: Construct,
    construct_id: str,
    *,
    kind: str,
    rules: Sequence[wafv2.CfnWebACL.RuleProperty],
    logs: bool,
) -> wafv2.CfnWebACL:
    acl = wafv2.CfnWebACL(
        scope,
        construct_id,
        scope=kind,
        default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
        rules=list(rules),
        visibility_config=_metric("WebAcl"),
        data_protection_config=_without_secrets(),
    )
    if logs:
        _log_refused(acl)
    return acl


def _without_secrets() -> wafv2.CfnWebACL.DataProtectionConfigProperty:
    """Return that secrets are replaced in whatever AWS WAF tells of requests.

    Not by the configuration of logs, which can take out queries as a whole only.

    Source: AWS WAF Developer Guide, "Data protection".
    """
    return wafv2.CfnWebACL.DataProtectionConfigProperty(
        data_protections=[
            wafv2.CfnWebACL.DataProtectProperty(
                action="SUBSTITUTION",
                field=wafv2.CfnWebACL.FieldToProtectProperty(
                    field_type=kind, field_keys=None if keys is None else list(keys)
                ),
                exclude_rule_match_details=False,
                exclude_rate_based_details=False,
            )
            for kind, keys in _SECRETS.items()
        ]
    )


def _log_refused(acl: wafv2.CfnWebACL) -> None:
    """Log the requests that were refused, and those that would be if a rule did not only count.

    The others are in the access logs. AWS WAF itself writes the policy that lets it log.

    Source: AWS WAF Developer Guide, "Logging AWS WAF protection pack (web ACL) traffic".
    """
    name = cdk.Names.unique_resource_name(
        acl, max_length=100, separator="-", allowed_special_characters="-"
    )
    group = log_group(acl, "Logs", name=f"{_LOG_PREFIX}{name}", retention=_LOG_RETENTION)
    kept = ("BLOCK", "COUNT")
    wafv2.CfnLoggingConfiguration(
        acl,
        "Logging",
        resource_arn=acl.attr_arn,
        log_destination_configs=[
            # Without the ":*" that the ARN of the L2 ends in.
            cdk.Stack.of(acl).format_arn(
                service="logs",
                resource="log-group",
                resource_name=group.log_group_name,
                arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
            )
        ],
        logging_filter={
            "DefaultBehavior": "DROP",
            "Filters": [
                {
                    "Behavior": "KEEP",
                    "Requirement": "MEETS_ANY",
                    "Conditions": [{"ActionCondition": {"Action": action}} for action in kept],
                }
            ],
        },
    )


def _metric(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    """Return that requests are counted, but none is shown: their headers hold tokens."""
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )
