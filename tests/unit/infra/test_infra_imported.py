"""Constructs of another stack, by their attributes: what they allow, and what they make of it."""

from __future__ import annotations

import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_sqs as sqs
from infra_templates import Synth, flat, some_role

from media_platform.constructs import (
    ApiCluster,
    CdnDistribution,
    MultiRegionReplica,
    TokenIssuer,
    TranscodePipeline,
    VideoStore,
)
from media_platform.contract.events import EventType

ARN = "arn:aws:{}:us-east-1:111111111111:{}"
KEY = ARN.format("kms", "key/mrk-1")
BALANCER = ARN.format("elasticloadbalancing", "loadbalancer/app/api/1")
ISSUER = TokenIssuer(issuer="https://i", jwks_url="https://i/jwks.json", client_id="c")


def pipeline(stack: cdk.Stack) -> Any:
    return TranscodePipeline.from_transcode_pipeline_attributes(
        stack,
        "There",
        topic_arn=ARN.format("sns", "events"),
        express_queue_arn=ARN.format("sqs", "express"),
        job_queue_arn=ARN.format("sqs", "jobs"),
        dead_letter_queue_arn=ARN.format("sqs", "dead"),
    )


def test_events_of_a_pipeline_elsewhere_are_subscribed_to(synth: Synth) -> None:
    made = synth(
        lambda stack: pipeline(stack).subscribe_queue(
            sqs.Queue(stack, "Ready"), event_types=[EventType.VIDEO_READY]
        )
    )
    subscription = made.only("AWS::SNS::Subscription")
    assert subscription["TopicArn"] == ARN.format("sns", "events")
    assert subscription["FilterPolicy"] == {"event_type": ["VideoReady"]}
    (dead,) = (name for name in made.resources("AWS::SQS::Queue") if name.startswith("There"))
    assert subscription["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": [dead, "Arn"]}


def test_failed_jobs_of_a_pipeline_elsewhere_are_put_back(synth: Synth) -> None:
    made = synth(lambda stack: pipeline(stack).grant_redrive(some_role(stack)))
    dead = {ARN.format("sqs", "dead")}
    assert made.grants("Grantee") == {
        "sqs:SendMessage": {ARN.format("sqs", "express"), ARN.format("sqs", "jobs")},
        "sqs:DeleteMessage": dead,
        "sqs:GetQueueAttributes": dead,
        "sqs:ReceiveMessage": dead,
    }


def test_metrics_of_a_pipeline_elsewhere(stack: cdk.Stack) -> None:
    made = pipeline(stack)
    found = made.metric_dead_letters().to_metric_config().metric_stat
    assert [d.value for d in found.dimensions] == ["dead"]
    backlog = made.metric_backlog().to_metric_config().math_expression
    queues = {
        dimension.value
        for metric in backlog.using_metrics.values()
        for dimension in metric.to_metric_config().metric_stat.dimensions
    }
    assert queues == {"express", "jobs"}


def test_copies_of_a_distribution_elsewhere_are_forgotten(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        cdn = CdnDistribution.from_cdn_distribution_attributes(
            stack,
            "There",
            distribution_id="E1",
            distribution_domain_name="d1.cloudfront.net",
            base_url="https://media.example.com",
        )
        assert cdn.base_url == "https://media.example.com"
        found = cdn.metric_errors().to_metric_config().metric_stat
        assert found is not None
        assert {d.name: d.value for d in found.dimensions or ()} == {
            "DistributionId": "E1",
            "Region": "Global",
        }
        cdn.grant_invalidate(some_role(stack))

    arn = {"arn:aws:cloudfront::ACCOUNT:distribution/E1"}
    assert synth(build).grants("Grantee") == {
        "cloudfront:CreateInvalidation": arn,
        "cloudfront:GetInvalidation": arn,
    }


def test_the_site_of_a_replica_elsewhere_is_published(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        replica = MultiRegionReplica.from_multi_region_replica_attributes(
            stack,
            "There",
            table_name="videos",
            raw_bucket_name="raw",
            media_bucket_name="media",
            site_bucket_name="pages",
            encryption_key_arn=KEY,
        )
        assert replica.key is not None
        replica.store.grant_publish_site(some_role(stack))

    assert synth(build, region="us-east-1").grants("Grantee") == {
        "kms:Decrypt": {KEY},
        "kms:GenerateDataKey": {KEY},
        "s3:ListBucket": {"arn:aws:s3:::pages"},
        "s3:DeleteObject": {"arn:aws:s3:::pages/*"},
        "s3:PutObject": {"arn:aws:s3:::pages/*"},
    }


def test_a_store_without_a_site_has_none_to_publish(stack: cdk.Stack) -> None:
    store = VideoStore(stack, "Store")
    message = "grant_publish_site is called but there is no site; pass site=True (path: Test/Store)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        store.grant_publish_site(some_role(stack))


def api(stack: cdk.Stack) -> Any:
    return ApiCluster.from_api_cluster_attributes(
        stack,
        "There",
        vpc=ec2.Vpc(stack, "Vpc", max_azs=2),
        cluster_name="media",
        load_balancer_arn=BALANCER,
        load_balancer_security_group_id="sg-1",
        listener_arn=ARN.format("elasticloadbalancing", "listener/app/api/1/2"),
        target_group_arn=ARN.format("elasticloadbalancing", "targetgroup/api/3"),
        token_issuer=ISSUER,
    )


def test_workers_run_on_the_cluster_of_an_api_elsewhere(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        there = api(stack)
        assert there.token_issuer == ISSUER
        store = VideoStore(stack, "Store")
        TranscodePipeline(stack, "Transcode", store=store, cluster=there.cluster)

    made = synth(build)
    assert made.only("AWS::ECS::Service")["Cluster"] == "media"
    assert not made.resources("AWS::ECS::Cluster")


def test_a_further_service_stands_behind_the_load_balancer_of_an_api_elsewhere(
    synth: Synth,
) -> None:
    def build(stack: cdk.Stack) -> None:
        api(stack).listener.add_action(
            "Reports",
            priority=110,
            conditions=[elbv2.ListenerCondition.path_patterns(["/api/reports/*"])],
            action=elbv2.ListenerAction.fixed_response(200),
        )

    rule = synth(build).only("AWS::ElasticLoadBalancingV2::ListenerRule")
    assert (rule["Priority"], rule["ListenerArn"].rpartition("/")[2]) == (110, "2")


def test_metrics_of_an_api_elsewhere(stack: cdk.Stack) -> None:
    there = api(stack)
    for metric, name in (
        (there.metric_latency(), "TargetResponseTime"),
        (there.metric_errors(), "HTTPCode_Target_5XX_Count"),
    ):
        found = metric.to_metric_config().metric_stat
        assert found.metric_name == name
        assert {flat(d.value) for d in found.dimensions} == {"app/api/1", "targetgroup/api/3"}
