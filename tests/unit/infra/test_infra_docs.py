"""The pages of the constructs: their examples run, in the order of the table of contents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from constructs import Construct
from infra_templates import REGION, REPOSITORY, new_app, templates

from media_platform import constructs

PAGES = REPOSITORY / "docs" / "constructs"


def test_the_examples_synthesize(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    stack = cdk.Stack(app, "Example", env=cdk.Environment(account="111111111111", region=REGION))
    names: dict[str, Any] = {"app": app, "cdk": cdk, "stack": stack}
    listed = re.findall(r"\]\(([a-z-]+\.md)\)", (PAGES / "README.md").read_text())
    assert sorted(listed) == sorted(page.name for page in PAGES.glob("[a-z]*.md"))
    for page in listed:
        examples = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
        assert examples, page
        for example in examples:
            exec(compile(example, page, "exec"), names)  # noqa: S102 - it is ours
    made = {template.path.name.partition(".")[0]: template for template in templates(app)}
    assert set(made) == {"Example", "Europe"}
    assert len(made["Example"].resources("AWS::ECS::Service")) == 4
    assert made["Europe"].resources("AWS::ECS::Service")


def test_every_construct_is_on_a_page() -> None:
    pages = [*PAGES.glob("*.md"), PAGES.parent / "operations.md"]
    text = "".join(page.read_text() for page in pages)
    for name in constructs.__all__:
        if issubclass(getattr(constructs, name), Construct):
            assert re.search(rf"\b{name}\b", text), name
