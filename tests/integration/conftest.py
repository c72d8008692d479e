"""What the integration tests share: one plane per session, and films to send through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command_line import Mediactl
from emulator import running_emulator
from small_plane import SmallPlane
from worker_stage import Stage, make_stage

from mediactl.environment import LocalEnvironment
from mediactl.local import processes
from mediactl.local.aws import Emulator, root_environment
from mediactl.local.plane import RUNNER, Endpoints, Plane
from mediactl.local.recorded_calls import RecordedCall, read_calls
from mediactl.local.sample import make_sample
from mediactl.local.state import DEFAULT_FOLDER

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class RunningPlane:
    """A plane that is up.

    Attributes:
        plane: The plane.
        endpoints: Where it is found.
        emulator: Its emulator.
        refused: Calls that tests let be refused: role, action and resource.
    """

    plane: Plane
    endpoints: Endpoints
    emulator: Emulator
    refused: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def region(self) -> str:
        """The home region."""
        return self.endpoints.regions[0]

    @property
    def runner_pid(self) -> int:
        """Process id of the process runner."""
        return next(
            record.pid
            for record in processes.records(self.plane.state.processes)
            if record.name == RUNNER
        )

    def client(self, service: str, region: str | None = None, **credentials: str) -> Any:
        """Return a client, with every right unless ``credentials`` are given."""
        return self.emulator.client(service, region or self.region, **credentials)

    def calls(self, *, since: float = 0.0) -> list[RecordedCall]:
        """Return the calls that roles made."""
        return list(read_calls(self.plane.state.calls_file, since=since))


def state_folder(base: Path) -> Path:
    """Return a state folder of its own that shares the virtual environments of the checkout."""
    shared = REPOSITORY / DEFAULT_FOLDER / "venvs"
    shared.mkdir(parents=True, exist_ok=True)
    folder = base / "state"
    folder.mkdir()
    (folder / "venvs").symlink_to(shared)
    return folder


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlane]:
    """The deployed local stage of this repository, up for the whole session.

    In the end, whatever tests ran: the policies allowed all that its roles did.
    """
    made = Plane(state_folder(tmp_path_factory.mktemp("plane")), app=REPOSITORY)
    try:
        endpoints = made.up()
        running = RunningPlane(made, endpoints, made.emulator())
        yield running
        denied = {(c.role, c.action, c.resource) for c in running.calls() if not c.allowed}
        assert denied <= running.refused
    finally:
        made.down()


@pytest.fixture(scope="session")
def mediactl(plane: RunningPlane, tmp_path_factory: pytest.TempPathFactory) -> Mediactl:
    """The command line of a person whose environment ``local`` is the plane of the session."""
    home = tmp_path_factory.mktemp("person")
    return Mediactl.of_plane(home, state_dir=plane.plane.state.root, app=REPOSITORY)


@pytest.fixture(scope="session")
def as_in_aws(plane: RunningPlane, tmp_path_factory: pytest.TempPathFactory) -> Mediactl:
    """The command line of a person who has the usual AWS variables, which lead to the plane.

    Environments: ``one-region`` is there, of ``two-regions`` one is, and ``nowhere`` is not.
    """
    home = tmp_path_factory.mktemp("aws-person")
    settings = home / "mediactl.toml"
    other = "eu-west-1"
    settings.write_text(
        "".join(
            f"[environments.{name}]\nstage = {stage!r}\nregions = {regions!r}\nprotected = true\n"
            for name, stage, regions in (
                ("one-region", "local", [plane.region]),
                ("two-regions", "local", [plane.region, other]),
                ("nowhere", "nowhere", [plane.region]),
            )
        )
    )
    variables = root_environment(plane.emulator.url)
    return Mediactl(home, {"MEDIACTL_CONFIG": str(settings), **variables})


@pytest.fixture(scope="session")
def shared_small_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPlane]:
    """A plane of the small app; tests may break it, and get it through :func:`small`."""
    base = tmp_path_factory.mktemp("small")
    made = SmallPlane(base, state_folder(base))
    try:
        yield made
    finally:
        made.plane.down()


@pytest.fixture(scope="module")
def small(shared_small_plane: SmallPlane) -> SmallPlane:
    """The plane of the small app, up at the beginning of the module."""
    shared_small_plane.up()
    return shared_small_plane


@pytest.fixture(scope="session")
def outputs(plane: RunningPlane) -> dict[str, str]:
    """The outputs of all stacks of the stage, by name."""
    merged: dict[str, str] = {}
    for outputs in plane.endpoints.outputs.values():
        merged.update(outputs)
    return merged


@pytest.fixture(scope="session")
def platform(plane: RunningPlane) -> LocalEnvironment:
    """The plane as the environment of commands."""
    return LocalEnvironment("local", state_dir=plane.plane.state.root, app=REPOSITORY)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six seconds of 360p with sound, 180 frames."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_sample(path, seconds=6, width=640, height=360)
    return path.read_bytes()


@pytest.fixture(scope="session")
def longer_film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """24 seconds of 360p with sound, 720 frames: two chunks, so that there is a middle."""
    path = tmp_path_factory.mktemp("film") / "longer.mp4"
    make_sample(path, seconds=24, width=640, height=360)
    return path.read_bytes()


@pytest.fixture(scope="session")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Fifteen seconds of 1080p with sound, 450 frames: a worker is busy with it for a while."""
    path = tmp_path_factory.mktemp("film") / "long.mp4"
    make_sample(path, seconds=15)
    return path.read_bytes()


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """What workers touch, and at the end the proof that they were refused nothing."""
    folder = tmp_path_factory.mktemp("emulator")
    with running_emulator(folder) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))
        assert emulator.denied() == []
