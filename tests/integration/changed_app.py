"""The app of this repository in a folder of its own, whose stages a test changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


class ChangedApp:
    """An app that is deployed as it is here, but for what its stage says.

    Args:
        folder: An empty folder.
        stage: The stage.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self._stage = stage
        shutil.copy(REPOSITORY / "app.py", folder)
        (folder / "node_modules").symlink_to(REPOSITORY / "node_modules")
        self.write()

    @property
    def stage(self) -> dict[str, Any]:
        """The stage as it is here."""
        content = json.loads((REPOSITORY / "cdk.json").read_text())
        stage: dict[str, Any] = content["context"]["stages"][self._stage]
        return stage

    def write(self, **values: Any) -> None:
        """Give the stage other values; in those that are objects, only what is named changes."""
        content = json.loads((REPOSITORY / "cdk.json").read_text())
        stage = content["context"]["stages"][self._stage]
        for name, value in values.items():
            stage[name] = {**stage.get(name, {}), **value} if isinstance(value, dict) else value
        (self.folder / "cdk.json").write_text(json.dumps(content))
