"""The templates of the stages, held against the contract, the linters and each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag
import pytest
from aws_cdk import aws_s3 as s3
from infra_templates import (
    REPOSITORY,
    STAGES,
    Stages,
    Template,
    flat,
    new_app,
    stage_config,
    synthesize_stage,
)
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from media_platform.contract import outputs, table
from media_platform.contract.environment import (
    AdminEnvironment,
    ApiEnvironment,
    ClamAvScannerEnvironment,
    Environment,
    OutboxRelayEnvironment,
    RunPurgeEnvironment,
    ScanVerdictsEnvironment,
    UploadIntakeEnvironment,
    UploadSweepEnvironment,
    WebhookEnvironment,
    WorkerEnvironment,
)
from media_platform.contract.object_keys import EMPTIED_TAG
from media_platform.stacks.config import load_stage

LOGS = "StoreAccessLogs087BBF22"
REPLICA_LOGS = "ReplicaStoreAccessLogsAF14CC29"

CONTAINERS: dict[str, type[Environment]] = {
    "admin": AdminEnvironment,
    "api": ApiEnvironment,
    "worker": WorkerEnvironment,
}
OPTIONAL_CONTAINERS: dict[str, type[Environment]] = {"scanner_clamav": ClamAvScannerEnvironment}
FUNCTIONS: dict[str, type[Environment] | None] = {
    "upload_intake.handler.handle": UploadIntakeEnvironment,
    "upload_intake.sweep.handle": UploadSweepEnvironment,
    "upload_intake.verdicts.handle": ScanVerdictsEnvironment,
    "content_scan.handler.handle": None,
    "outbox_relay.handler.handle": OutboxRelayEnvironment,
    "outbox_relay.sweep.handle": OutboxRelayEnvironment,
    "webhook_dispatch.handler.fan_out": WebhookEnvironment,
    "webhook_dispatch.handler.deliver": WebhookEnvironment,
    "webhook_dispatch.handler.turn": WebhookEnvironment,
    "purge.handler.handle": RunPurgeEnvironment,
    "access_token.handler.handle": None,
    "deploy_resources.signing_key.handle": None,
    "deploy_resources.delivery_document.handle": None,
    "deploy_resources.replica_stream.handle": None,
    "deploy_resources.default_group.handle": None,
    "deploy_resources.bucket_content.handle": None,
}


SUBSCRIPTIONS = "TranscodeOutboxSubscription"
"""Start of the names of queues of what could not be handed to a subscriber, whoever it is."""


@pytest.fixture(scope="module")
def with_options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """The templates of a stage with what none of ours turns on."""
    config = stage_config(
        "local", scanning={"clamav": {}}, api={"cache": True}, ipv6=False, allowed_countries=["DE"]
    )
    return synthesize_stage(tmp_path_factory.mktemp("options"), config)


def media(stages: Stages, stage: str) -> list[Template]:
    return [made for name, made in stages[stage].items() if name.startswith("Media-")]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_what_it_was(stages: Stages, stage: str, snapshot: SnapshotAssertion) -> None:
    """A change detector: run ``pytest --snapshot-update`` and read the difference."""
    for name, template in sorted(stages[stage].items()):
        text = json.dumps(template.content)
        masked = json.loads(re.sub(r"[0-9a-f]{64}", "ASSET", text))
        assert masked == snapshot(extension_class=JSONSnapshotExtension, name=f"{stage}-{name}")


def test_every_stage_has_its_stacks(stages: Stages) -> None:
    one_region = {"Store-us-east-1", "Media-us-east-1", "Edge"}
    assert set(stages["local"]) == set(stages["dev"]) == one_region
    assert set(stages["prod"]) == one_region | {"Store-eu-west-1", "Media-eu-west-1"}


@pytest.mark.parametrize("stage", STAGES)
def test_containers_get_exactly_the_variables_of_the_contract(stages: Stages, stage: str) -> None:
    seen = set()
    for template in media(stages, stage):
        for task in template.resources("AWS::ECS::TaskDefinition").values():
            (container,) = task["Properties"]["ContainerDefinitions"]
            names = [variable["Name"] for variable in container["Environment"]]
            assert len(names) == len(set(names))
            assert set(names) == CONTAINERS[container["Name"]].variable_names()
            assert "Secrets" not in container
            seen.add(container["Name"])
    assert seen == set(CONTAINERS)


@pytest.mark.parametrize("stage", STAGES)
def test_operators_see_every_queue_but_those_of_subscribers(stages: Stages, stage: str) -> None:
    primary = stages[stage]["Media-us-east-1"]
    (admin,) = (
        container
        for task in primary.resources("AWS::ECS::TaskDefinition").values()
        for container in task["Properties"]["ContainerDefinitions"]
        if container["Name"] == "admin"
    )
    told = json.dumps(
        [one["Value"] for one in admin["Environment"] if one["Name"].endswith("QUEUES")]
    )
    unseen = {name for name in primary.resources("AWS::SQS::Queue") if name not in told}
    assert {name[: len(SUBSCRIPTIONS)] for name in unseen} == {SUBSCRIPTIONS}


def test_optional_containers_get_exactly_theirs(with_options: dict[str, Template]) -> None:
    containers = {**CONTAINERS, **OPTIONAL_CONTAINERS}
    seen = set()
    for task in with_options["Media-us-east-1"].resources("AWS::ECS::TaskDefinition").values():
        (container,) = task["Properties"]["ContainerDefinitions"]
        variables = {v["Name"]: flat(v["Value"]) for v in container["Environment"]}
        containers[container["Name"]].from_variables(variables)
        assert set(variables) == containers[container["Name"]].variable_names()
        seen.add(container["Name"])
    assert seen == set(containers)


@pytest.mark.parametrize("stage", STAGES)
def test_functions_get_exactly_the_variables_of_the_contract(stages: Stages, stage: str) -> None:
    seen = set()
    for template in stages[stage].values():
        for function in template.resources("AWS::Lambda::Function").values():
            properties = function["Properties"]
            variables = set(properties.get("Environment", {}).get("Variables", {}))
            contract = FUNCTIONS[properties["Handler"]]
            assert variables == (contract.variable_names() if contract else set())
            seen.add(properties["Handler"])
    expected = set(FUNCTIONS)
    # What is copied to a region, and what is kept when its stack goes.
    expected.remove(
        "deploy_resources.bucket_content.handle"
        if stage == "prod"
        else "deploy_resources.replica_stream.handle"
    )
    assert seen == expected


@pytest.mark.parametrize("stage", STAGES)
def test_numbers_in_variables_can_be_read_by_the_contract(stages: Stages, stage: str) -> None:
    for template in media(stages, stage):
        for task in template.resources("AWS::ECS::TaskDefinition").values():
            (container,) = task["Properties"]["ContainerDefinitions"]
            variables = {v["Name"]: flat(v["Value"]) for v in container["Environment"]}
            CONTAINERS[container["Name"]].from_variables(variables)


@pytest.mark.parametrize("stage", STAGES)
def test_the_table_is_the_table_of_the_contract(stages: Stages, stage: str) -> None:
    made = stages[stage]["Store-us-east-1"].only("AWS::DynamoDB::GlobalTable")
    assert made["KeySchema"] == _keys(table.PARTITION_KEY, table.SORT_KEY)
    assert {
        (index["IndexName"], json.dumps(index["KeySchema"]), json.dumps(index["Projection"]))
        for index in made["GlobalSecondaryIndexes"]
    } == {
        (
            index.name,
            json.dumps(_keys(index.partition_key, index.sort_key)),
            json.dumps({"ProjectionType": "ALL"}),
        )
        for index in table.INDEXES
    }
    attributes = {table.PARTITION_KEY, table.SORT_KEY}
    attributes |= {key for index in table.INDEXES for key in (index.partition_key, index.sort_key)}
    assert {(a["AttributeName"], a["AttributeType"]) for a in made["AttributeDefinitions"]} == {
        (name, "S") for name in attributes
    }
    assert made["TimeToLiveSpecification"] == {
        "AttributeName": table.TTL_ATTRIBUTE,
        "Enabled": True,
    }


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


@pytest.mark.parametrize("stage", ["local", "dev"])
def test_a_stage_that_keeps_no_data_can_be_destroyed(stages: Stages, stage: str) -> None:
    for template in stages[stage].values():
        for name, resource in template.content["Resources"].items():
            assert resource.get("DeletionPolicy", "Delete") == "Delete", name
        text = json.dumps(template.content)
        assert '"DeletionProtectionEnabled": true' not in text
        assert '"DeletionProtection": "ACTIVE"' not in text
        assert '{"Key": "deletion_protection.enabled", "Value": "true"}' not in text
        emptied = {
            content["Properties"]["BucketName"]["Ref"]
            for content in template.resources("Custom::BucketContent").values()
        }
        assert emptied == set(template.resources("AWS::S3::Bucket"))


def test_nothing_empties_the_buckets_of_a_stage_that_keeps_its_data(stages: Stages) -> None:
    for template in stages["prod"].values():
        assert not template.resources("Custom::BucketContent")
        assert EMPTIED_TAG not in json.dumps(template.content)


def test_an_api_changes_videos_in_their_home_region(stages: Stages) -> None:
    for region, other in (("us-east-1", "eu-west-1"), ("eu-west-1", "us-east-1")):
        statements = [
            statement
            for policy in stages["prod"][f"Media-{region}"].resources("AWS::IAM::Policy").values()
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]
            if f":dynamodb:{other}:" in json.dumps(statement["Resource"])
        ]
        (granted,) = statements
        assert granted["Action"] == [
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
        ]


def test_web_acls_stand_before_prod_alone(stages: Stages) -> None:
    scopes = {
        stage: sorted(
            acl["Properties"]["Scope"]
            for template in stages[stage].values()
            for acl in template.resources("AWS::WAFv2::WebACL").values()
        )
        for stage in STAGES
    }
    assert scopes == {"local": [], "dev": [], "prod": ["CLOUDFRONT", "REGIONAL", "REGIONAL"]}
    for template in stages["prod"].values():
        acls = template.resources("AWS::WAFv2::WebACL")
        assert len(template.resources("AWS::WAFv2::LoggingConfiguration")) == len(acls)


def test_viewers_come_over_ipv6_unless_the_stage_says_no(
    stages: Stages, with_options: dict[str, Template]
) -> None:
    def admits(edge: Template) -> bool:
        config = edge.only("AWS::CloudFront::Distribution")["DistributionConfig"]
        return bool(config["IPV6Enabled"])

    assert admits(stages["local"]["Edge"])
    assert not admits(with_options["Edge"])


@pytest.mark.parametrize("stage", STAGES)
def test_what_holds_data_is_kept_where_the_stage_says_so(stages: Stages, stage: str) -> None:
    policy = "Retain" if stage_config(stage).retain_data else "Delete"
    kinds = (
        "AWS::DynamoDB::GlobalTable",
        "AWS::S3::Bucket",
        "AWS::Cognito::UserPool",
        "AWS::SecretsManager::Secret",
        "AWS::KMS::Key",
        "AWS::KMS::ReplicaKey",
    )
    found = {
        (made["DeletionPolicy"], made["UpdateReplacePolicy"])
        for template in stages[stage].values()
        for kind in kinds
        for name, made in template.resources(kind).items()
        # That of alarms holds nothing: what it encrypted is gone once it was delivered.
        if not name.startswith("Alarms")
    }
    assert found == {(policy, policy)}


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_are_those_of_the_contract(stages: Stages, stage: str) -> None:
    named: dict[str, set[str]] = {
        "Store": {member.value for member in outputs.StoreOutput},
        "Media": {member.value for member in outputs.MediaOutput},
        "Edge": {member.value for member in outputs.EdgeOutput},
    }
    users = {
        "UserPoolId",
        "UserPoolClientId",
        "TokenIssuer",
        "TokenKeysUrl",
        "AdminServiceName",
    }
    for name, template in stages[stage].items():
        part, _, region = name.partition("-")
        expected = named[part] - (users if region == "eu-west-1" else set())
        if not stage_config(stage).customer_managed_key:
            expected = expected - {"KeyArn"}
        if stage_config(stage).site is None:
            expected = expected - {"SiteBucket"}
        if stage_config(stage).domain is None:
            expected = expected - {"HealthCheckId"}
        made = {key for key in template.content["Outputs"] if not key.startswith("ExportsOutput")}
        assert made == expected


def test_nothing_depends_on_the_name_of_a_stage(stages: Stages, tmp_path: Path) -> None:
    """Another stage of the same configuration differs in its name and in nothing else."""
    contexts = stage_config("local").model_dump(mode="json", exclude={"name"})
    config = type(stage_config("local")).model_validate({**contexts, "name": "other"})
    others = synthesize_stage(tmp_path, config, nag=False)
    for name, template in stages["local"].items():
        assert _without_name(template, "local") == _without_name(others[name], "other")


def _without_name(template: Template, stage: str) -> Any:
    text = json.dumps(template.content)
    # Names that are made from paths end in a hash of the path.
    text = re.sub(
        rf"(MediaPlatform-?){stage}(\w*?-?)([A-Za-z0-9-]*?)[0-9A-F]{{8}}\b", r"\1\2\3", text
    )
    text = re.sub(r'"CallerReference": "[0-9a-f]+"', '"CallerReference": ""', text)
    return json.loads(re.sub(rf"\b{stage}\b", "STAGE", text))


@pytest.mark.parametrize("stage", STAGES)
def test_secrets_never_stand_in_a_template(stages: Stages, stage: str) -> None:
    for template in stages[stage].values():
        assert "PRIVATE KEY" not in json.dumps(template.content)
        for secret in template.resources("AWS::SecretsManager::Secret").values():
            assert "SecretString" not in secret["Properties"]


def test_a_key_of_the_stage_encrypts_what_it_keeps(stages: Stages) -> None:
    """All but access logs, which neither S3 nor load balancers write with another key."""

    def keyless(stage: str) -> set[str]:
        made = [template.content["Resources"].items() for template in stages[stage].values()]
        return {
            logical_id
            for logical_id, resource in chain.from_iterable(made)
            if resource["Type"] in kinds
            and not re.search(r'"(KmsKeyId|KMSMasterKeyID)": \{', json.dumps(resource))
        }

    kinds = ("AWS::Logs::LogGroup", "AWS::S3::Bucket", "AWS::SecretsManager::Secret")
    assert keyless("prod") == {LOGS, REPLICA_LOGS}
    assert {"CdnSlotASecretD50014E9", "TranscodeWorkersTaskLogsC6F0EC41"} < keyless("dev")
    for secret in stages["prod"]["Edge"].resources("AWS::SecretsManager::Secret").values():
        (replica,) = secret["Properties"]["ReplicaRegions"]
        assert flat(replica["KmsKeyId"]).startswith("arn:aws:kms:eu-west-1:ACCOUNT:key/")
    store = stages["prod"]["Store-us-east-1"].resources("AWS::KMS::Key")["Key961B73FD"]
    statements = store["Properties"]["KeyPolicy"]["Statement"]
    (logs,) = (one for one in statements if one.get("Sid") == "LogGroupsUse")
    assert logs["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    assert flat(logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]) == (
        "arn:aws:logs:us-east-1:ACCOUNT:log-group:*"
    )


def test_no_region_imports_from_another(stages: Stages) -> None:
    """Exports do not reach another region; what crosses is a named output or a plain value."""
    for name, template in stages["prod"].items():
        text = json.dumps(template.content)
        region = "eu-west-1" if name.endswith("eu-west-1") else "us-east-1"
        imports = set(re.findall(r'"Fn::ImportValue": "([^"]+)"', text))
        exports = json.dumps(stages["prod"][f"Store-{region}"].content["Outputs"])
        assert all(imported in exports for imported in imports)
    store = stages["prod"]["Store-eu-west-1"].only("AWS::KMS::ReplicaKey")
    assert store["PrimaryKeyArn"] == {
        "Fn::GetStackOutput": {
            "StackName": "MediaPlatform-prod-Store",
            "OutputName": "KeyArn",
            "Region": "us-east-1",
        }
    }


def test_a_joining_region_has_its_store_and_nobody_copies_to_it(
    stages: Stages, tmp_path: Path
) -> None:
    joining = synthesize_stage(tmp_path, stage_config("prod", joining="eu-west-1"), nag=False)
    assert set(joining) == {"Store-us-east-1", "Store-eu-west-1", "Media-us-east-1", "Edge"}
    primary = joining["Store-us-east-1"]
    for bucket in primary.resources("AWS::S3::Bucket").values():
        assert "ReplicationConfiguration" not in bucket["Properties"]
    replicas = primary.only("AWS::DynamoDB::GlobalTable")["Replicas"]
    assert [replica["Region"] for replica in replicas] == ["us-east-1"]
    # The newcomer is finished already, but for who may log: it copies to those that are there.
    newcomer, finished = (
        {
            name: made
            for name, made in one["Store-eu-west-1"].content["Resources"].items()
            if made["Properties"].get("Bucket") != {"Ref": REPLICA_LOGS}
        }
        for one in (joining, stages["prod"])
    )
    assert newcomer == finished


def test_joining_takes_nothing_from_the_regions_that_are_there(tmp_path: Path) -> None:
    content = stage_config("prod").model_dump(mode="json", exclude={"name"})
    content["regions"].append(
        {
            "name": "ap-southeast-2",
            "cidr": "10.2.0.0/16",
            "availability_zones": ["ap-southeast-2a", "ap-southeast-2b"],
            "cloudfront_prefix_list": "pl-1",
            "health_check_prefix_list": "pl-2",
        }
    )
    joining = load_stage("prod", {"prod": content}, joining="ap-southeast-2")
    made = synthesize_stage(tmp_path, joining, nag=False)
    today = synthesize_stage(tmp_path / "today", stage_config("prod"), nag=False)
    assert set(made) == set(today) | {"Store-ap-southeast-2"}
    for name, template in today.items():
        assert made[name].content == template.content


def test_a_public_bucket_would_be_found(tmp_path: Path) -> None:
    """The stages are clean because cdk-nag finds nothing, not because it does not look."""
    app = new_app(tmp_path)
    s3.Bucket(cdk.Stack(app, "Test"), "Open")
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    with pytest.raises(RuntimeError, match="AwsSolutions-S1"):
        app.synth()
    report = json.loads((tmp_path / "validation-report.json").read_text())
    rules = {v["ruleName"] for made in report["pluginReports"] for v in made["violations"]}
    assert "AwsSolutions-S1" in rules


def test_cfn_lint_has_no_errors(stages: Stages, with_options: dict[str, Template]) -> None:
    everything = [*stages.values(), with_options]
    paths = [str(made.path) for templates in everything for made in templates.values()]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("cfn-lint")),
            "--non-zero-exit-code",
            "error",
            "--ignore-checks",
            "W",
            "--",
            *paths,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def test_images_of_the_templates_are_staged_with_their_sources(stages: Stages) -> None:
    folder = stages["local"]["Media-us-east-1"].path.parent
    for task in stages["local"]["Media-us-east-1"].resources("AWS::ECS::TaskDefinition").values():
        (container,) = task["Properties"]["ContainerDefinitions"]
        asset = folder / f"asset.{flat(container['Image']).rpartition(':')[2]}"
        module = container["Command"][-1].replace(".", "/")
        for member in ("Dockerfile", "requirements.txt", module, "media_platform/contract"):
            assert (asset / member).exists(), member


def test_several_regions_copy_the_site_and_keep_what_the_stage_says(tmp_path: Path) -> None:
    config = stage_config(
        "prod",
        site={"fallback_page": "index.html"},
        storage={"noncurrent_days": 3, "upload_origins": ["https://up.example.com"]},
        player_origins=["https://play.example.com"],
    )
    made = synthesize_stage(tmp_path, config)
    names = {
        region: f"media-platform-prod-site-ACCOUNT-{region}"
        for region in ("us-east-1", "eu-west-1")
    }
    for region, peer in (("us-east-1", "eu-west-1"), ("eu-west-1", "us-east-1")):
        store = made[f"Store-{region}"]
        assert flat(store.content["Outputs"]["SiteBucket"]["Value"]).endswith("SiteBucket>")
        (bucket,) = (
            found["Properties"]
            for name, found in store.resources("AWS::S3::Bucket").items()
            if "SiteBucket" in name
        )
        assert flat(bucket["BucketName"]) == names[region]
        (rule,) = bucket["ReplicationConfiguration"]["Rules"]
        assert flat(rule["Destination"]["Bucket"]) == f"arn:aws:s3:::{names[peer]}"
        (kept,) = bucket["LifecycleConfiguration"]["Rules"]
        assert kept["NoncurrentVersionExpiration"] == {"NoncurrentDays": 3}
        (cors,) = (
            rule
            for one in store.resources("AWS::S3::Bucket").values()
            for rule in one["Properties"].get("CorsConfiguration", {}).get("CorsRules", [])
        )
        assert cors["AllowedOrigins"] == ["https://up.example.com"]
    headers = made["Edge"].only("AWS::CloudFront::ResponseHeadersPolicy")
    cors = headers["ResponseHeadersPolicyConfig"]["CorsConfig"]
    assert cors["AccessControlAllowOrigins"]["Items"] == ["https://play.example.com"]
    distribution = made["Edge"].only("AWS::CloudFront::Distribution")["DistributionConfig"]
    domains = {one["Id"]: flat(one["DomainName"]) for one in distribution["Origins"]}
    target = distribution["DefaultCacheBehavior"]["TargetOriginId"]
    (group,) = (one for one in distribution["OriginGroups"]["Items"] if one["Id"] == target)
    assert [domains[member["OriginId"]] for member in group["Members"]["Items"]] == [
        f"{names[region]}.s3.{region}.amazonaws.com" for region in names
    ]
