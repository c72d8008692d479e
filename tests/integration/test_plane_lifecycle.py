"""Up, down, and up again after everything that can go wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from small_plane import SmallPlane
from waiting import eventually

from mediactl.errors import DEGRADED, NOT_FOUND, CommandError
from mediactl.local.plane import RUNNER


def command(small: SmallPlane, *arguments: str) -> list[str]:
    folder = str(small.plane.state.root)
    return [sys.executable, "-m", "mediactl.main", "local", *arguments, "--state-dir", folder]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def exit_code(small: SmallPlane, *arguments: str) -> int:
    done = subprocess.run(
        command(small, *arguments),
        cwd=small.app,
        env=environment(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode


def files(small: SmallPlane) -> dict[str, int]:
    names = ("plane.json", "deployed.json", "emulator.json", "runner.json")
    return {name: (small.plane.state.root / name).stat().st_mtime_ns for name in names}


def processes_in(folder: Path) -> list[int]:
    """Return every process that has to do with a folder by its command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join([*process.cmdline(), *process.environ().values(), process.cwd()])
        except psutil.Error:
            continue
        if str(folder) in text and process.pid != os.getpid():
            found.append(process.pid)
    return found


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def test_a_second_up_changes_nothing(small: SmallPlane) -> None:
    before, pids, endpoints = files(small), small.pids(), small.endpoints
    small.up()
    assert files(small) == before
    assert small.pids() == pids
    assert small.endpoints == endpoints
    assert exit_code(small, "status") == 0


