"""What decides whether a deploy is needed, and what people read when one fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mediactl.deploying.assembly import assembly_regions, assembly_stacks
from mediactl.errors import CommandError
from mediactl.local.deploy import assembly_digest, inputs_digest


@pytest.fixture
def app(tmp_path: Path) -> Path:
    for name in ("app.py", "cdk.json", "lib/stack.py", "runtime/api/main.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["app.py", "cdk.json", "runtime/api/main.py", "lib/new.py"])
def test_every_source_is_an_input(app: Path, name: str) -> None:
    before = inputs_digest(app)
    (app / name).write_text("changed")
    assert inputs_digest(app) != before


def test_saved_look_ups_are_inputs_that_synth_itself_writes(app: Path) -> None:
    every, sources = inputs_digest(app), inputs_digest(app, with_context=False)
    (app / "cdk.context.json").write_text("{}")
    assert inputs_digest(app) != every
    assert inputs_digest(app, with_context=False) == sources


def test_a_removed_and_a_renamed_source_are_noticed(app: Path) -> None:
    before = inputs_digest(app)
    (app / "lib/stack.py").rename(app / "lib/stacks.py")
    renamed = inputs_digest(app)
    (app / "lib/stacks.py").unlink()
    assert len({before, renamed, inputs_digest(app)}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "tests/test_it.py",
        "docs/page.md",
        "node_modules/x/index.js",
        ".local/plane.json",
        "cdk.out/manifest.json",
        "lib/__pycache__/stack.cpython-311.pyc",
    ],
)
def test_what_tools_write_and_what_templates_ignore_is_no_input(app: Path, name: str) -> None:
    before = inputs_digest(app)
    file = app / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("something")
    assert inputs_digest(app) == before


def assembly(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    stack = {
        "type": "aws:cloudformation:stack",
        "environment": "aws://000000000000/eu-west-1",
        "properties": {"templateFile": "A.template.json", "stackName": "a"},
    }
    manifest = {
        "artifacts": {
            "A": stack,
            "B": {**stack, "environment": "aws://unknown-account/unknown-region"},
            "Tree": {"type": "cdk:tree", "properties": {"file": "tree.json"}},
        }
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "A.template.json").write_text("{}")
    (folder / "A.assets.json").write_text("{}")
    return folder


def test_templates_and_assets_make_the_digest(tmp_path: Path) -> None:
    folder = assembly(tmp_path / "cdk.out")
    before = assembly_digest(folder)
    (folder / "tree.json").write_text("other")
    assert assembly_digest(folder) == before
    (folder / "A.assets.json").write_text('{"version": 1}')
    assert assembly_digest(folder) != before


def test_regions_come_from_the_stacks(tmp_path: Path) -> None:
    stacks = assembly_stacks(assembly(tmp_path / "cdk.out"), default_region="us-east-1")
    assert assembly_regions(stacks) == ["eu-west-1", "us-east-1"]
    assert {stack.name for stack in stacks} == {"a"}
    with pytest.raises(CommandError, match="no stack"):
        assembly_regions([])


def test_stacks_come_in_the_order_of_their_deployment(tmp_path: Path) -> None:
    folder = assembly(tmp_path / "cdk.out")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"]["A"]["dependencies"] = ["B", "A.assets"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    stacks = assembly_stacks(folder, default_region="us-east-1")
    assert [stack.artifact for stack in stacks] == ["B", "A"]
    manifest["artifacts"]["B"]["dependencies"] = ["A"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CommandError, match="wait for each other"):
        assembly_stacks(folder, default_region="us-east-1")
