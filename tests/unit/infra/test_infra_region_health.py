"""The health check of a region: who asks whom, what it decides, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_certificatemanager as acm
from infra_templates import Stages, Synth, flat

from media_platform.constructs import ApiCluster, RegionHealth, VideoStore

REGIONS = ("us-east-1", "eu-west-1")


def api(stack: cdk.Stack, *, certificate: bool = True) -> ApiCluster:
    arguments: dict[str, Any] = {}
    if certificate:
        arguments = {
            "certificate": acm.Certificate.from_certificate_arn(
                stack, "Certificate", "arn:aws:acm:us-east-1:111111111111:certificate/one"
            ),
            "cloudfront_prefix_list_id": "pl-1",
        }
    return ApiCluster(stack, "Api", store=VideoStore(stack, "Store"), **arguments)


def test_route_53_asks_over_https_whether_the_api_is_ready(synth: Synth) -> None:
    made = synth(lambda stack: RegionHealth(stack, "Health", api=api(stack), prefix_list_id="pl-2"))
    check = made.only("AWS::Route53::HealthCheck")["HealthCheckConfig"]
    assert (check["Type"], check["Port"], check["EnableSNI"]) == ("HTTPS", 443, True)
    assert flat(check["FullyQualifiedDomainName"]) == "<ApiLoadBalancer.DNSName>"
    assert (check["RequestInterval"], check["FailureThreshold"]) == (30, 3)
    (targets,) = made.resources("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    assert check["ResourcePath"] == targets["Properties"]["HealthCheckPath"]
    (rule,) = (
        found["Properties"]
        for found in made.resources("AWS::ElasticLoadBalancingV2::ListenerRule").values()
        if found["Properties"]["Priority"] == 1
    )
    (condition,) = rule["Conditions"]
    assert condition["PathPatternConfig"]["Values"] == [check["ResourcePath"]]
    (action,) = rule["Actions"]
    assert flat(action["TargetGroupArn"]) == "<ApiLoadBalancerListenerApiGroup>"


@pytest.mark.parametrize("region", REGIONS)
def test_names_go_by_the_health_check_and_by_the_targets(stages: Stages, region: str) -> None:
    made, edge = stages["prod"][f"Media-{region}"], stages["prod"]["Edge"]
    record = edge.resources("AWS::Route53::RecordSet")[_record_of(edge, region)]["Properties"]
    assert record["Name"] == "origin.media.example.com."
    assert record["SetIdentifier"] == region
    assert record["AliasTarget"]["EvaluateTargetHealth"] is True
    (check,) = made.resources("AWS::Route53::HealthCheck")
    outputs = {name: one["Value"] for name, one in made.content["Outputs"].items()}
    for read, told in (
        (record["HealthCheckId"], {"Ref": check}),
        (record["AliasTarget"]["HostedZoneId"], outputs["LoadBalancerZone"]),
        (record["AliasTarget"]["DNSName"]["Fn::Join"][1][1], outputs["LoadBalancerDomain"]),
    ):
        output = read["Fn::GetStackOutput"]
        assert output["Region"] == region
        assert outputs[output["OutputName"]] == told


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_is_named_when_its_users_find_all_they_need(stages: Stages, region: str) -> None:
    edge = stages["prod"]["Edge"]
    after = edge.resources("AWS::Route53::RecordSet")[_record_of(edge, region)]["DependsOn"]
    assert set(edge.resources("AWS::CloudFront::Distribution")) <= set(after)
    documents = edge.resources("Custom::DeliveryDocument")
    written = {name for name, one in documents.items() if one["Properties"]["Region"] == region}
    assert len(written) == 1
    assert written <= set(after)


def _record_of(edge: Any, region: str) -> str:
    records = edge.resources("AWS::Route53::RecordSet")
    (name,) = (name for name, one in records.items() if one["Properties"].get("Region") == region)
    return str(name)


def test_the_edge_tells_of_every_region_that_is_not_named(stages: Stages) -> None:
    edge = stages["prod"]["Edge"]
    asked = {}
    for name, alarm in edge.resources("AWS::CloudWatch::Alarm").items():
        if name.startswith("Health"):
            properties = alarm["Properties"]
            status, metric = sorted(properties["Metrics"], key=lambda one: "MetricStat" in one)
            assert status["Expression"] == "1 - healthy"
            assert (properties["Threshold"], properties["EvaluationPeriods"]) == (0, 3)
            found = metric["MetricStat"]["Metric"]
            assert (found["Namespace"], found["MetricName"]) == ("AWS/Route53", "HealthCheckStatus")
            (dimension,) = found["Dimensions"]
            output = dimension["Value"]["Fn::GetStackOutput"]
            assert output["OutputName"] == "HealthCheckId"
            asked[output["Region"]] = properties["AlarmDescription"]
    assert set(asked) == set(REGIONS)
    assert all(region in description for region, description in asked.items())


def test_an_internal_load_balancer_is_not_asked(stack: cdk.Stack) -> None:
    message = (
        "api has no certificate, so its load balancer is internal and Route 53 cannot ask it; pass "
        "certificate to ApiCluster, or leave the health check out (path: Test/Health)"
    )
    internal = api(stack, certificate=False)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RegionHealth(stack, "Health", api=internal, prefix_list_id="pl-2")


def test_an_alarm_elsewhere_is_refused() -> None:
    stack = cdk.Stack(cdk.App(), "Test", env=cdk.Environment(region="eu-west-1"))
    message = (
        "the stack is in 'eu-west-1', but metrics of health checks are in us-east-1 only; add the "
        "alarm in a stack there (path: Test)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RegionHealth.watch(stack, "Alarm", region="eu-west-1", health_check_id="h")
