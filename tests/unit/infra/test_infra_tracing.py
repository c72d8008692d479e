"""Where spans of tasks go: what their containers are told, the collector, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_secretsmanager as secretsmanager
from infra_templates import Synth, Template, flat

from media_platform.constructs import ApiCluster, Tracing, TranscodePipeline, VideoStore

SERVICES = {"api", "admin", "worker"}
ROLES = ("ApiTaskTaskRole", "ApiAdminTaskTaskRole", "TranscodeWorkersTaskTaskRole")


def build(stack: cdk.Stack, tracing: Tracing, **arguments: Any) -> None:
    store = VideoStore(stack, "Store")
    api = ApiCluster(stack, "Api", store=store, tracing=tracing, **arguments)
    pipeline = TranscodePipeline(
        stack, "Transcode", store=store, cluster=api.cluster, tracing=tracing
    )
    api.add_admin_service(pipeline=pipeline)


def containers(made: Template) -> list[list[dict[str, Any]]]:
    return [
        task["Properties"]["ContainerDefinitions"]
        for task in made.resources("AWS::ECS::TaskDefinition").values()
    ]


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {v["Name"]: v["Value"] for v in container["Environment"]}


@pytest.fixture(scope="module")
def x_ray(synth: Synth) -> Template:
    return synth(lambda stack: build(stack, Tracing.x_ray()))


def test_a_collector_in_each_task_may_fail_without_it(x_ray: Template) -> None:
    assert {service["Name"] for service, _ in containers(x_ray)} == SERVICES
    groups = x_ray.resources("AWS::Logs::LogGroup")
    for service, collector in containers(x_ray):
        assert service["Essential"] is True
        assert collector["Essential"] is False
        # It has to start, and stops last; it need not be well.
        assert service["DependsOn"] == [{"Condition": "START", "ContainerName": "collector"}]
        assert re.fullmatch(
            r"public\.ecr\.aws/aws-observability/aws-otel-collector:v\d+\.\d+\.\d+",
            collector["Image"],
        )
        assert collector["User"] == "10001:10001"
        assert collector["ReadonlyRootFilesystem"] is True
        assert collector["Memory"] < 256  # of 512 MiB that the smallest task has
        assert "PortMappings" not in collector
        assert collector["LogConfiguration"]["Options"]["awslogs-group"]["Ref"] in groups


def test_spans_go_from_the_service_to_its_collector_and_on_to_x_ray(x_ray: Template) -> None:
    for service, collector in containers(x_ray):
        told = variables(service)
        assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
        assert told["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio"
        assert told["OTEL_TRACES_SAMPLER_ARG"] == "0.05"
        configuration = json.loads(variables(collector)["AOT_CONFIG_CONTENT"])
        (receiver,) = configuration["receivers"]["otlp"]["protocols"].values()
        assert receiver["endpoint"] == "127.0.0.1:4318"
        assert configuration["exporters"] == {"awsxray": {"region": "us-east-1"}}
        pipeline = configuration["service"]["pipelines"]["traces"]
        assert (pipeline["receivers"], pipeline["exporters"]) == (["otlp"], ["awsxray"])
        assert set(pipeline["processors"]) == set(configuration["processors"])
    for role in ROLES:
        sent = {action: on for action, on in x_ray.grants(role).items() if "xray" in action}
        assert sent == {"xray:PutTraceSegments": {"*"}}


def test_an_alarm_tells_of_spans_that_are_lost(x_ray: Template) -> None:
    filters = [made["Properties"] for made in x_ray.resources("AWS::Logs::MetricFilter").values()]
    patterns = {'{ $.logger = "opentelemetry*" }', '"Dropping data"'}
    alarms = [
        alarm["Properties"]
        for name, alarm in x_ray.resources("AWS::CloudWatch::Alarm").items()
        if "SpansLost" in name
    ]
    assert len({alarm["MetricName"] for alarm in alarms}) == len(SERVICES)
    for alarm in alarms:
        assert (alarm["EvaluationPeriods"], alarm["Period"], alarm["Threshold"]) == (3, 300, 0)
        counted = [
            one
            for one in filters
            if one["MetricTransformations"][0]["MetricName"] == alarm["MetricName"]
        ]
        assert {one["FilterPattern"] for one in counted} == patterns
        assert len({flat(one["LogGroupName"]) for one in counted}) == 2


def test_nothing_is_sent_unless_asked_for(synth: Synth) -> None:
    made = synth(lambda stack: ApiCluster(stack, "Api", store=VideoStore(stack, "Store")))
    ((container,),) = containers(made)
    assert not [name for name in variables(container) if name.startswith("OTEL_")]


def test_spans_may_go_elsewhere_with_headers_from_a_secret(synth: Synth) -> None:
    def elsewhere(stack: cdk.Stack) -> None:
        headers = secretsmanager.Secret.from_secret_name_v2(stack, "Headers", "backend-headers")
        tracing = Tracing.otlp("https://otlp.example.com", headers=headers, sampled_percent=100)
        build(stack, tracing, network="endpoints")

    made = synth(elsewhere)
    for (service,) in containers(made):
        assert variables(service)["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://otlp.example.com"
        assert variables(service)["OTEL_TRACES_SAMPLER_ARG"] == "1"
        (secret,) = service["Secrets"]
        assert secret["Name"] == "OTEL_EXPORTER_OTLP_HEADERS"
        assert flat(secret["ValueFrom"]).endswith(":secret:backend-headers")
    for role in ROLES:
        assert not [action for action in made.grants(role) if "xray" in action]


def test_a_collector_of_ones_own_registry_reaches_x_ray_by_an_endpoint(synth: Synth) -> None:
    def private(stack: cdk.Stack) -> None:
        repository = ecr.Repository.from_repository_name(stack, "Images", "collector")
        image = ecs.ContainerImage.from_ecr_repository(repository, "v1")
        build(stack, Tracing.x_ray(collector_image=image), network="endpoints")

    made = synth(private)
    for _, collector in containers(made):
        assert "collector:v1" in flat(collector["Image"])
    assert "com.amazonaws.us-east-1.xray" in {
        flat(one["Properties"]["ServiceName"])
        for one in made.resources("AWS::EC2::VPCEndpoint").values()
    }


@pytest.mark.parametrize(
    ("tracing", "arguments", "message"),
    [
        (
            Tracing.x_ray(),
            {"network": "endpoints"},
            (
                "tracing needs a collector_image, since network is 'endpoints', from where "
                "public.ecr.aws cannot be reached; copy the image to a repository of this region"
            ),
        ),
        (
            Tracing.x_ray(sampled_percent=0),
            {},
            (
                "sampled_percent of tracing is 0, allowed are 0.001 to 100; leave tracing out for "
                "none"
            ),
        ),
        (
            Tracing.otlp("collector:4318"),
            {},
            (
                "endpoint of tracing is 'collector:4318', allowed are URLs such as "
                "https://otlp.example.com or http://collector.internal:4318; correct it"
            ),
        ),
    ],
)
def test_errors(
    stack: cdk.Stack, tracing: Tracing, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(path: Test/Api/Api\\)$"):
        build(stack, tracing, **arguments)
