"""Alarms: nothing is without one, each tells somebody, and each says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_sns as sns
from infra_templates import (
    STAGES,
    Stages,
    Synth,
    Template,
    flat,
    stage_config,
    synthesize_stage,
)

from media_platform.constructs import (
    AlarmTopic,
    ApiCluster,
    MonthlyBudget,
    OperationsDashboard,
    ReplicationTarget,
    TranscodePipeline,
    VideoStore,
)
from media_platform.contract.table import INDEXES

WATCHED: dict[str, list[set[str]]] = {
    "AWS::Lambda::Function": [{"Errors"}, {"Throttles"}],
    "AWS::ECS::Service": [{"MemoryUtilization"}],
    "AWS::SQS::Queue": [{"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"}],
    "AWS::ElasticLoadBalancingV2::LoadBalancer": [{"HTTPCode_ELB_5XX_Count"}],
    "AWS::ElasticLoadBalancingV2::TargetGroup": [
        {"UnHealthyHostCount"},
        {"TargetResponseTime"},
        {"HTTPCode_Target_5XX_Count"},
    ],
    "AWS::DynamoDB::GlobalTable": [{"ReadThrottleEvents"}, {"WriteThrottleEvents"}],
    "AWS::CloudFront::Distribution": [{"5xxErrorRate"}],
    "AWS::ElastiCache::ServerlessCache": [
        {"ThrottledCmds"},
        {"BytesUsedForCache"},
        {"Evictions"},
    ],
}
"""What has alarms: of each set, on one metric at least."""

COPIED = [
    {"ReplicationLatency"},
    {"BytesPendingReplication"},
    {"OperationsFailedReplication"},
]
"""What buckets have that are copied to other regions."""

ELSEWHERE = {
    "AWS::Route53::HealthCheck": "its metric is in us-east-1, where the Edge stack watches it",
    "AWS::CloudFront::Function": "what it fails at is an answer 5xx of the distribution",
    "AWS::Events::Rule": "what it cannot hand over is in a dead-letter queue",
    "AWS::Lambda::EventSourceMapping": "what it gives up is in a dead-letter queue or a bucket",
    "AWS::Lambda::EventInvokeConfig": "what it gives up is in a dead-letter queue",
    "AWS::SNS::Subscription": "what it cannot deliver is in a dead-letter queue",
    "AWS::Budgets::Budget": "it tells the topic of alarms itself",
    "AWS::EC2::NatGateway": "who cannot get out fails at what it does",
    "AWS::Cognito::UserPool": "it refuses too many requests of one client alone",
}
"""What can fail and has no alarm of its own, and why it needs none."""

STILL = re.compile(
    r"^(Custom::.*"
    r"|AWS::(ApplicationAutoScaling|CertificateManager|CloudWatch|IAM|KMS|Logs|SecretsManager"
    r"|WAFv2)::.*"
    r"|AWS::EC2::(EIP|FlowLog|InternetGateway|Route|RouteTable|SecurityGroup.*|Subnet.*|VPC.*)"
    r"|AWS::CloudFront::(KeyGroup|OriginAccessControl|PublicKey|ResponseHeadersPolicy|VpcOrigin)"
    r"|AWS::Cognito::(UserPoolClient|UserPoolGroup)"
    r"|AWS::ECS::(Cluster.*|TaskDefinition)"
    r"|AWS::ElasticLoadBalancingV2::(Listener|ListenerRule)"
    r"|AWS::(SQS::QueuePolicy|S3::BucketPolicy|SNS::Topic.*|Lambda::Permission"
    r"|Route53::RecordSet))$"
)
"""What does nothing by itself, or fails while it is deployed."""

Alarm = dict[str, Any]


def all_alarms(template: Template) -> dict[str, Alarm]:
    return {
        name: found["Properties"]
        for name, found in template.resources("AWS::CloudWatch::Alarm").items()
    }


def alarms(template: Template) -> dict[str, Alarm]:
    """Return the alarms for people, unlike those that scale."""
    policies = template.resources("AWS::ApplicationAutoScaling::ScalingPolicy")
    return {
        name: alarm
        for name, alarm in all_alarms(template).items()
        if not any(action.get("Ref") in policies for action in alarm.get("AlarmActions", []))
    }


def metrics(alarm: Alarm) -> Iterator[tuple[str, str]]:
    """Yield the names of the metrics that an alarm looks at, with what they are of."""
    for query in alarm.get("Metrics", [{"MetricStat": {"Metric": alarm}}]):
        if "MetricStat" in query:
            metric = query["MetricStat"]["Metric"]
            yield metric["MetricName"], json.dumps(metric.get("Dimensions", []))


def unwatched(template: Template) -> list[str]:
    """Return what lacks an alarm that it should have."""
    seen = [metric for alarm in alarms(template).values() for metric in metrics(alarm)]
    missing = []
    for resource_type, needed in WATCHED.items():
        for logical_id, resource in template.resources(resource_type).items():
            names = {f'"{logical_id}"', f'"{resource["Properties"].get("ServiceName")}"'}
            found = {metric for metric, of in seen if any(name in of for name in names)}
            missing += [f"{logical_id}: {names_}" for names_ in needed if not found & names_]
    for logical_id, bucket in template.resources("AWS::S3::Bucket").items():
        if "ReplicationConfiguration" in bucket["Properties"]:
            found = {metric for metric, of in seen if f'"{logical_id}"' in of}
            missing += [f"{logical_id}: {names_}" for names_ in COPIED if not found & names_]
    return missing


def undecided(template: Template) -> set[str]:
    """Return the types of which nobody said whether they need an alarm."""
    types = {made["Type"] for made in template.content["Resources"].values()}
    decided = {*WATCHED, *ELSEWHERE, "AWS::S3::Bucket"}
    return {name for name in types - decided if not STILL.fullmatch(name)}


@pytest.fixture(scope="module")
def with_options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    config = stage_config(
        "local",
        api={"cache": True, "cache_max_gibibytes": 2},
        scanning={"clamav": {}},
        alarm_emails=["ops@example.com"],
        monthly_budget_usd=500,
    )
    return synthesize_stage(tmp_path_factory.mktemp("alarms"), config)


@pytest.mark.parametrize("stage", STAGES)
def test_everything_has_an_alarm(stages: Stages, stage: str) -> None:
    assert [lack for template in stages[stage].values() for lack in unwatched(template)] == []


def test_everything_optional_has_an_alarm(with_options: dict[str, Template]) -> None:
    assert [lack for template in with_options.values() for lack in unwatched(template)] == []


def test_of_every_type_it_is_said_whether_it_needs_an_alarm(
    stages: Stages, with_options: dict[str, Template]
) -> None:
    """A new type belongs into one of the lists above, so that nothing is without by accident."""
    templates = [
        *with_options.values(),
        *(one for stage in STAGES for one in stages[stage].values()),
    ]
    assert set().union(*(undecided(template) for template in templates)) == set()


def test_what_cannot_be_handed_over_is_kept_and_told_of(stages: Stages) -> None:
    """Rules and subscriptions have no alarm because they have a dead-letter queue that has one."""
    template = stages["prod"]["Media-us-east-1"]
    rules = template.resources("AWS::Events::Rule")
    targets = {
        name: target for name, rule in rules.items() for target in rule["Properties"]["Targets"]
    }
    assert targets
    assert [name for name, target in targets.items() if "DeadLetterConfig" not in target] == []
    subscribed = template.resources("AWS::SNS::Subscription")
    queues = {n for n, s in subscribed.items() if s["Properties"]["Protocol"] == "sqs"}
    assert queues
    assert {n for n in queues if "RedrivePolicy" not in subscribed[n]["Properties"]} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_alarm_tells_a_topic_of_its_region_and_says_what_to_do(
    stages: Stages, stage: str
) -> None:
    for template in stages[stage].values():
        for name, alarm in alarms(template).items():
            (told,) = alarm["AlarmActions"]
            assert "Alarms" in flat(told), name
            assert "Topic" in flat(told), name
            assert alarm["OKActions"] == alarm["AlarmActions"]
            assert alarm["TreatMissingData"] == "notBreaching"
            assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
            assert alarm["AlarmDescription"][0].isupper(), alarm["AlarmDescription"]


def test_every_region_has_one_topic(stages: Stages) -> None:
    for stage in STAGES:
        topics = [
            name
            for name, template in stages[stage].items()
            for topic in template.resources("AWS::SNS::Topic")
            if topic.startswith("Alarms")
        ]
        assert topics == [name for name in stages[stage] if name.startswith("Store-")]


def test_a_distribution_elsewhere_has_a_topic_beside_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With an own domain it is in us-east-1, wherever the rest of the stage is."""
    prod = stage_config("prod")
    # A stage of one region does not pass all that prod does.
    config = stage_config(
        "prod",
        regions=[region.model_dump() for region in prod.regions[1:]],
        rule_packs=["AwsSolutions"],
    )
    templates = synthesize_stage(tmp_path_factory.mktemp("elsewhere"), config)
    assert len(templates["Edge"].resources("AWS::SNS::Topic")) == 1
    assert unwatched(templates["Edge"]) == []


