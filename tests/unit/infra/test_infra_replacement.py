"""No deployment replaces what holds data, or what others know by its id.

``stateful_resources.json`` holds what was deployed: the stateful resources of every stage by stack
and logical id, with the properties for whose change CloudFormation makes a new resource. Which ones
these are is read from the schemas of the CloudFormation registry, which cfn-lint carries.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from infra_templates import (
    REGION,
    Stages,
    Template,
    app_context,
    stage_config,
    synthesize_stage,
)

from mediactl.deploying import changes
from mediactl.deploying.changes import value_at

RECORD = Path(__file__).with_name("stateful_resources.json")
TYPES = Path(changes.__file__).with_name("stateful_types.json")

KNOWN_BY_ID = {
    "AWS::CloudFront::Distribution",  # its domain is in every URL
    "AWS::CloudFront::PublicKey",  # its id is in every signature
    "AWS::Cognito::UserPoolClient",  # clients sign in with its id
    "AWS::ECR::Repository",
    "AWS::KMS::ReplicaKey",
    "AWS::SNS::Topic",  # whoever subscribed would hear nothing more
    "Custom::SigningKey",  # another one would sign with another key
}
EXPIRING = {"AWS::Logs::LogGroup"}

Stack = dict[str, dict[str, Any]]
Record = dict[str, dict[str, Stack]]


def stateful_types() -> set[str]:
    """Return the types that hold data, as cfn-lint lists them, and those known by their id."""
    data = resources.files("cfnlint.data.AdditionalSpecs") / "StatefulResources.json"
    return (set(json.loads(data.read_text())["ResourceTypes"]) | KNOWN_BY_ID) - EXPIRING


def replacing_properties(resource_type: str) -> list[str]:
    """Return the properties of a type whose change replaces, or may replace, the resource."""
    if resource_type.startswith("Custom::"):
        return ["ServiceToken"]
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource_type).schema
    kinds = ("createOnlyProperties", "conditionalCreateOnlyProperties")
    paths = [path for kind in kinds for path in schema.get(kind) or ()]
    return sorted({path.removeprefix("/properties/") for path in paths})


def stateful_resources(template: Template) -> Stack:
    """Return what a deployment of a template must not replace, by logical id."""
    types = stateful_types()
    found = {}
    for logical_id, resource in template.content["Resources"].items():
        if resource["Type"] in types:
            values = {
                path: value
                for path in replacing_properties(resource["Type"])
                if (value := value_at(resource.get("Properties", {}), path)) is not None
            }
            found[logical_id] = {"Type": resource["Type"], **values}
    return found


def stack_of(template: Template) -> str:
    """Return region and name of a stack: under another name everything would be made anew."""
    manifest = json.loads((template.path.parent / "manifest.json").read_text())
    artifact = manifest["artifacts"][template.path.name.removesuffix(".template.json")]
    region = artifact["environment"].rpartition("/")[2]
    return f"{region}/{artifact['properties']['stackName']}"


def deployed(made: Mapping[str, Template]) -> dict[str, Stack]:
    """Return what deployments of the templates of a stage must not replace, by stack."""
    return {stack_of(template): stateful_resources(template) for template in made.values()}


def replacements(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a line for every resource that was deployed and would not stay."""
    for stage, stacks in recorded.items():
        for stack, members in stacks.items():
            for logical_id, was in members.items():
                where = f"{stage}: {logical_id} of {stack}, {was['Type']}"
                now = found.get(stage, {}).get(stack, {}).get(logical_id)
                if now is None:
                    yield f"{where}, is gone; what took its place begins empty"
                    continue
                for name in sorted(was.keys() | now.keys()):
                    if was.get(name) != now.get(name):
                        yield (
                            f"{where}, would be replaced: {name} was {was.get(name)!r} and is "
                            f"{now.get(name)!r}"
                        )


def test_mediactl_knows_what_is_replaced(pytestconfig: pytest.Config) -> None:
    """``--snapshot-update`` writes its list anew, from the schemas."""
    found = {one: replacing_properties(one) for one in sorted(stateful_types())}
    if pytestconfig.getoption("update_snapshots"):
        TYPES.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(TYPES.read_text()) == found, f"run pytest --snapshot-update for {TYPES.name}"


