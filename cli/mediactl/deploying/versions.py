"""Which version of an app was deployed and seen to work: that is what one can go back to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mediactl.deploying.stage import stage_folder
from mediactl.environment import Environment

_FILE = "worked"
"""File with the commit that was deployed last and seen to work."""


def remember_working(environment: Environment) -> None:
    """Keep that what was deployed just now works, if it is a commit."""
    file = stage_folder(environment) / _FILE
    version = _version_of(environment.app)
    if version is None:
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{version}\n")


def way_back(environment: Environment) -> str:
    """Return what a person does to have deployed what worked before."""
    deploying = f"`mediactl deploy -e {environment.name}`"
    file = stage_folder(environment) / _FILE
    worked = file.read_text().strip() if file.exists() else None
    if worked in {None, _version_of(environment.app)}:
        return f"to go back, check out the version before and run {deploying}"
    folder = "" if environment.app.resolve() == Path.cwd() else f"-C {environment.app} "
    return f"`git {folder}checkout {worked}` and {deploying} go back to what worked last"


def _version_of(app: Path) -> str | None:
    """Return the commit that a folder is of, ``None`` if it is of none or was changed since."""
    git = shutil.which("git")
    if git is None:
        return None
    head, changes = (
        subprocess.run(
            [git, "-C", str(app), *arguments], capture_output=True, text=True, check=False
        )
        for arguments in (
            ("rev-parse", "--verify", "HEAD"),
            ("status", "--porcelain", "--untracked-files=no"),
        )
    )
    return head.stdout.strip() if head.returncode == 0 and not changes.stdout else None
