"""The images of tasks: staged sources with the packages of their lock file."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mediactl.local.state import StateFolder
from mediactl.local.venvs import ensure_venv

REQUIREMENTS = "requirements.txt"
BASE_ENVIRONMENT = {"LANG": "C.UTF-8"}
"""Variables of the official Python images."""


@dataclass(frozen=True)
class Image:
    """What a container image would hold.

    Attributes:
        folder: The sources; the working folder of the process.
        venv: Virtual environment with exactly the locked packages.
        environment: Variables that the image sets.
    """

    folder: Path
    venv: Path
    environment: dict[str, str]


def ensure_image(state: StateFolder, tag: str, log: Path) -> Image:
    """Return the image of a tag, unpacked from the deployed assembly on first use.

    The sources are copied, so that a running task keeps its own when the assembly is replaced.

    Raises:
        FileNotFoundError: If the assembly has no asset of that hash.
        CommandError: If the packages cannot be installed.
    """
    folder = state.images / tag
    if not folder.exists():
        source = state.assembly / f"asset.{tag}"
        if not source.is_dir():
            raise FileNotFoundError(f"the deployed assembly has no asset {tag}")
        unpacking = Path(tempfile.mkdtemp(prefix=f".{tag}.", dir=state.images))
        shutil.copytree(source, unpacking, dirs_exist_ok=True)
        try:
            unpacking.rename(folder)
        except OSError:
            shutil.rmtree(unpacking)
            if not folder.exists():
                raise
    lock = folder / REQUIREMENTS
    if not lock.exists():
        lock.write_text("")
    return Image(folder, ensure_venv(state.venvs, lock, log), image_environment(folder))


def image_environment(folder: Path) -> dict[str, str]:
    """Return the variables that the Dockerfile of an image sets with ``ENV``.

    ``PATH`` is left out, since paths of the image do not exist here.
    """
    variables = dict(BASE_ENVIRONMENT)
    dockerfile = folder / "Dockerfile"
    if not dockerfile.exists():
        return variables
    lines = dockerfile.read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        instruction, _, rest = line.strip().partition(" ")
        if instruction.upper() == "FROM":
            # Variables of an earlier build stage do not reach the final one.
            variables = dict(BASE_ENVIRONMENT)
        if instruction.upper() != "ENV":
            continue
        for part in rest.split():
            name, equals, value = part.partition("=")
            if equals and name != "PATH":
                variables[name] = value.strip("\"'")
    return variables
