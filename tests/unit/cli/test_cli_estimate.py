"""What a stage will cost: sums by hand, every type of resource, prices and their sources."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from template_folder import STAGES, Templates, recorded_stage, write_assembly

from mediactl import environment, limits, main
from mediactl.deploying.assembly import assembly_stacks
from mediactl.pricing.bill import Bill
from mediactl.pricing.book import Price, price_table
from mediactl.pricing.estimate import StageCost, stage_cost
from mediactl.pricing.lines import COSTS_NOTHING, PRICED, alarm_metrics
from mediactl.pricing.template import Resource, Stage
from mediactl.pricing.usage import cpu_seconds_of_a_minute, worker_hours, worker_time
from mediactl.pricing.workload import NOTHING, Workload

REPOSITORY = Path(__file__).parents[3]


def stage_of(folder: Path) -> Stage:
    return Stage(assembly_stacks(folder, default_region="us-east-1"))


def small_stage(folder: Path, resources: dict[str, Any], region: str = "us-east-1") -> Stage:
    stacks: Templates = {"Small": (region, {"Resources": resources})}
    return stage_of(write_assembly(folder, stacks))


def cost_of(stage: Stage, workload: Workload = NOTHING) -> StageCost:
    return stage_cost("small", stage, workload, price_table(), with_free=False)


@pytest.fixture(scope="module", params=STAGES)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage_of(recorded_stage(tmp_path_factory.mktemp("assembly"), request.param))


TASK = {
    "Type": "AWS::ECS::TaskDefinition",
    "Properties": {
        "Cpu": "512",
        "Memory": "1024",
        "RuntimePlatform": {"CpuArchitecture": "ARM64"},
        "ContainerDefinitions": [{"Name": "api", "Command": ["python", "-m", "api"]}],
    },
}
SERVICE = {
    "Type": "AWS::ECS::Service",
    "Properties": {"DesiredCount": 2, "TaskDefinition": {"Ref": "Task"}},
}


class TestSumsByHand:
    def test_tasks_that_always_run(self, tmp_path: Path) -> None:
        cost = cost_of(small_stage(tmp_path, {"Task": TASK, "Api": SERVICE}))
        # Two tasks of half a processor and 1 GB for 730 hours.
        by_hand = 2 * 730 * (0.5 * 0.03238 + 1 * 0.00356)
        fargate = next(one for one in cost.services if one.service == "Fargate")
        assert fargate.usd == pytest.approx(by_hand, abs=0.005)
        assert fargate.idle_usd == fargate.usd

    def test_a_network_with_gateways_and_a_balancer(self, tmp_path: Path) -> None:
        cost = cost_of(
            small_stage(
                tmp_path,
                {
                    "Gateway": {"Type": "AWS::EC2::NatGateway"},
                    "Address": {"Type": "AWS::EC2::EIP"},
                    "Balancer": {
                        "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
                        "Properties": {"Scheme": "internet-facing", "Subnets": ["a", "b"]},
                    },
                },
                region="eu-west-1",
            )
        )
        assert cost.usd == pytest.approx(730 * (0.048 + 0.005 + 0.0252 + 2 * 0.005), abs=0.01)
        assert cost.regions == ["eu-west-1"]

    def test_the_home_region_comes_first(self, tmp_path: Path) -> None:
        template = {"Resources": {"Task": TASK, "Api": SERVICE}}
        regions = ("us-east-1", "eu-west-1")
        stacks = {f"Media-{region}": (region, template) for region in regions}
        cost = cost_of(Stage(assembly_stacks(write_assembly(tmp_path, stacks), default_region="")))
        assert cost.regions == [*regions]
        assert [part.region for part in cost.by_region] == [*regions]

    def test_endpoints_are_paid_in_every_zone_and_gateway_endpoints_are_not(
        self, tmp_path: Path
    ) -> None:
        cost = cost_of(
            small_stage(
                tmp_path,
                {
                    "Paid": {
                        "Type": "AWS::EC2::VPCEndpoint",
                        "Properties": {"VpcEndpointType": "Interface", "SubnetIds": ["a", "b"]},
                    },
                    "Free": {
                        "Type": "AWS::EC2::VPCEndpoint",
                        "Properties": {"VpcEndpointType": "Gateway"},
                    },
                },
            )
        )
        assert cost.usd == pytest.approx(2 * 730 * 0.01)

    def test_firewalls_by_rule_and_request(self, tmp_path: Path) -> None:
        acl = {"Rules": [{}, {}, {}], "Scope": "REGIONAL"}
        stage = small_stage(tmp_path, {"Acl": {"Type": "AWS::WAFv2::WebACL", "Properties": acl}})
        month = dataclasses.replace(NOTHING, api_requests=2e6)
        assert cost_of(stage, month).usd == pytest.approx(5 + 3 + 2 * 0.60)

    def test_keys_secrets_and_users(self, tmp_path: Path) -> None:
        cost = cost_of(
            small_stage(
                tmp_path,
                {
                    "Key": {"Type": "AWS::KMS::Key"},
                    "Copy": {"Type": "AWS::KMS::ReplicaKey"},
                    "Secret": {
                        "Type": "AWS::SecretsManager::Secret",
                        "Properties": {"ReplicaRegions": [{"Region": "eu-west-1"}]},
                    },
                    "Users": {
                        "Type": "AWS::Cognito::UserPool",
                        "Properties": {"UserPoolTier": "PLUS"},
                    },
                },
            ),
            dataclasses.replace(NOTHING, users=1000),
        )
        assert cost.usd == pytest.approx(2 + 2 * 0.40 + 1000 * 0.020 + 1e4 / 1e4 * 0.03)

    def test_a_table_is_written_in_each_of_its_regions(self, tmp_path: Path) -> None:
        def table(*regions: str) -> dict[str, Any]:
            replicas = [{"Region": region} for region in regions]
            return {
                "Table": {
                    "Type": "AWS::DynamoDB::GlobalTable",
                    "Properties": {"Replicas": replicas},
                }
            }

        month = dataclasses.replace(NOTHING, views=1e6)
        one = cost_of(small_stage(tmp_path / "one", table("us-east-1")), month)
        two = cost_of(small_stage(tmp_path / "two", table("us-east-1", "eu-west-1")), month)
        # A view is one write of three units.
        assert one.usd == pytest.approx(3 * 0.625, abs=0.006)
        assert two.usd == pytest.approx(3 * (0.625 + 0.705), abs=0.006)

    def test_buckets_by_class_and_copies(self, tmp_path: Path) -> None:
        bucket = {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "LifecycleConfiguration": {
                    "Rules": [{"Transitions": [{"StorageClass": "GLACIER_IR"}]}]
                },
                "ReplicationConfiguration": {"Rules": [{"Destination": {"Bucket": "there"}}]},
            },
        }
        month = dataclasses.replace(
            NOTHING, uploads=10, minutes=10, source_megabits=8, months_kept=3
        )
        lines = cost_of(small_stage(tmp_path, {"StoreRawBucket": bucket}), month).lines
        usd = {line.what: line.usd for line in lines if line.service == "S3"}
        gb = 10 * 600 * 8 / 8 / 1000
        assert usd["uploads: storage"] == pytest.approx(gb * 0.023)
        assert usd["uploads: storage, Glacier Instant Retrieval"] == pytest.approx(gb * 2 * 0.004)
        assert usd["uploads: copied to other regions"] == pytest.approx(gb * 0.02)
        assert usd["uploads: transitions"] == pytest.approx(10 / 1000 * 0.02)

    def test_delivery_gets_cheaper_and_the_class_of_edges_counts(self, tmp_path: Path) -> None:
        def distribution(price_class: str) -> Stage:
            config = {"DistributionConfig": {"PriceClass": price_class}}
            return small_stage(
                tmp_path / price_class,
                {"Edge": {"Type": "AWS::CloudFront::Distribution", "Properties": config}},
            )

        month = dataclasses.replace(NOTHING, delivered_gb=20_000, viewers="asia")
        everywhere = cost_of(distribution("PriceClass_All"), month)
        near = cost_of(distribution("PriceClass_100"), month)
        assert everywhere.usd == pytest.approx(10_000 * 0.120 + 10_000 * 0.100)
        assert near.usd == pytest.approx(10_000 * 0.085 + 10_000 * 0.080)

    def test_schedules_call_functions(self, tmp_path: Path) -> None:
        stage = small_stage(
            tmp_path,
            {
                "Function": {
                    "Type": "AWS::Lambda::Function",
                    "Properties": {"MemorySize": 1024, "Architectures": ["arm64"]},
                },
                "Rule": {
                    "Type": "AWS::Events::Rule",
                    "Properties": {"ScheduleExpression": "rate(2 minutes)"},
                },
            },
        )
        calls = 730 * 30
        usd = {line.what: line.usd for line in cost_of(stage).lines}
        assert usd["calls"] == pytest.approx(calls / 1e6 * 0.20, abs=1e-4)
        assert usd["time"] == pytest.approx(calls * 0.2 * 0.0000133334, abs=1e-4)

    def test_queues_that_functions_wait_for_are_asked_all_the_time(self, tmp_path: Path) -> None:
        stage = small_stage(
            tmp_path,
            {
                "Queue": {"Type": "AWS::SQS::Queue"},
                "Mapping": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {"EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]}},
                },
                "Other": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {"EventSourceArn": {"Fn::ImportValue": "stream"}},
                },
            },
        )
        assert cost_of(stage).usd == pytest.approx(5 * 730 * 180 / 1e6 * 0.40, abs=0.005)


class TestWorkers:
    LADDER: ClassVar = [(1080, 4500.0), (720, 2600.0)]

    def worker(self, folder: Path, most: int = 8) -> Stage:
        """A worker of four processors; from three messages on there are four tasks, then eight."""
        return small_stage(
            folder,
            {
                "Task": {
                    "Type": "AWS::ECS::TaskDefinition",
                    "Properties": {
                        "Cpu": "4096",
                        "Memory": "8192",
                        "RuntimePlatform": {"CpuArchitecture": "ARM64"},
                        "ContainerDefinitions": [
                            {
                                "Command": ["python", "-m", "media_worker"],
                                "Environment": [
                                    {"Name": "IDLE_SECONDS", "Value": "300"},
                                    {"Name": "CHUNK_SECONDS", "Value": "16"},
                                ],
                            }
                        ],
                    },
                },
                "Workers": {
                    "Type": "AWS::ECS::Service",
                    "Properties": {
                        "DesiredCount": 0,
                        "TaskDefinition": {"Ref": "Task"},
                        "CapacityProviderStrategy": [
                            {"CapacityProvider": "FARGATE_SPOT", "Weight": 3},
                            {"CapacityProvider": "FARGATE", "Weight": 1},
                        ],
                    },
                },
                "Target": {
                    "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
                    "Properties": {
                        "MinCapacity": 0,
                        "MaxCapacity": most,
                        "ResourceId": {"Fn::Join": ["/", [{"Fn::GetAtt": ["Workers", "Name"]}]]},
                    },
                },
                "Policy": {
                    "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
                    "Properties": {
                        "ScalingTargetId": {"Ref": "Target"},
                        "StepScalingPolicyConfiguration": {
                            "AdjustmentType": "ExactCapacity",
                            "StepAdjustments": [
                                {
                                    "MetricIntervalLowerBound": 0,
                                    "MetricIntervalUpperBound": 5,
                                    "ScalingAdjustment": 4,
                                },
                                {"MetricIntervalLowerBound": 5, "ScalingAdjustment": 100},
                            ],
                        },
                    },
                },
                "Alarm": {
                    "Type": "AWS::CloudWatch::Alarm",
                    "Properties": {"Threshold": 3, "AlarmActions": [{"Ref": "Policy"}]},
                },
            },
        )

    def test_a_short_video_is_the_work_of_one_task(self, tmp_path: Path) -> None:
        worker = self.worker(tmp_path).worker
        month = dataclasses.replace(NOTHING, uploads=10, minutes=1)
        paid, busy, starts = worker_time(worker, month, self.LADDER)
        pixels = (1080 * 1920 + 720 * 1280) / 1e6
        work = pixels * 30 * 60 * 0.029 / 0.9
        assert cpu_seconds_of_a_minute(self.LADDER, 30) == pytest.approx(work * 0.9)
        # A minute until it works, and five minutes without work, with four processors.
        assert paid == pytest.approx(10 * (work + 4 * (60 + 300)))
        assert busy == pytest.approx(work / (work + 4 * 360))
        assert starts == 10

    def test_a_long_one_brings_as_many_as_its_messages_ask_for(self, tmp_path: Path) -> None:
        worker = self.worker(tmp_path).worker
        assert worker is not None
        assert worker.spot == 0.75
        assert [worker.tasks_for(messages) for messages in (1, 3, 7, 8, 99)] == [1, 4, 4, 8, 8]
        month = dataclasses.replace(NOTHING, uploads=1, minutes=60)
        paid, busy, starts = worker_time(worker, month, self.LADDER)
        work = 60 * cpu_seconds_of_a_minute(self.LADDER, 30) / 0.9
        assert paid == pytest.approx(work + 4 * (8 * 60 + 300 + 7 * 180))
        assert starts == 8
        assert 0 < busy < 1

    def test_what_comes_together_wakes_them_once(self, tmp_path: Path) -> None:
        worker = self.worker(tmp_path, most=1).worker
        month = dataclasses.replace(NOTHING, uploads=10, minutes=1)
        alone, _, starts = worker_time(worker, month, self.LADDER)
        together, _, fewer = worker_time(
            worker, dataclasses.replace(month, uploads_at_once=10), self.LADDER
        )
        assert (starts, fewer) == (10, 1)
        assert alone - together == pytest.approx(9 * 4 * 360)

    def test_metrics_of_workers_are_paid_for_the_hours_in_which_they_run(
        self, tmp_path: Path
    ) -> None:
        worker = self.worker(tmp_path).worker
        month = dataclasses.replace(NOTHING, uploads=10, minutes=1)
        work = cpu_seconds_of_a_minute(self.LADDER, 30) / 0.9
        # Each of the ten begins at any minute of an hour: it touches the next one by its length.
        lasts = (60 + work / 4 + 300) / 3600
        assert worker_hours(worker, month, self.LADDER) == pytest.approx(10 * (1 + lasts))
        assert worker_hours(worker, NOTHING, self.LADDER) == 0
        assert worker_hours(None, month, self.LADDER) == 0

    def test_spot_is_paid_at_its_share_of_the_price(self, tmp_path: Path) -> None:
        month = dataclasses.replace(NOTHING, uploads=10, minutes=10)
        cost = cost_of(self.worker(tmp_path), month)
        usd = sum(line.usd for line in cost.lines if line.what.startswith("workers"))
        hours = cost.worker_cpu_hours
        full = hours * 0.03238 + 2 * hours * 0.00356
        assert usd == pytest.approx(full * (0.25 + 0.75 * 0.32), rel=0.01)

    def test_no_rung_is_above_the_source(self, tmp_path: Path) -> None:
        stage = self.worker(tmp_path)
        large = cost_of(stage, dataclasses.replace(NOTHING, uploads=10, source_lines=1080))
        small = cost_of(stage, dataclasses.replace(NOTHING, uploads=10, source_lines=480))
        mediaconvert = [one.alternatives[0].usd for one in (large, small)]
        # 1080 and 720 count twice, 480 and 360 once.
        assert mediaconvert == [pytest.approx(100 * 6 * 0.0075), pytest.approx(100 * 2 * 0.0075)]


class TestOthers:
    def test_what_they_ask_by_hand(self, recorded: Stage) -> None:
        month = Workload(uploads=1000, minutes=10, views=100_000, months_kept=2)
        found = stage_cost("any", recorded, month, price_table()).alternatives
        usd = {one.name: one.usd for one in found}
        input_usd = 5000 * 0.03125 + 5000 * 0.029688
        watched = 100_000 * 5
        delivery_usd = (watched - 100_000) * 0.001
        assert usd["AWS Elemental MediaConvert"] == pytest.approx(10_000 * 6 * 0.0075)
        assert usd["Mux, plus"] == pytest.approx(input_usd + 20_000 * 0.003 + delivery_usd)
        assert usd["Mux, basic (shorter ladder)"] == pytest.approx(20_000 * 0.003 + delivery_usd)
        assert usd["Cloudflare Stream"] == pytest.approx(20 * 5 + watched / 1000)


class TestResources:
    def test_every_type_of_a_stage_is_priced_or_known_to_cost_nothing(
        self, recorded: Stage
    ) -> None:
        cost = stage_cost("any", recorded, Workload(), price_table())
        assert cost.unpriced == []
        assert cost.usd > cost.idle_usd > 50

    def test_a_type_is_not_in_both_lists_and_a_reason_is_given(self) -> None:
        assert not PRICED & COSTS_NOTHING.keys()
        assert all(len(reason) > 5 for reason in COSTS_NOTHING.values())

    def test_what_is_not_known_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        unknown: Templates = {
            "Own": ("us-east-1", {"Resources": {"Db": {"Type": "AWS::RDS::DBInstance"}}})
        }
        write_assembly(tmp_path / "own", unknown)
        assert main.run(["estimate", "--assembly", str(tmp_path / "own"), "--prices", "table"]) == 0
        assert "not counted: AWS::RDS::DBInstance" in capsys.readouterr().out

    def test_metrics_are_paid_for_the_hours_in_which_they_are_sent(self, recorded: Stage) -> None:
        def metrics(**workload: float) -> float:
            cost = cost_of(recorded, dataclasses.replace(NOTHING, **workload))
            return sum(line.quantity for line in cost.lines if line.price == "custom-metric")

        regions = len(recorded.regions)
        nobody, asked, worked = metrics(), metrics(api_requests=1e6), metrics(uploads=1e6)
        assert asked - nobody == pytest.approx(34 * regions)
        # What workers send, and what Container Insights sends of their service and its task.
        assert worked - nobody == pytest.approx((11 + 15 + 10) * regions)
        assert 0 < metrics(uploads=10) - nobody < 1

    def test_an_alarm_is_paid_by_the_metrics_it_looks_at(self) -> None:
        def alarm(properties: dict[str, Any]) -> Resource:
            return Resource("a", "us-east-1", "Alarm", "AWS::CloudWatch::Alarm", properties)

        expression = [{"Expression": "a + b"}, {"MetricStat": {}}, {"MetricStat": {}}]
        assert alarm_metrics(alarm({"MetricName": "Errors"})) == 1
        assert alarm_metrics(alarm({"Metrics": expression})) == 2

    def test_a_stage_without_a_line_about_a_service_does_not_pay_for_it(
        self, tmp_path: Path
    ) -> None:
        cost = cost_of(small_stage(tmp_path, {"Topic": {"Type": "AWS::SNS::Topic"}}), Workload())
        assert {line.service for line in cost.lines} == {"SNS"}


class TestPrices:
    def test_every_price_has_a_source_and_a_date(self) -> None:
        for price in price_table().prices():
            assert price.source.startswith("https://")
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", price.date)
            assert price.read in {"list", "page", "recalled"}
            assert price.usd > 0
            starts = [start for start, _ in price.tiers]
            assert starts == sorted(set(starts))

    def test_tiers_are_added_up_step_by_step(self) -> None:
        price = Price(
            name="a", unit="GB", usd=2, region="all", source="", date="", read="page",
            tiers=((10, 1.0), (20, 0.5)),
        )  # fmt: skip
        assert [price.cost(quantity) for quantity in (0, 5, 10, 15, 30)] == [0, 10, 20, 25, 35]

    def test_a_region_that_is_not_in_the_table_has_the_price_of_another(self) -> None:
        table = price_table()
        assert table.price("nat-hour", "eu-west-1").usd == 0.048
        assert table.price("nat-hour", "ap-south-1") == table.price("nat-hour", "us-east-1")

    def test_what_is_free_for_an_account_is_free_once(self) -> None:
        bill = Bill(price_table())
        for region in ("us-east-1", "eu-west-1"):
            bill.add("Logs", "taken in", "log-gb", 4, region)
        assert [line.free for line in bill.lines] == [4, 1]
        assert bill.usd == pytest.approx(3 * 0.57)
        assert not Bill(price_table(), with_free=False).lines


def run(*arguments: str) -> int:
    return main.run(["estimate", *arguments])


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    return recorded_stage(tmp_path / "dev", "dev")


class TestCommand:
    def test_the_sum_is_that_of_the_lines(
        self, dev: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--assembly", str(dev), "--prices", "table", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        (stage,) = found["stages"]
        assert stage["stage"] == "dev"
        assert sum(line["usd"] for line in stage["lines"]) == pytest.approx(stage["usd"], abs=0.01)
        assert sum(one["usd"] for one in stage["services"]) == pytest.approx(found["usd"], abs=0.1)
        parts = [part["usd"] for part in stage["by_region"]]
        assert sum(parts) == pytest.approx(stage["usd"], abs=0.05)
        used = {(price["name"], price["region"]) for price in found["prices"]}
        for line in stage["lines"]:
            assert {(line["price"], line["region"]), (line["price"], "all")} & used
        assert stage["usd_per_minute"] == pytest.approx(found["usd"] / 1000, abs=1e-4)

    def test_a_table_for_people_fits_a_terminal(
        self, dev: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        assert run("--assembly", str(dev), "--prices", "table", "--lines") == 0
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 80
        assert "Cloudflare Stream" in shown
        assert "NAT gateways" in shown

    def test_more_than_the_budget_is_refused_after_it_was_shown(
        self, dev: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        common = ("--assembly", str(dev), "--prices", "table", "--json")
        assert run(*common, "--fail-over", "5000") == 0
        assert json.loads(capsys.readouterr().out)["budget_usd"] == 5000
        assert run(*common, "--fail-over", "10") == 4
        shown = capsys.readouterr()
        assert json.loads(shown.out)["usd"] > 10
        assert "more than $10.00" in shown.err

    def test_options_come_before_the_profile(
        self, dev: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        profile = tmp_path / "month.toml"
        profile.write_text("uploads = 7\nminutes = 3\nviewers = 'asia'\n")
        common = ("--assembly", str(dev), "--prices", "table", "--json")
        assert run(*common, "--profile", str(profile), "--uploads", "8") == 0
        workload = json.loads(capsys.readouterr().out)["workload"]
        assert (workload["uploads"], workload["minutes"]) == (8, 3)
        assert workload["viewers"] == "asia"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("upload = 1", "has the key 'upload', allowed are uploads"),
            ("uploads = 'many'", "uploads is 'many', which is not a number"),
            ("uploads = -1", "uploads is -1, allowed are numbers from 0"),
            ("viewers = 'moon'", "viewers is 'moon', allowed are us-eu"),
            ("frame_rate = 0", "frame_rate is 0, and must be more"),
            ("minutes = 0", "minutes is 0, and must be more"),
            ("uploads = ", "cannot be read"),
        ],
    )
    def test_a_profile_that_says_what_cannot_be(
        self,
        dev: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        content: str,
        said: str,
    ) -> None:
        profile = tmp_path / "month.toml"
        profile.write_text(content)
        assert run("--assembly", str(dev), "--profile", str(profile)) == 2
        assert said in capsys.readouterr().err

    def test_what_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("--assembly", str(tmp_path)) == 3
        assert "is no cloud assembly" in capsys.readouterr().err
        assert run("--assembly", str(tmp_path), "--profile", "nowhere.toml") == 3
        assert "there is no file nowhere.toml" in capsys.readouterr().err

    def test_an_assembly_is_one_stage(self, dev: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("prod", "--assembly", str(dev)) == 2
        assert "others are named, too" in capsys.readouterr().err

    def test_a_folder_without_an_app(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("dev") == 1
        assert "holds no cdk.json" in capsys.readouterr().err


class PriceList(BaseHTTPRequestHandler):
    """Answers as the AWS Price List API: products by service, region and usage type.

    Source: AWS Billing and Cost Management API Reference, "GetProducts", and the user guide,
    "Understanding the price list files".
    """

    products: ClassVar[dict[tuple[str, str], list[dict[str, Any]]]] = {}
    refusal: ClassVar[str | None] = None

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
        if self.refusal:
            self._answer(400, {"__type": self.refusal, "Message": "not now"})
            return
        assert {one["Type"] for one in asked["Filters"]} == {"TERM_MATCH"}
        by = {one["Field"]: one["Value"] for one in asked["Filters"]}
        found = self.products.get((by["regionCode"], by["usagetype"]), [])
        # One product a page, each a text of JSON, and a token as long as there is another.
        at = int(asked.get("NextToken", "0"))
        answer: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(one) for one in found[at : at + 1]],
        }
        if at + 1 < len(found):
            answer["NextToken"] = str(at + 1)
        self._answer(200, answer)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def product(usage: str, *tiers: tuple[str, str], family: str = "") -> dict[str, Any]:
    starts = sorted((start for start, _ in tiers), key=float)
    following = dict(zip(starts, [*starts[1:], "Inf"], strict=True))
    dimensions = {
        f"SKU.JRTCKXETXF.{number}": {
            "rateCode": f"SKU.JRTCKXETXF.{number}",
            "unit": "Hrs",
            "beginRange": start,
            "endRange": following[start],
            "description": f"{usd} per unit",
            "appliesTo": [],
            "pricePerUnit": {"USD": usd},
        }
        for number, (start, usd) in enumerate(tiers)
    }
    return {
        "product": {
            "sku": "SKU",
            "productFamily": family,
            "attributes": {"usagetype": usage, "locationType": "AWS Region", "operation": ""},
        },
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                "SKU.JRTCKXETXF": {
                    "sku": "SKU",
                    "offerTermCode": "JRTCKXETXF",
                    "effectiveDate": "2026-11-01T00:00:00Z",
                    "termAttributes": {},
                    "priceDimensions": dimensions,
                }
            }
        },
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Any, Any]]:
    """A stand-in for the Price List API, and a stage in AWS whose account has credentials."""
    PriceList.products, PriceList.refusal = {}, None
    server = ThreadingHTTPServer(("127.0.0.1", 0), PriceList)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    Path("cdk.json").write_text(
        json.dumps({"context": {"stages": {"dev": {"regions": [{"name": "us-east-1"}]}}}})
    )
    yield PriceList.products
    server.shutdown()
    thread.join()
    server.server_close()


class TestPriceList:
    def test_its_prices_come_before_those_of_the_table(
        self, price_list: dict[Any, Any], dev: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        price_list["us-east-1", "NatGateway-Hours"] = [product("NatGateway-Hours", ("0", "1.0"))]
        price_list["us-east-1", "USE1-CW:MetricMonitorUsage"] = [
            product("USE1-CW:MetricMonitorUsage", ("10", "0.5"), ("0", "0.0"), ("10000", "0.1"))
        ]
        # Two products of one usage type, and nothing that tells which is meant.
        price_list["us-east-1", "USE1-DataProcessing-Bytes"] = [
            product("USE1-DataProcessing-Bytes", ("0", price)) for price in ("7.0", "8.0")
        ]
        common = ("-e", "dev", "--assembly", str(dev), "--json")
        assert run(*common) == 0
        shown = capsys.readouterr()
        assert "told 2 prices" in shown.err
        found = json.loads(shown.out)
        (stage,) = found["stages"]
        line = next(one for one in stage["lines"] if one["what"] == "NAT gateways")
        assert line["usd"] == 730
        prices = {price["name"]: price for price in found["prices"]}
        assert prices["nat-hour"]["read"] == "price list api"
        assert prices["custom-metric"]["usd"] == 0.5
        assert prices["log-gb"]["usd"] == 0.50
        assert prices["log-gb"]["read"] == "list"

    def test_a_price_for_one_is_brought_to_the_unit_of_the_table(
        self, price_list: dict[Any, Any], dev: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        price_list["us-east-1", "USE1-WriteRequestUnits"] = []
        price_list["us-east-1", "WriteRequestUnits"] = [
            product("WriteRequestUnits", ("0", "0.000002"))
        ]
        assert run("-e", "dev", "--assembly", str(dev), "--json", "--prices", "api") == 0
        prices = {one["name"]: one for one in json.loads(capsys.readouterr().out)["prices"]}
        assert prices["table-writes"]["usd"] == pytest.approx(2.0)

    @pytest.mark.usefixtures("price_list")
    def test_without_credentials_it_is_the_table_and_said_so(
        self,
        dev: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert run("-e", "dev", "--assembly", str(dev)) == 0
        assert "those of the table" in capsys.readouterr().err
        assert run("-e", "dev", "--assembly", str(dev), "--prices", "api") != 0
        assert "credentials" in capsys.readouterr().err

    @pytest.mark.usefixtures("price_list")
    @pytest.mark.parametrize(
        ("refusal", "exit_code"), [("AccessDeniedException", 4), ("ThrottlingException", 1)]
    )
    def test_who_is_refused_has_the_table_and_is_told(
        self,
        dev: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        refusal: str,
        exit_code: int,
    ) -> None:
        PriceList.refusal = refusal
        monkeypatch.setattr(environment, "AWS", dataclasses.replace(limits.AWS, attempts=1))
        assert run("-e", "dev", "--assembly", str(dev)) == 0
        told = capsys.readouterr()
        assert "prices are those of the table" in told.err
        assert refusal in told.err
        assert run("-e", "dev", "--assembly", str(dev), "--prices", "api") == exit_code


SEEDS = Workload(uploads=100, minutes=10, api_requests=500_000)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_readme_says_what_the_stages_cost(tmp_path: Path, name: str) -> None:
    cost = stage_cost(name, stage_of(recorded_stage(tmp_path, name)), SEEDS, price_table())
    readme = (REPOSITORY / "README.md").read_text()
    row = re.search(rf"\| `{name}`[^|]*\| \$(\d+) \| \$(\d+) \|", readme)
    assert row is not None
    assert [float(row[1]), float(row[2])] == [
        pytest.approx(cost.usd, rel=0.05),
        pytest.approx(cost.idle_usd, rel=0.05),
    ]
