"""What the tests of the commands share: a folder without a configuration of anybody."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nobodys_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of the person who runs the tests reach in."""
    for name in ("MEDIACTL_CONFIG", "MEDIACTL_ENV", "MEDIACTL_DEBUG", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
