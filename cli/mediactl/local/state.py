"""The state folder of a local plane: everything it writes, in one place.

```
.local/
  plane.json        endpoints and stack outputs of the running plane, for programs
  emulator.json     ports and control token of the emulator (readable by the owner only)
  deployed.json     what was deployed to which emulator, to tell whether a deploy is needed
  calls.jsonl       every authorization decision on a role, one JSON object a line
  lock              held while the plane is being changed
  cdk.out/          the cloud assembly that is deployed
  cdk/              assembly and log of `mediactl diff`, `deploy` and `destroy`
  logs/             emulator.log, deploy.log, runner.log, and one file a service
  processes/        one file a process: pid and start time
  images/<tag>/     sources of the services, as their task definitions name them
  venvs/<key>/      virtual environments by lock file; kept by ``down``
  scratch/          home and temporary folders of processes
```
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from mediactl.errors import naming
from mediactl.locks import alone

DEFAULT_FOLDER = Path(".local")

T = TypeVar("T")


class StateFolder:
    """Paths of a state folder, and files in it that are replaced as a whole."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.plane_file = self.root / "plane.json"
        self.emulator_file = self.root / "emulator.json"
        self.deployed_file = self.root / "deployed.json"
        self.calls_file = self.root / "calls.jsonl"
        self.outputs_file = self.root / "outputs.json"
        self.assembly = self.root / "cdk.out"
        self.commands = self.root / "cdk"
        self.logs = self.root / "logs"
        self.processes = self.root / "processes"
        self.images = self.root / "images"
        self.venvs = self.root / "venvs"
        self.scratch = self.root / "scratch"

    @property
    def option(self) -> str:
        """How a command names the plane, with a blank before; nothing for the default one."""
        if self.root.name == DEFAULT_FOLDER.name:
            return ""
        if self.root.name.startswith(f"{DEFAULT_FOLDER}-"):
            return f" -e {self.root.name.removeprefix('.')}"
        return f" --state-dir {self.root}"

    def create(self) -> None:
        """Make the folders; what exists is kept. Only the owner may look into a new one."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.logs, self.processes, self.images, self.venvs, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    def log_file(self, name: str) -> Path:
        """Return the log of a process."""
        return self.logs / f"{name}.log"

    def service_log_file(self, name: str, region: str) -> Path:
        """Return the log of a service; it is called the same in every region."""
        return self.log_file(f"{name}-{region}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder; two commands never change a plane at once.

        Raises:
            CommandError: If another command holds it.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            (self.root / "lock").open("w") as file,
            alone(file, f"changing the plane in {self.root}"),
        ):
            yield


def read_state(file: Path, kind: type[T]) -> T | None:
    """Return what a state file says.

    Args:
        file: The file.
        kind: Data class of which it holds the fields.

    Returns:
        The object, or ``None`` when there is no file, or one that is damaged or that another
        version wrote in another shape.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - slow to import

    try:
        return TypeAdapter(kind).validate_json(file.read_bytes(), strict=True)
    except (FileNotFoundError, ValidationError):
        return None


def write_json(file: Path, value: Any) -> None:
    """Replace a file as a whole; readers see the old or the new text. Only the owner reads it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with naming(file), os.fdopen(descriptor, "w") as stream:
            json.dump(value, stream, indent=2, default=str)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