def test_a_distribution_without_domain_elsewhere_has_no_alarm_and_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    region = {"name": "eu-west-1", "availability_zones": ["eu-west-1a", "eu-west-1b"]}
    templates = synthesize_stage(
        tmp_path_factory.mktemp("europe"), stage_config("dev", regions=[region])
    )
    edge = templates["Edge"]
    assert [name for name in alarms(edge) if name.startswith("CdnErrors")] == []


# -- the topic -------------------------------------------------------------------------------------


def test_a_topic_hears_of_alarms_that_come_later(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        topic = AlarmTopic(stack, "Alarms")
        store = VideoStore(stack, "Store")
        pipeline = TranscodePipeline(stack, "Transcode", store=store)
        topic.watch(pipeline)
        pipeline.add_scanner("later")

    made = synth(build)
    told = {name: "AlarmActions" in alarm for name, alarm in alarms(made).items()}
    later = {name for name in told if "Scannerlater" in name}
    assert later
    assert all(told[name] for name in told if name.startswith("Transcode"))
    assert not any(told[name] for name in told if name.startswith("Store"))


def test_alarms_may_publish_to_an_encrypted_topic(synth: Synth) -> None:
    made = synth(lambda stack: AlarmTopic(stack, "Alarms"))
    assert flat(made.only("AWS::SNS::Topic")["KmsMasterKeyId"]) == "<AlarmsKey.Arn>"
    services = {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]}
    here = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    policy = made.only("AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    (publish,) = [s for s in policy if s.get("Sid") == "AlarmsPublish"]
    assert (publish["Principal"], publish["Condition"]) == (services, here)
    assert publish["Action"] == "sns:Publish"
    key = made.only("AWS::KMS::Key")
    assert key["EnableKeyRotation"] is True
    (use,) = [s for s in key["KeyPolicy"]["Statement"] if s.get("Sid") == "AlarmsPublish"]
    assert (use["Principal"], use["Condition"]) == (services, here)
    assert use["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]


def test_addresses_get_mail(with_options: dict[str, Template]) -> None:
    subscription = with_options["Store-us-east-1"].only("AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")


# -- what they look at -----------------------------------------------------------------------------


def test_copies_and_changes_of_the_table_are_watched(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        VideoStore(
            stack,
            "Store",
            table_name="videos",
            raw_bucket_name="raw-here",
            media_bucket_name="media-here",
            replicate_to=[
                ReplicationTarget(
                    region="eu-west-1", raw_bucket_name="raw-eu", media_bucket_name="media-eu"
                )
            ],
            replica_table_regions=["eu-west-1"],
        )

    made = synth(build)
    seen = {
        (alarm["MetricName"], *(flat(d["Value"]) for d in alarm["Dimensions"])): alarm["Threshold"]
        for alarm in alarms(made).values()
        if "MetricName" in alarm
    }
    for kind, bucket in (("raw", "<StoreRawBucket>"), ("media", "<StoreMediaBucket>")):
        names = (f"{kind}-eu", "eu-west-1", bucket)
        assert seen["ReplicationLatency", *names] == 15 * 60
        assert seen["BytesPendingReplication", *names] == 100 * 1024**3
        assert seen["OperationsFailedReplication", *names] == 0
    assert seen["ReplicationLatency", "eu-west-1", "<StoreTable>"] == 60_000
    rules = [
        rule
        for name, bucket in made.resources("AWS::S3::Bucket").items()
        if "AccessLogs" not in name
        for rule in bucket["Properties"]["ReplicationConfiguration"]["Rules"]
    ]
    assert [rule["Id"] for rule in rules] == ["eu-west-1"] * 2
    assert {rule["Destination"]["Metrics"]["Status"] for rule in rules} == {"Enabled"}


def test_a_cache_is_full_before_it_has_no_room(with_options: dict[str, Template]) -> None:
    full = {
        alarm["MetricName"]: (alarm["Statistic"], alarm["Threshold"], alarm["EvaluationPeriods"])
        for alarm in alarms(with_options["Media-us-east-1"]).values()
        if alarm.get("Namespace") == "AWS/ElastiCache"
    }
    assert full == {
        "ThrottledCmds": ("Sum", 0, 3),
        "BytesUsedForCache": ("Maximum", 2 * 1024**3 * 0.8, 3),
        "Evictions": ("Sum", 0, 3),
    }


@pytest.mark.parametrize("kind", ["Read", "Write"])
def test_every_index_of_the_table_is_watched(stages: Stages, kind: str) -> None:
    """What an index refuses is not among what the table refuses."""
    for region in ("us-east-1", "eu-west-1"):
        (alarm,) = (
            alarm
            for name, alarm in alarms(stages["prod"][f"Store-{region}"]).items()
            if f"Index{kind}Throttles" in name
        )
        watched = [
            {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
            for query in alarm["Metrics"]
            if "MetricStat" in query
            for metric in [query["MetricStat"]["Metric"]]
            if metric["MetricName"] == f"{kind}ThrottleEvents"
        ]
        # CloudWatch takes ten metrics for an alarm.
        assert len(watched) <= 10
        names = {dimensions["GlobalSecondaryIndexName"] for dimensions in watched}
        assert names == {index.name for index in INDEXES}


def test_a_few_failed_videos_alarm_nobody(stages: Stages) -> None:
    (alarm,) = [
        alarm
        for name, alarm in alarms(stages["prod"]["Media-us-east-1"]).items()
        if "VideosFail" in name
    ]
    expressions = [query["Expression"] for query in alarm["Metrics"] if "Expression" in query]
    assert expressions == ["IF(failed >= 3, 100 * failed / (failed + FILL(completed, 0)), 0)"]
    assert alarm["Threshold"] == 20


# -- budget and dashboard --------------------------------------------------------------------------


def test_a_budget_tells_before_and_when_it_is_used_up(with_options: dict[str, Template]) -> None:
    budget = with_options["Store-us-east-1"].only("AWS::Budgets::Budget")
    assert budget["Budget"] == {
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": 500, "Unit": "USD"},
        "CostFilters": {"TagKeyValue": ["user:media-platform-stage$local"]},
    }
    told = [
        (one["Notification"]["NotificationType"], one["Notification"]["Threshold"])
        for one in budget["NotificationsWithSubscribers"]
    ]
    assert told == [("FORECASTED", 100), ("ACTUAL", 80), ("ACTUAL", 100)]


def test_a_budget_is_above_zero(stack: cdk.Stack) -> None:
    topic = sns.Topic(stack, "Topic")
    with pytest.raises(ValueError, match="limit_usd is 0, allowed are 1 to 10000000"):
        MonthlyBudget(stack, "Budget", limit_usd=0, topic=topic)


def test_stacks_carry_the_tag_of_their_stage(stages: Stages) -> None:
    for template in stages["prod"].values():
        manifest = json.loads((template.path.parent / "manifest.json").read_text())
        for artifact in manifest["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                assert artifact["properties"]["tags"] == {"media-platform-stage": "prod"}


def widgets(template: Template) -> list[dict[str, Any]]:
    body = flat(template.only("AWS::CloudWatch::Dashboard")["DashboardBody"])
    found: list[dict[str, Any]] = json.loads(body)["widgets"]
    return found


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_dashboard_shows_the_way_of_a_video_from_left_to_right(
    stages: Stages, region: str
) -> None:
    shown = widgets(stages["prod"][f"Media-{region}"])
    (heading,) = [w for w in shown if "way of a video" in w["properties"].get("markdown", "")]
    row = [w for w in shown if w["y"] == heading["y"] + heading["height"]]
    assert [w["properties"]["title"] for w in sorted(row, key=lambda w: w["x"])] == [
        "1 Uploads",
        "2 Scans",
        "3 Jobs",
        "4 Workers",
        "5 Seconds to playable",
        "6 Events",
    ]
    status = shown[0]
    assert status["type"] == "alarm"
    assert len(status["properties"]["alarms"]) > 40
    titles = [w["properties"].get("title") for w in shown]
    assert {"Milliseconds to other regions", "Bytes to copy", "Failed copies"} <= set(titles)


def test_a_dashboard_shows_the_cache_that_is_there(
    stages: Stages, with_options: dict[str, Template]
) -> None:
    def api_row(template: Template) -> list[str]:
        shown = widgets(template)
        (heading,) = [w for w in shown if w["properties"].get("markdown") == "## API"]
        row = [w for w in shown if w["y"] == heading["y"] + heading["height"]]
        return [w["properties"]["title"] for w in sorted(row, key=lambda w: w["x"])]

    without = ["Requests", "Seconds to an answer", "Playback", "Tasks, per cent"]
    assert api_row(stages["local"]["Media-us-east-1"]) == without
    assert api_row(with_options["Media-us-east-1"]) == [*without, "Cache"]


def test_a_dashboard_needs_no_api(synth: Synth) -> None:
    def build(stack: cdk.Stack) -> None:
        store = VideoStore(stack, "Store")
        pipeline = TranscodePipeline(stack, "Transcode", store=store, scan_content=False)
        OperationsDashboard(stack, "Operations", store=store, pipeline=pipeline)

    titles = [w["properties"].get("title") for w in widgets(synth(build))]
    assert "2 Jobs" in titles
    assert "Requests" not in titles


def test_constructs_have_alarms_that_tell_nobody_without_a_topic(synth: Synth) -> None:
    made = synth(lambda stack: ApiCluster(stack, "Api", store=VideoStore(stack, "Store")))
    assert alarms(made)
    assert not any("AlarmActions" in alarm for alarm in alarms(made).values())
