"""The configuration of stages: what it refuses, in one line that names the key."""

from __future__ import annotations

import re
from typing import Any

import pytest
from infra_templates import STAGES, app_context

from media_platform.contract.ladder import DEFAULT_LADDER, LadderRung
from media_platform.stacks.config import ConfigError, StageConfig, load_stage

REGION: dict[str, Any] = {
    "name": "us-east-1",
    "availability_zones": ["us-east-1a", "us-east-1b"],
}
OTHER: dict[str, Any] = {
    "name": "eu-west-1",
    "availability_zones": ["eu-west-1a", "eu-west-1b"],
    "cidr": "10.1.0.0/16",
    "cloudfront_prefix_list": "pl-1",
}
PRIMARY = {**REGION, "cloudfront_prefix_list": "pl-1"}
DOMAIN = {"name": "m.example.com", "hosted_zone_id": "Z1", "hosted_zone_name": "example.com"}


def zones(region: str) -> dict[str, Any]:
    return {"name": region, "availability_zones": [f"{region}a", f"{region}b"]}


def load(**content: Any) -> StageConfig:
    return load_stage("test", {"test": {"regions": [REGION], **content}})


@pytest.mark.parametrize("stage", STAGES)
def test_the_stages_of_the_app_can_be_used(stage: str) -> None:
    config = load_stage(stage, app_context()["stages"])
    assert config.name == stage
    assert config.members == config.regions


def test_a_plane_without_tls_keeps_the_domain_of_the_distribution() -> None:
    pair, prod = (load_stage(name, app_context()["stages"]) for name in ("pair", "prod"))
    assert pair.domain is not None
    assert (pair.viewers_domain, prod.viewers_domain) == (None, prod.domain)


def test_overrides() -> None:
    stages = app_context()["stages"]
    config = load_stage("prod", stages, account="111111111111", joining=None)
    assert (config.account, config.joining) == ("111111111111", ())
    config = load_stage("prod", stages, joining="eu-west-1")
    assert config.joining == ("eu-west-1",)
    assert [region.name for region in config.members] == ["us-east-1"]


def test_a_ladder_of_a_stage() -> None:
    assert load().worker.ladder == DEFAULT_LADDER
    ladder = [{"short_side": 720, "peak_kilobits": 3000}]
    assert load(worker={"ladder": ladder}).worker.ladder == (
        LadderRung(short_side=720, peak_kilobits=3000),
    )


