"""What ``mediactl videos transcode --wait`` tells of the run that it waited for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from loopback_server import QuietHandler, serving

from media_platform.contract.ids import new_id
from mediactl import main
from mediactl.access import sessions
from mediactl.client import MediaClient
from mediactl.errors import FAILED

VIDEO = new_id()
READY = {"video_id": VIDEO, "status": "READY", "title": "Harbour", "progress": 100}
RUNS = {"old": {"run_id": "old"}, "new": {"run_id": "new"}}
NONE_YET = {"type": "urn:problem:not-downloadable", "detail": "there are no files yet"}


class _Api(QuietHandler):
    """A video that is transcoded in no time."""

    runs: list[tuple[int, dict[str, str]]]
    """What it tells of the run that is played, one after another."""

    def do_GET(self) -> None:  # noqa: N802  the name that the server calls
        """Tell of the video, or of what is played."""
        of_run = self.path.endswith("/downloads")
        status, body = self.runs.pop(0) if of_run else (200, READY)
        self.answer(status, json.dumps(body).encode())

    def do_POST(self) -> None:  # noqa: N802  the name that the server calls
        """Begin a run."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(202, json.dumps({**READY, "next_run": {"progress": 0}}).encode())


@pytest.fixture
def transcode(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command against an API that tells of these runs; return its exit code."""

    def run(*runs: tuple[int, dict[str, str]]) -> int:
        with serving(type("Handler", (_Api,), {"runs": list(runs)})) as url:
            client = MediaClient(url, "token")
            monkeypatch.setattr(sessions, "client", lambda *_, **__: client)
            return main.run(["videos", "transcode", VIDEO, "--wait"])

    return run


def test_a_run_that_failed_behind_what_viewers_have_is_told(
    transcode: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert transcode((200, RUNS["old"]), (200, RUNS["old"])) == FAILED
    assert f"error: video {VIDEO} is what it was" in capsys.readouterr().err


@pytest.mark.parametrize("before", [(200, RUNS["old"]), (409, NONE_YET)])
def test_a_run_that_is_played_now_is_done(
    transcode: Callable[..., int], before: tuple[int, dict[str, str]]
) -> None:
    assert transcode(before, (200, RUNS["new"])) == 0