def test_everything_listens_on_the_loopback_interface_only(small: SmallPlane) -> None:
    addresses = {
        connection.laddr.ip
        for pid in small.pids().values()
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_an_unchanged_template_is_not_deployed_again(small: SmallPlane) -> None:
    pids = small.pids()
    calls = small.plane.state.calls_file.stat().st_size
    (small.app / "comment.py").write_text("# nothing that a template depends on")
    small.up()
    assert small.plane.state.calls_file.stat().st_size == calls
    assert small.pids() == pids


def test_a_killed_runner_takes_its_tasks_with_it_and_comes_back(small: SmallPlane) -> None:
    before = small.pids()
    tasks = {name: pid for name, pid in before.items() if name.startswith("task-")}
    assert tasks
    os.kill(before[RUNNER], signal.SIGKILL)
    eventually(lambda: not any(map(psutil.pid_exists, tasks.values())), "its tasks are gone")
    assert exit_code(small, "status") == DEGRADED
    endpoints = small.endpoints
    small.up()
    assert small.pids()["emulator"] == before["emulator"]
    assert small.endpoints == endpoints
    assert small.get("/api/status?200").status == 200


def test_a_killed_emulator_is_deployed_anew_at_the_same_place(small: SmallPlane) -> None:
    before = small.pids()
    urls = (small.endpoints.edge_url, small.endpoints.emulator_url)
    os.kill(before["emulator"], signal.SIGKILL)
    eventually(lambda: exit_code(small, "status") == NOT_FOUND, "it is noticed")
    small.up()
    assert (small.endpoints.edge_url, small.endpoints.emulator_url) == urls
    assert small.pids()["emulator"] != before["emulator"]
    assert small.get("/api/status?200").status == 200
    assert exit_code(small, "status") == 0


def test_everything_killed_at_once_comes_back(small: SmallPlane) -> None:
    for pid in small.pids().values():
        os.kill(pid, signal.SIGKILL)
    small.up()
    assert small.get("/api/status?200").status == 200


def test_records_of_a_former_life_touch_nobody(small: SmallPlane) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record = small.plane.state.processes / "task-stale.json"
        record.write_text(
            f'{{"name": "task-stale", "pid": {stranger.pid}, "identity": "another boot:1"}}'
        )
        os.kill(small.pids()[RUNNER], signal.SIGKILL)
        small.up()
        assert stranger.poll() is None
        assert not record.exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_an_app_that_does_not_synthesize_is_shown_with_its_error(small: SmallPlane) -> None:
    source = small.app / "app.py"
    good = source.read_text()
    source.write_text(good + "\nraise ValueError('the queue is upside down')\n")
    try:
        with pytest.raises(CommandError, match="the queue is upside down") as caught:
            small.up()
    finally:
        source.write_text(good)
    assert "deploy.log" in str(caught.value.hint)
    assert small.get("/api/status?200").status == 200
    small.up()


def test_a_deploy_that_fails_is_shown_with_its_cause_and_can_be_taken_back(
    small: SmallPlane,
) -> None:
    source = small.app / "app.py"
    good = source.read_text()
    bucket = small.output("SiteBucket")
    taken = f's3.Bucket(stack, "Taken", bucket_name="{bucket}")\napp.synth()'
    source.write_text(good.replace("app.synth()", taken))
    try:
        with pytest.raises(CommandError, match=bucket) as caught:
            small.up()
    finally:
        source.write_text(good)
    assert "Taken" in str(caught.value)
    deployed = (small.plane.state.root / "deployed.json").read_text()
    assert '"assembly": ""' in deployed
    assert small.get("/api/status?200").status == 200
    small.up()
    assert exit_code(small, "status") == 0


def test_a_service_that_cannot_start_is_shown_with_its_log(small: SmallPlane) -> None:
    source = small.app / "service" / "server.py"
    good = source.read_text()
    source.write_text("raise SystemExit('no such luck')\n")
    try:
        with pytest.raises(CommandError, match="no such luck") as caught:
            small.up()
        # The former version goes on serving.
        assert small.get("/api/status?200").status == 200
        assert exit_code(small, "status") == DEGRADED
    finally:
        source.write_text(good)
    assert small.output("ApiService") in str(caught.value)
    small.up()
    assert exit_code(small, "status") == 0


def test_down_leaves_no_process_no_port_and_is_repeatable(small: SmallPlane) -> None:
    root = small.plane.state.root
    assert processes_in(root)
    assert exit_code(small, "down") == 0
    assert processes_in(root) == []
    assert not listens(small.endpoints.edge_url)
    assert not listens(small.endpoints.emulator_url)
    assert exit_code(small, "status") == NOT_FOUND
    assert exit_code(small, "down") == 0
    assert (root / "venvs").exists()
    assert {path.name for path in root.iterdir()} == {
        "calls.jsonl",
        "emulator.json",
        "lock",
        "logs",
        "processes",
        "venvs",
    }


def test_down_stops_an_emulator_whose_record_was_damaged(small: SmallPlane) -> None:
    small.up()
    root = small.plane.state.root
    for text in ("", '{"name": "emulator", "pid": 0, "identity": null}'):
        (small.plane.state.processes / "emulator.json").write_text(text)
        assert exit_code(small, "status") == NOT_FOUND
    assert small.plane.down()
    assert processes_in(root) == []


def test_reset_brings_the_same_up_again_without_its_data(small: SmallPlane) -> None:
    small.up()
    before = small.pids()
    assert exit_code(small, "reset") == 0
    assert small.pids()["emulator"] != before["emulator"]
    assert exit_code(small, "status") == 0


def test_state_of_another_version_is_no_obstacle(small: SmallPlane) -> None:
    small.up()
    before = small.pids()
    for name in ("plane.json", "deployed.json", "runner.json"):
        (small.plane.state.root / name).write_text('{"edge_url": 1, "url": 5, "regions": "x"}')
    assert exit_code(small, "status") == DEGRADED
    small.up()
    assert exit_code(small, "status") == 0
    assert small.pids()["emulator"] == before["emulator"]


def test_a_removed_state_folder_ends_everything(small: SmallPlane) -> None:
    small.up()
    root = small.plane.state.root
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not path.is_symlink():
            path.unlink()
    eventually(lambda: not processes_in(root), "everything ended")
    small.up()
    assert exit_code(small, "status") == 0


def test_a_killed_up_leaves_no_deployment_behind(small: SmallPlane) -> None:
    small.plane.down()
    process = subprocess.Popen(
        command(small, "up"),
        cwd=small.app,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "synthesizing" in line:
            break
    lasting = small.pids().values()
    deploying = eventually(
        lambda: [
            child.pid
            for child in psutil.Process(process.pid).children()
            if child.pid not in lasting
        ],
        "the CDK CLI runs",
    )
    process.kill()
    process.communicate()
    eventually(lambda: not any(map(psutil.pid_exists, deploying)), "the CDK CLI ended")
    assert small.plane.down()
    eventually(lambda: not processes_in(small.plane.state.root), "everything ended")


@pytest.mark.parametrize("words", ["starting the emulator", "deploying", "waiting"])
def test_an_interrupted_up_leaves_nothing_running(small: SmallPlane, words: str) -> None:
    small.plane.down()
    process = subprocess.Popen(
        command(small, "up"),
        cwd=small.app,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            # As a terminal does it: to the command and to everything in its foreground.
            os.killpg(process.pid, signal.SIGINT)
            break
    process.stderr.read()
    assert process.wait(timeout=120) == 130
    assert processes_in(small.plane.state.root) == []


def test_an_interrupted_up_leaves_a_plane_that_ran_before(
    small: SmallPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.up()
    before = processes_in(small.plane.state.root)

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(small.plane, "_up", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small.plane.up()
    assert processes_in(small.plane.state.root) == before
