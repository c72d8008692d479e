"""Cloud assemblies of a few resources, and of the stages whose templates are recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "infra" / "__snapshots__" / "test_infra_stages"
STAGES = ("local", "dev", "prod")

Templates = dict[str, tuple[str, dict[str, Any]]]
"""Region and template of stacks, by their path in the app."""


def write_assembly(folder: Path, stacks: Templates) -> Path:
    """Write an assembly as ``cdk synth`` does, as far as ``mediactl`` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = {}
    for name, (region, template) in stacks.items():
        (folder / f"{name}.template.json").write_text(json.dumps(template))
        artifacts[name] = {
            "type": "aws:cloudformation:stack",
            "environment": f"aws://unknown-account/{region}",
            "properties": {"templateFile": f"{name}.template.json", "stackName": name},
            "displayName": name,
        }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
    return folder


def recorded_stage(folder: Path, stage: str) -> Path:
    """Write the assembly of a stage as its templates are recorded."""
    stacks: Templates = {}
    for file in sorted(RECORDED.glob(f"*{stage}-*.json")):
        found = re.search(rf"\[{stage}-([\w-]+)\]\.json$", file.name)
        if found is not None:
            region = re.search(r"[a-z]{2}-[a-z]+-\d$", found[1])
            stacks[found[1]] = (region[0] if region else "us-east-1", json.loads(file.read_text()))
    assert stacks
    return write_assembly(folder, stacks)
