"""The load balancer: which rule of a listener a request meets, and what it does.

Source: Elastic Load Balancing, "Listener rules for your Application Load Balancer".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from mediactl.local.edge.paths import pattern_matches


@dataclass(frozen=True)
class LoadBalancerRequest:
    """What rules look at.

    Attributes:
        method: HTTP method.
        host: Value of the Host header without its port.
        path: Raw path.
        query: Raw query string.
        headers: Headers by lower-case name.
        address: IP address of whoever connects.
    """

    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    address: str


@dataclass(frozen=True)
class HealthCheck:
    """Health check of a target group, as deployed."""

    path: str = "/"
    interval_seconds: int = 30
    timeout_seconds: int = 5
    unhealthy_threshold: int = 2
    codes: str = "200"

    def accepts(self, status: int) -> bool:
        """Return whether a status is a healthy answer."""
        for part in self.codes.split(","):
            low, _, high = part.strip().partition("-")
            if int(low) <= status <= int(high or low):
                return True
        return False


@dataclass(frozen=True)
class TargetGroup:
    """A target group.

    Attributes:
        arn: Its ARN.
        check: Its health check.
        deregistration_seconds: How long a target that leaves may finish its requests.
    """

    arn: str
    check: HealthCheck
    deregistration_seconds: int = 300


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        priority: Rules are tried in this order.
        conditions: Conditions, as the API answers them; all must hold.
        actions: Actions, as the API answers them; the last one decides.
    """

    priority: float
    conditions: Sequence[Mapping[str, Any]]
    actions: Sequence[Mapping[str, Any]]


def read_rule(rule: Mapping[str, Any]) -> Rule:
    """Read a rule as DescribeRules answers it; the default rule is the last one."""
    default = rule["Priority"] == "default"
    return Rule(
        priority=float("inf") if default else float(rule["Priority"]),
        conditions=rule.get("Conditions") or (),
        actions=sorted(rule["Actions"], key=lambda action: int(action.get("Order") or 0)),
    )


def read_target_group(group: Mapping[str, Any], attributes: Mapping[str, str]) -> TargetGroup:
    """Read a target group as DescribeTargetGroups and its attributes answer it."""
    matcher = group.get("Matcher") or {}
    return TargetGroup(
        arn=group["TargetGroupArn"],
        check=HealthCheck(
            path=group.get("HealthCheckPath") or "/",
            interval_seconds=int(group.get("HealthCheckIntervalSeconds") or 30),
            timeout_seconds=int(group.get("HealthCheckTimeoutSeconds") or 5),
            unhealthy_threshold=int(group.get("UnhealthyThresholdCount") or 2),
            codes=matcher.get("HttpCode") or "200",
        ),
        deregistration_seconds=int(attributes.get("deregistration_delay.timeout_seconds") or 300),
    )


def action_for(rules: Sequence[Rule], request: LoadBalancerRequest) -> Mapping[str, Any] | None:
    """Return the action of the first rule whose conditions hold, ``None`` without any rule."""
    for rule in sorted(rules, key=lambda rule: rule.priority):
        if all(_holds(condition, request) for condition in rule.conditions):
            return rule.actions[-1]
    return None


def forward_target(action: Mapping[str, Any]) -> str | None:
    """Return the target group of a forward action, ``None`` for other actions.

    Of weighted groups it is the heaviest: one machine has no use for a share.
    """
    if action["Type"] != "forward":
        return None
    if action.get("TargetGroupArn"):
        return str(action["TargetGroupArn"])
    groups = action["ForwardConfig"]["TargetGroups"]
    return str(max(groups, key=lambda group: int(group.get("Weight") or 0))["TargetGroupArn"])


def _holds(condition: Mapping[str, Any], request: LoadBalancerRequest) -> bool:
    field = condition["Field"]
    if field == "path-pattern":
        return _any(condition, "PathPatternConfig", request.path, pattern_matches)
    if field == "host-header":
        return _any(condition, "HostHeaderConfig", request.host, _matches_ignoring_case)
    if field == "http-request-method":
        return request.method in _values(condition, "HttpRequestMethodConfig")
    if field == "source-ip":
        address = ipaddress.ip_address(request.address)
        networks = _values(condition, "SourceIpConfig")
        return any(address in ipaddress.ip_network(network) for network in networks)
    if field == "http-header":
        config = condition["HttpHeaderConfig"]
        value = request.headers.get(config["HttpHeaderName"].lower())
        return value is not None and any(
            _matches_ignoring_case(pattern, value) for pattern in config["Values"]
        )
    if field == "query-string":
        pairs = parse_qsl(request.query, keep_blank_values=True)
        return any(
            _matches_ignoring_case(wanted["Value"], value)
            and _matches_ignoring_case(wanted.get("Key") or "*", name)
            for wanted in condition["QueryStringConfig"]["Values"]
            for name, value in pairs
        )
    raise ValueError(f"listener rules with the condition {field!r} are not known here")


def _values(condition: Mapping[str, Any], config: str) -> Sequence[str]:
    found: Sequence[str] = (condition.get(config) or condition)["Values"]
    return found


def _any(condition: Mapping[str, Any], config: str, value: str, matches: Any) -> bool:
    return any(matches(pattern, value) for pattern in _values(condition, config))


def _matches_ignoring_case(pattern: str, value: str) -> bool:
    return pattern_matches(pattern.lower(), value.lower())