def test_whatever_is_retained_is_watched(stages: Stages) -> None:
    retained = {
        resource["Type"]
        for made in stages.values()
        for template in made.values()
        for resource in template.content["Resources"].values()
        if resource.get("DeletionPolicy") == "Retain"
    }
    assert retained
    assert retained <= stateful_types() | EXPIRING


@pytest.fixture(scope="module")
def found(stages: Stages) -> Record:
    return {stage: deployed(made) for stage, made in stages.items()}


def test_no_deployment_replaces_what_holds_data(found: Record, pytestconfig: pytest.Config) -> None:
    """``--snapshot-update`` adds what is new; to give something up, take it out by hand."""
    recorded: Record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    assert "\n".join(replacements(recorded, found)) == ""
    if pytestconfig.getoption("update_snapshots"):
        RECORD.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    else:
        assert found == recorded, f"run pytest --snapshot-update: it adds to {RECORD.name}"


def test_every_way_to_lose_data_is_told(found: Record) -> None:
    primary = f"{REGION}/MediaPlatform-prod-Store"
    changed = copy.deepcopy(found)
    store = changed["prod"][primary]
    store["StoreTable0CCFA19B"]["KeySchema"][0]["AttributeName"] = "id"
    store["StoreRawBucket27AD9156"]["BucketName"] = "another"
    store["StoreMovies"] = store.pop("StoreMediaBucket494618BE")
    told = list(replacements(found, changed))
    assert len(told) == 3
    where = f"prod: StoreTable0CCFA19B of {primary}, AWS::DynamoDB::GlobalTable, would be replaced"
    assert any(line.startswith(f"{where}: KeySchema was ") for line in told)
    assert any("StoreRawBucket27AD9156" in line and "is 'another'" in line for line in told)
    gone = "AWS::S3::Bucket, is gone; what took its place begins empty"
    assert any("StoreMediaBucket494618BE" in line and line.endswith(gone) for line in told)
    renamed = {"prod": {f"{name}-2": stack for name, stack in found["prod"].items()}}
    everything = sum(len(stack) for stack in found["prod"].values())
    assert len(list(replacements({"prod": found["prod"]}, renamed))) == everything
    assert list(replacements(found, {**found, "qa": {}})) == []


LATER: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "a ladder, other numbers and sizes of tasks": (
        "dev",
        [
            {},
            {
                "worker": {
                    "ladder": [{"short_side": 2160, "peak_kilobits": 16_000}],
                    "max_tasks": 8,
                },
                "api": {"min_tasks": 2, "cpu_units": 1024, "memory_mebibytes": 2048},
            },
        ],
    ),
    "another region": (
        "prod",
        [
            {"regions": app_context()["stages"]["prod"]["regions"][:1]},
            {"joining": ["eu-west-1"]},
            {},
        ],
    ),
}
"""Stage, and what of it is overridden from deployment to deployment."""


def lost_exports(before: Mapping[str, Template], after: Mapping[str, Template]) -> set[str]:
    """Return the exports that are given up while others use them, which CloudFormation refuses."""
    kept = json.dumps([exports_of(template) for template in after.values()])
    given = [name for template in before.values() for name in exports_of(template)]
    used = json.dumps([template.content for template in before.values()])
    return {name for name in given if name not in kept and f'"Fn::ImportValue": "{name}"' in used}


def exports_of(template: Template) -> list[str]:
    outputs = template.content.get("Outputs", {}).values()
    return [output["Export"]["Name"] for output in outputs if "Export" in output]


@pytest.mark.parametrize("name", LATER)
def test_what_comes_later_takes_the_place_of_nothing(name: str, tmp_path: Path) -> None:
    stage, steps = LATER[name]
    made = [
        synthesize_stage(tmp_path / str(number), stage_config(stage, **step), nag=False)
        for number, step in enumerate(steps)
    ]
    for before, after in pairwise(made):
        recorded, found = ({stage: deployed(templates)} for templates in (before, after))
        assert "\n".join(replacements(recorded, found)) == ""
        assert lost_exports(before, after) == set()
