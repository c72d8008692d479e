"""Behaviours, listener rules and bucket policies: who answers a request, and whether."""

from __future__ import annotations

from typing import Any

import pytest

from mediactl.local.edge import bucket_access
from mediactl.local.edge.distribution import (
    Behavior,
    Choice,
    Distribution,
    Origin,
    Policies,
    read_distribution,
    read_forwarding,
    read_response_headers,
)
from mediactl.local.edge.listener import (
    HealthCheck,
    LoadBalancerRequest,
    Rule,
    action_for,
    forward_target,
    read_rule,
)
from mediactl.local.edge.paths import normalized_path

ARN = "arn:aws:cloudfront::000000000000:distribution/E1"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/media/a/../b", "/media/b"),
        ("/media/%2e%2E/b", "/b"),
        ("/../../x", "/x"),
        ("//media///x", "/media/x"),
        ("/%6Dedia/x", "/media/x"),
        ("/media%2Fx", "/media%2Fx"),
        ("/media/..%2Fx", "/media/..%2Fx"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/caf%C3%A9", "/caf%C3%A9"),
    ],
)
def test_paths_are_compared_in_their_normal_form(path: str, expected: str) -> None:
    assert normalized_path(path) == expected


def distribution(*patterns: str) -> Distribution:
    origin = {"o": Origin("o", "bucket.s3.us-east-1.amazonaws.com", bucket="bucket")}
    behavior = {"TargetOriginId": "o"}
    config = {
        "DefaultCacheBehavior": behavior,
        "CacheBehaviors": {"Items": [{**behavior, "PathPattern": pattern} for pattern in patterns]},
    }
    summary = {"Id": "E1", "ARN": ARN, "DomainName": "127.0.0.1:4000"}
    return read_distribution(summary, config, origin, Policies())


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/media/us-east-1/x", "/media/us-east-1/*"),
        ("/media/eu-west-1/x", "/media/*"),
        ("/other/../media/us-east-1/x", "/media/us-east-1/*"),
        ("//media/us-east-1/x", "/media/us-east-1/*"),
        ("/%6dedia/us-east-1/x", "/media/us-east-1/*"),
        ("/media/us-east-1/../../x", "*"),
        ("/media%2Fus-east-1/x", "*"),
        ("/MEDIA/us-east-1/x", "*"),
        ("/media", "*"),
        ("/api/videos", "/api/*"),
    ],
)
def test_the_first_matching_behaviour_answers(path: str, pattern: str) -> None:
    found = distribution("media/us-east-1/*", "/media/*", "/api/*").behavior_for(path)
    assert found.pattern == pattern


def test_queries_of_a_signature_never_reach_the_origin() -> None:
    everything = read_forwarding({"QueryStringsConfig": {"QueryStringBehavior": "all"}})
    signed = Behavior("/x", (), frozenset(), keys={}, forwarding=(everything,))
    query = "a=1&Policy=p&Signature=s&Key-Pair-Id=k&Hash-Algorithm=SHA256&Expires=1&b=%2F+"
    assert signed.forwarded_query(query) == "a=1&b=%2F+"
    # The API sees them: they authorize its playlists.
    open_to_all = Behavior("/x", (), frozenset(), forwarding=(everything,))
    assert open_to_all.forwarded_query(query) == query
    nothing = Behavior("/x", (), frozenset(), forwarding=(read_forwarding({}),))
    assert nothing.forwarded_query(query) == ""


@pytest.mark.parametrize(
    ("choice", "name", "expected"),
    [
        (Choice("none"), "a", False),
        (Choice("all"), "a", True),
        (Choice("allViewer"), "Host", True),
        (Choice("whitelist", frozenset({"Origin"})), "origin", True),
        (Choice("whitelist", frozenset({"Origin"})), "Cookie", False),
        (Choice("allExcept", frozenset({"host"})), "Host", False),
        (Choice("allExcept", frozenset({"host"})), "Accept", True),
    ],
)
def test_policies_choose_what_is_forwarded(choice: Choice, name: str, *, expected: bool) -> None:
    assert choice.includes(name) is expected


def test_reads_response_headers() -> None:
    policy = read_response_headers(
        {
            "CorsConfig": {
                "AccessControlAllowOrigins": {"Items": ["https://a.example"]},
                "AccessControlAllowHeaders": {"Items": ["Range"]},
                "AccessControlAllowMethods": {"Items": ["GET", "HEAD"]},
                "AccessControlExposeHeaders": {"Items": ["ETag"]},
                "AccessControlAllowCredentials": True,
                "AccessControlMaxAgeSec": 600,
                "OriginOverride": True,
            },
            "SecurityHeadersConfig": {
                "ContentTypeOptions": {"Override": True},
                "StrictTransportSecurity": {
                    "AccessControlMaxAgeSec": 63072000,
                    "IncludeSubdomains": True,
                    "Override": False,
                },
                "FrameOptions": {"FrameOption": "DENY", "Override": True},
            },
            "CustomHeadersConfig": {"Items": [{"Header": "X-A", "Value": "1", "Override": False}]},
            "RemoveHeadersConfig": {"Items": [{"Header": "Server"}]},
        }
    )
    assert policy.cors is not None
    assert policy.cors.credentials
    assert policy.cors.exposed == ("ETag",)
    assert {name: value for name, value, _ in policy.fixed} == {
        "X-A": "1",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    }
    assert policy.removed == ("Server",)


def rule(priority: str, group: str, *conditions: dict[str, Any]) -> Rule:
    return read_rule(
        {
            "Priority": priority,
            "Conditions": list(conditions),
            "Actions": [{"Type": "forward", "TargetGroupArn": group, "Order": 1}],
        }
    )


def asks(path: str = "/", **changes: Any) -> LoadBalancerRequest:
    values: dict[str, Any] = {
        "method": "GET",
        "host": "example.com",
        "path": path,
        "query": "",
        "headers": {},
        "address": "192.0.2.1",
    }
    return LoadBalancerRequest(**{**values, **changes})


def path_is(*patterns: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": list(patterns)}}


def target(rules: list[Rule], request: LoadBalancerRequest) -> str | None:
    action = action_for(rules, request)
    return forward_target(action) if action else None


def test_rules_are_tried_by_priority_and_the_default_last() -> None:
    rules = [
        rule("default", "default"),
        rule("20", "all", path_is("/api/*")),
        rule("10", "admin", path_is("/api/admin/*")),
    ]
    assert target(rules, asks("/api/admin/users")) == "admin"
    assert target(rules, asks("/api/videos")) == "all"
    assert target(rules, asks("/API/videos")) == "default"
    assert target([], asks("/")) is None


@pytest.mark.parametrize(
    ("condition", "request_that_meets_it"),
    [
        ({"Field": "host-header", "HostHeaderConfig": {"Values": ["*.com"]}}, asks()),
        (
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PUT"]}},
            asks(method="PUT"),
        ),
        (
            {
                "Field": "http-header",
                "HttpHeaderConfig": {"HttpHeaderName": "X-Origin-Key", "Values": ["secret"]},
            },
            asks(headers={"x-origin-key": "secret"}),
        ),
        (
            {
                "Field": "query-string",
                "QueryStringConfig": {"Values": [{"Key": "v", "Value": "1*"}]},
            },
            asks(query="a=b&v=12"),
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["198.51.100.0/24"]}},
            asks(address="198.51.100.9"),
        ),
    ],
)
def test_every_condition_is_looked_at(
    condition: dict[str, Any], request_that_meets_it: LoadBalancerRequest
) -> None:
    rules = [rule("1", "met", condition), rule("default", "not met")]
    assert target(rules, request_that_meets_it) == "met"
    other = asks(method="DELETE", host="example.org")
    assert target(rules, other) == "not met"
    both = [rule("1", "met", condition, path_is("/never")), rule("default", "not met")]
    assert target(both, request_that_meets_it) == "not met"


def test_an_unknown_condition_is_an_error_and_not_a_match() -> None:
    with pytest.raises(ValueError, match="moon-phase"):
        action_for([rule("1", "x", {"Field": "moon-phase"})], asks())


def test_of_weighted_groups_the_heaviest_is_taken() -> None:
    groups = [{"TargetGroupArn": "a", "Weight": 1}, {"TargetGroupArn": "b", "Weight": 9}]
    assert forward_target({"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}) == "b"
    assert forward_target({"Type": "fixed-response"}) is None


@pytest.mark.parametrize(
    ("codes", "status", "healthy"),
    [("200", 200, True), ("200", 204, False), ("200-299,301", 301, True), ("200,202", 202, True)],
)
def test_health_codes(codes: str, status: int, *, healthy: bool) -> None:
    assert HealthCheck(codes=codes).accepts(status) is healthy


def allow(**changes: Any) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bucket/*",
        "Condition": {"StringEquals": {"AWS:SourceArn": ARN}},
        **changes,
    }
    return {"Statement": [statement]}


def may_read(policy: dict[str, Any] | None, key: str = "media/x") -> bool:
    return bucket_access.may(policy, "s3:GetObject", f"arn:aws:s3:::bucket/{key}", distribution=ARN)


def test_the_bucket_policy_decides() -> None:
    assert may_read(allow())
    assert not may_read(None)
    assert not may_read(allow(Condition={"StringEquals": {"AWS:SourceArn": f"{ARN}2"}}))
    assert not may_read(allow(Principal={"Service": "lambda.amazonaws.com"}))
    assert not may_read(allow(Action="s3:PutObject"))
    assert not may_read(allow(Resource="arn:aws:s3:::other/*"))
    assert not may_read(allow(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}))
    like = {"StringLike": {"AWS:SourceArn": "arn:aws:cloudfront::*:distribution/*"}}
    assert may_read(allow(Condition=like))
    part = allow(Resource=["arn:aws:s3:::bucket/media/*"])
    assert may_read(part)
    assert not may_read(part, "private/x")


def test_a_deny_wins_and_plain_http_is_not_what_is_denied() -> None:
    everything = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
    policy = allow()
    policy["Statement"].append(everything)
    assert not may_read(policy)
    policy["Statement"][-1] = {
        **everything,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert may_read(policy)