def test_names_of_buckets_have_room_for_stage_and_region() -> None:
    region = {
        "name": "ap-northeast-1",
        "availability_zones": ["ap-northeast-1a", "ap-northeast-1c"],
    }
    assert load_stage("a" * 14, {"a" * 14: {"regions": [region]}})
    message = (
        "stage 'aaaaaaaaaaaaaaa': name is 'aaaaaaaaaaaaaaa', allowed in 'ap-northeast-1' are 14 "
        "characters; names of buckets hold both, shorten it"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load_stage("a" * 15, {"a" * 15: {"regions": [region]}})


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().name = "other"  # type: ignore[misc]


def test_a_region_that_the_account_switched_on_may_join() -> None:
    regions = [PRIMARY, {**OTHER, **zones("ap-east-1")}]
    config = load(regions=regions, domain=DOMAIN, opted_in_regions=["ap-east-1"])
    assert [region.name for region in config.replicas] == ["ap-east-1"]


def test_an_unknown_stage_is_told_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"^stage is 'qa', allowed are dev, local, pair, prod; choose one$"
    ):
        load_stage("qa", app_context()["stages"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"regions": [{**REGION, "cidr": "10.0.0.0/30"}]}, "regions.0.cidr: it is 10.0.0.0/30, "),
        ({"regions": [{**REGION, "cidr": "10.0.0.1/16"}]}, "regions.0.cidr: "),
        (
            {"regions": [{**REGION, "availability_zones": ["us-east-1a", "us-east-1a"]}]},
            "regions.0: availability_zones names one twice: us-east-1a, us-east-1a; name each once",
        ),
        (
            {"regions": [PRIMARY, {**OTHER, "cidr": "10.0.4.0/22"}], "domain": DOMAIN},
            (
                "cidr of 'us-east-1', 10.0.0.0/16, overlaps that of 'eu-west-1', 10.0.4.0/22; give "
                "each region addresses of its own"
            ),
        ),
        (
            {"replication_time_control": True},
            (
                "replication_time_control is True, but regions has one entry; leave it out, there "
                "are no copies to be in time"
            ),
        ),
        (
            {
                "regions": [PRIMARY, {**OTHER, **zones("ap-east-1")}],
                "domain": DOMAIN,
            },
            (
                "regions contains 'ap-east-1', which is off until an account opts in; switch it on "
                "for the account, then add it to opted_in_regions"
            ),
        ),
        (
            {"regions": [PRIMARY, {**OTHER, **zones("us-gov-west-1")}], "domain": DOMAIN},
            (
                "regions contains 'us-gov-west-1', which is in the partition aws-us-gov, while "
                "'us-east-1' is in aws; AWS copies within a partition, so deploy a stage in each"
            ),
        ),
        ({"opted_in_regions": ["hongkong"]}, "opted_in_regions.0: "),
        (
            {"nat_gateways": 3},
            "nat_gateways is 3, but 'us-east-1' has only 2 zones; there is at most one in a zone",
        ),
        (
            {"waf_logs": True},
            "waf_logs is true, but waf is not; switch waf on, or leave waf_logs out",
        ),
        (
            {"tracing": {}},
            (
                "tracing: neither of x_ray and otlp_endpoint is given; spans go to one place, so "
                "keep one"
            ),
        ),
        (
            {"tracing": {"x_ray": True, "otlp_endpoint": "https://otlp.example.com"}},
            (
                "tracing: both of x_ray and otlp_endpoint is given; spans go to one place, so keep "
                "one"
            ),
        ),
        ({"tracing": {"otlp_endpoint": "collector:4318"}}, "tracing.otlp_endpoint: "),
        ({"tracing": {"x_ray": True, "sampled_percent": 0}}, "tracing.sampled_percent: "),
        (
            {"tracing": {"x_ray": True, "headers_secret": "backend"}},
            "tracing: headers_secret is given beside x_ray, which takes none; leave it out",
        ),
        (
            {"network": "endpoints", "tracing": {"x_ray": True}},
            (
                "network is 'endpoints', but tracing.x_ray needs an image of public.ecr.aws, which "
                "cannot be reached from there; give an otlp_endpoint within the network"
            ),
        ),
        ({"nat_gateways": 0}, "nat_gateways: "),
        ({"network": "vpn"}, "network: it is 'vpn', allowed are 'public', 'nat' or 'endpoints'"),
        (
            {"network": "public", "nat_gateways": 1},
            ("nat_gateways is 1, but network is 'public', which has none; leave one of them out"),
        ),
        (
            {
                "regions": [PRIMARY, OTHER],
                "domain": DOMAIN,
                "network": "endpoints",
            },
            (
                "network is 'endpoints', but regions has 2 entries, and keys of tokens are in the "
                "first, which endpoints of another do not reach; choose 'nat' or 'public'"
            ),
        ),
        (
            {"network": "endpoints", "scanning": {"clamav": {}}},
            (
                "network is 'endpoints', but scanning.clamav.signature_mirror is missing; name a "
                "mirror within the network"
            ),
        ),
        ({"domain": {**DOMAIN, "hosted_zone_id": "my zone"}}, "domain.hosted_zone_id: "),
        (
            {"regions": [PRIMARY], "domain": DOMAIN, "scheme": "http"},
            "scheme is 'http', but domain is given; leave it out, http is for planes without TLS",
        ),
        (
            {"api": {"min_tasks": 3, "max_tasks": 2}},
            "api: min_tasks is 3, which is above max_tasks, 2; raise max_tasks",
        ),
        ({"rule_packs": ["NIST"]}, "rule_packs.0: it is 'NIST', allowed are 'AwsSolutions' or "),
        ({"worker": {"max_tasks": 0}}, "worker.max_tasks: "),
        ({"worker": {"max_tasks": 1001}}, "worker.max_tasks: "),
        (
            {"worker": {"cpu_units": 300}},
            "worker: cpu_units is 300, allowed are 256, 512, 1024, 2048, 4096, 8192, 16384; ",
        ),
        (
            {"api": {"cpu_units": 1024, "memory_mebibytes": 1024}},
            (
                "api: memory_mebibytes is 1024, allowed with 1024 cpu_units are 2048 to 8192 in "
                "steps of 1024; choose one of them"
            ),
        ),
        ({"api": {"requests_per_minute": 0}}, "api.requests_per_minute: "),
        ({"admin": {"requests_per_minute": 0}}, "admin.requests_per_minute: "),
        ({"api": {"upload_expiry_seconds": 7 * 86_400 + 1}}, "api.upload_expiry_seconds: "),
        ({"api": {"playback_expiry_seconds": 9}}, "api.playback_expiry_seconds: "),
        (
            {"webhooks": {"allowed_networks": ["0.0.0.0/0"]}},
            "webhooks.allowed_networks.0: it is 0.0.0.0/0, which is every address; ",
        ),
        (
            {"regions": [{**REGION, "health_check_prefix_list": "pl-1"}]},
            (
                "health_check_prefix_list of 'us-east-1' is given but domain is missing; leave it "
                "out, an internal load balancer is not reached from outside"
            ),
        ),
        (
            {
                "regions": [PRIMARY, {**OTHER, "health_check_prefix_list": "pl-1"}],
                "domain": DOMAIN,
            },
            (
                "health_check_prefix_list of 'us-east-1' is missing, while 'eu-west-1' has one; "
                "give it to all regions, a region that nobody checks counts as healthy"
            ),
        ),
        (
            {"regions": [{**REGION, "health_check_prefix_list": "route53"}]},
            "regions.0.health_check_prefix_list: ",
        ),
        ({"storage": {"archive_days": -1}}, "storage.archive_days: "),
        ({"storage": {"noncurrent_days": 0}}, "storage.noncurrent_days: "),
        ({"storage": {"access_logs_days": 3651}}, "storage.access_logs_days: "),
        ({"storage": {"tier_media_days": 3651}}, "storage.tier_media_days: "),
        (
            {"storage": {"upload_origins": ["videos.example.com"]}},
            "storage.upload_origins.0: ",
        ),
        ({"player_origins": ["https://*.example.com"]}, "player_origins.0: "),
        ({"player_origins": []}, "player_origins: "),
        (
            {"site": {"fallback_page": "/index.html"}},
            "site.fallback_page: it is '/index.html', allowed are keys of letters, digits, ",
        ),
        ({"alarm_emails": ["ops"]}, "alarm_emails.0: "),
        ({"monthly_budget_usd": 0}, "monthly_budget_usd: "),
        ({"operator_tenant": "a b"}, "operator_tenant: it is 'a b', allowed are letters"),
        (
            {"allowed_countries": ["de"]},
            (
                "allowed_countries.0: it is 'de', allowed are upper-case codes of ISO 3166-1 such "
                "as 'DE'; look up the code"
            ),
        ),
        (
            {"allowed_countries": ["DE"], "denied_countries": ["FR"]},
            (
                "denied_countries is given beside allowed_countries; keep one, what it does not "
                "name is the other"
            ),
        ),
        ({"colour": "red"}, "colour: there is no such key, allowed are name, account, regions, "),
        (
            {"api": {"max_tsks": 3}},
            "api.max_tsks: there is no such key, allowed are cpu_units, memory_mebibytes, min_ta",
        ),
        (
            {"scanning": {"clamav": {"size": 1}}},
            "scanning.clamav.size: there is no such key, allowed are cpu_units, memory_mebibyte",
        ),
        (
            {"site": True},
            "site: it is True, allowed is an object with the keys fallback_page; put it into brac",
        ),
        (
            {"worker": {"ladder": [1080]}},
            "worker.ladder.0: it is 1080, allowed is an object with the keys short_side, peak_kil",
        ),
        ({"waf": "perhaps"}, "waf: it is 'perhaps', allowed are true and false; choose one"),
        (
            {"worker": {"max_tasks": "4 tasks"}},
            "worker.max_tasks: it is '4 tasks', allowed are whole numbers; write one, without ",
        ),
        (
            {"worker": {"max_tasks": 1.5}},
            "worker.max_tasks: it is 1.5, allowed are whole numbers; write one, without ",
        ),
        (
            {"tracing": {"x_ray": True, "sampled_percent": "all"}},
            "tracing.sampled_percent: it is 'all', allowed are numbers; write one, without ",
        ),
        (
            {"tracing": {"x_ray": True, "sampled_percent": 500}},
            "tracing.sampled_percent: it is 500, allowed are 100 and less; lower it",
        ),
        (
            {"tracing": {"otlp_endpoint": "https://otlp.example.com", "headers_secret": ""}},
            "tracing.headers_secret: it is '', allowed are texts from length 1 on; write one, or ",
        ),
        (
            {"operator_tenant": "a" * 200},
            f"operator_tenant: it is '{'a' * 79}…, allowed are texts up to length ",
        ),
        ({"account": 111111111111}, "account: it is 111111111111, allowed is a text; put it into "),
        (
            {"rule_packs": "AwsSolutions"},
            "rule_packs: it is 'AwsSolutions', allowed is a list; put it into brackets",
        ),
        (
            {"regions": [{**REGION, "cidr": "10.0.1.0/16"}]},
            (
                "regions.0.cidr: it is '10.0.1.0/16', allowed are networks such as 10.1.0.0/16; "
                "write the first address and the length"
            ),
        ),
        (
            {"webhooks": {"allowed_networks": ["10.1"]}},
            "webhooks.allowed_networks.0: it is '10.1', allowed are networks such as 10.1.0.0/16; ",
        ),
        ({"opted_in_regions": ["moon"]}, "opted_in_regions.0: it is 'moon', allowed are names of "),
        ({"worker": {"visibility_timeout_seconds": 5}}, "worker.visibility_timeout_seconds: "),
        ({"worker": {"chunk_seconds": 18}}, "worker.chunk_seconds: "),
        ({"worker": {"chunk_seconds": 304}}, "worker.chunk_seconds: "),
        ({"worker": {"chunks_in_flight": 1}}, "worker.chunks_in_flight: "),
        (
            {"worker": {"ladder": []}},
            "worker.ladder: ladder has 0 renditions, allowed are 1 to 8; ",
        ),
        (
            {"worker": {"ladder": [{"short_side": 4320, "peak_kilobits": 60_000}]}},
            "worker.ladder: short_side is 4320, allowed are 144 to 2160; 4K is the largest ",
        ),
        (
            {"worker": {"ladder": [{"short_side": 1080}]}},
            "worker.ladder.0.peak_kilobits: it is missing; add the key",
        ),
        (
            {"worker": {"ladder": [{"short_side": 1080, "peak_kilobits": 4500, "fps": 60}]}},
            "worker.ladder.0.fps: ",
        ),
        ({"worker": {"ladder": [{"short_side": "tall"}]}}, "worker.ladder.0.short_side: "),
        ({"worker": {"max_frame_rate": 0}}, "worker.max_frame_rate: "),
        ({"worker": {"max_tenant_parts": -1}}, "worker.max_tenant_parts: "),
        (
            {"worker": {"max_tenant_daily_cpu_hours": -1}},
            "worker.max_tenant_daily_cpu_hours: ",
        ),
        ({"worker": {"old_run_seconds": 0}}, "worker.old_run_seconds: "),
        ({"worker": {"purge_interval_minutes": 0}}, "worker.purge_interval_minutes: "),
        ({"worker": {"sweep_interval_minutes": 0}}, "worker.sweep_interval_minutes: "),
        ({"api": {"upload_max_mebibytes": 5 * 1024**2 + 1}}, "api.upload_max_mebibytes: "),
        ({"scanning": {"quarantine_roles": ["analyst"]}}, "scanning.quarantine_roles.0: "),
        ({"api": {"cache_max_gibibytes": 0}}, "api.cache_max_gibibytes: "),
        ({"api": {"cache_max_units_per_second": 999}}, "api.cache_max_units_per_second: "),
        ({"scanning": {"clamav": {"unscanned": "maybe"}}}, "scanning.clamav.unscanned: "),
        ({"scanning": {"clamav": {"min_tasks": 0}}}, "scanning.clamav.min_tasks: "),
        ({"scanning": {"clamav": {"max_scan_mebibytes": 2048}}}, "scanning.clamav.max_scan_meb"),
        ({"regions": []}, "regions: "),
        ({"account": "12"}, "account: "),
        (
            {"regions": [{**REGION, "availability_zones": ["us-east-1a", "eu-west-1a"]}]},
            (
                "regions.0: availability_zones contains 'eu-west-1a', which is not in "
                "'us-east-1'; name zones of the region"
            ),
        ),
        ({"regions": [REGION, REGION]}, "regions names one twice: us-east-1, us-east-1; "),
        (
            {"regions": [REGION, OTHER]},
            (
                "regions has 2 entries but domain is missing; without an own domain there is one "
                "region, since a VPC origin is in one"
            ),
        ),
        (
            {"domain": DOMAIN},
            "cloudfront_prefix_list of 'us-east-1' is missing; ",
        ),
        (
            {"domain": {**DOMAIN, "name": "m.example.org"}},
            "domain: name is 'm.example.org', which is not in the zone 'example.com'; ",
        ),
        (
            {"joining": ["us-east-1"]},
            (
                "joining contains 'us-east-1', allowed are the regions behind the first: none; "
                "the first one is what others join"
            ),
        ),
    ],
)
def test_errors_name_the_key_in_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^stage 'test': {re.escape(message)}") as caught:
        load(**content)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value), "the remedy is missing"


def test_a_list_with_a_wrong_entry_is_not_called_too_short() -> None:
    with pytest.raises(ConfigError) as caught:
        load(regions=[{**REGION, "cidr": "ten"}])
    assert "regions: " not in str(caught.value)


def test_a_stage_that_is_no_object_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^stage 'test': it is \[\], allowed is an object with "):
        load_stage("test", {"test": []})  # type: ignore[dict-item]


def test_several_problems_are_told_together() -> None:
    with pytest.raises(ConfigError, match=r"^stage 'test': account: .*; scheme: ") as caught:
        load(account="x", scheme="ftp")
    assert "\n" not in str(caught.value)
