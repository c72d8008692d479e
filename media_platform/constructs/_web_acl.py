"""Web ACLs: what AWS WAF keeps from load balancers and distributions."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

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


def load_balancer_acl(scope: Construct, construct_id: str) -> wafv2.CfnWebACL:
    """Return an ACL that looks at what requests say, for a load balancer behind CloudFront.

    It looks at no addresses: those it sees are CloudFront's, and of ``X-Forwarded-For`` AWS WAF
    reads the first, which whoever asks may write. A limit by it would be evaded by everybody, and
    would shut out whom somebody else names. The limit is at the distribution, which sees viewers.

    Source: AWS WAF Developer Guide, "Using forwarded IP addresses".
    """
    return _acl(scope, construct_id, kind="REGIONAL", rules=_managed(_REQUEST_RULES))


def distribution_acl(
    scope: Construct, construct_id: str, *, requests_per_address: int
) -> wafv2.CfnWebACL:
    """Return an ACL that looks at what requests say, where they come from, and how many they are.

    Args:
        scope: Parent, of a stack in us-east-1.
        construct_id: Id in it.
        requests_per_address: Most requests of an address in five minutes, media not counted: these
            are signed, come from the cache, and of an office they are many.
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
    return _acl(scope, construct_id, kind="CLOUDFRONT", rules=[*managed, limit])


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
) -> wafv2.CfnWebACL:
    return wafv2.CfnWebACL(
        scope,
        construct_id,
        scope=kind,
        default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
        rules=list(rules),
        visibility_config=_metric("WebAcl"),
    )


def _metric(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    """Return that requests are counted, but none is shown: their headers hold tokens."""
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )
