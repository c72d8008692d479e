"""What downloads do when the network, the signature or the server changes under them."""

from __future__ import annotations

import contextlib
import os
import resource
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3
from loopback_server import QuietHandler, serving

from mediactl.client import ApiError
from mediactl.errors import REFUSED, CommandError
from mediactl.local.state import write_json
from mediactl.videos import downloads
from mediactl.videos.downloads import load, partial_file

CONTENT = os.urandom(300_000)


@dataclass
class Server:
    """Serves :data:`CONTENT`.

    Attributes:
        url: Where.
        ranges: Whether it knows them.
        cuts: Bytes after which the next answers end.
        statuses: Statuses of the next answers.
        asked: Ranges that were asked for.
    """

    url: str = ""
    ranges: bool = True
    cuts: deque[int] = field(default_factory=deque)
    statuses: deque[int] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)


class _Handler(QuietHandler):
    served: Server

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        """Serve a range, or do what is wanted of the next answers."""
        served, asked = self.served, self.headers["Range"]
        served.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if served.ranges else 0
        status = served.statuses.popleft() if served.statuses else 206 if served.ranges else 200
        if status >= 300 or start >= len(CONTENT):
            self.answer(status if status >= 300 else 416, b"refused")
            return
        whole = len(CONTENT)
        cut = served.cuts.popleft() if served.cuts else whole
        self.send_response(status)
        self.send_header("Content-Length", str(whole - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        self.wfile.write(CONTENT[start:][:cut])
        self.close_connection = cut < whole - start


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    with serving(type("Handler", (_Handler,), {"served": served})) as url:
        served.url = f"{url}/film"
        yield served


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediactl.client._PAUSE_SECONDS", 0.001)


@contextlib.contextmanager
def unseen(size: int, before: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def get(server: Server, target: Path) -> tuple[int, int]:
    return load(lambda: server.url, target, "a run", unseen)


def test_what_is_cut_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = deque([1000, 0, 2000])
    assert get(server, tmp_path / "film.mp4") == (len(CONTENT), 0)
    assert (tmp_path / "film.mp4").read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", "bytes=1000-", "bytes=1000-", "bytes=3000-"]
    assert not list(tmp_path.glob(".*"))


def test_what_another_process_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    partial_file(target, "a run").write_bytes(CONTENT[:5000])
    partial_file(target, "another run").write_bytes(b"other")
    assert get(server, target) == (len(CONTENT), 5000)
    assert (target.read_bytes(), server.asked) == (CONTENT, ["bytes=5000-"])


def test_what_was_complete_but_for_its_name_is_named(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    partial_file(target, "a run").write_bytes(CONTENT)
    assert get(server, target) == (len(CONTENT), len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    target = tmp_path / "film.mp4"
    partial_file(target, "a run").write_bytes(CONTENT[:5000])
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_a_signature_that_has_ended_is_made_anew_once(server: Server, tmp_path: Path) -> None:
    made: list[str] = []

    def url() -> str:
        made.append(server.url)
        return server.url

    server.statuses = deque([403])
    load(url, tmp_path / "film.mp4", "a run", unseen)
    assert len(made) == 2
    server.statuses = deque([403, 403])
    with pytest.raises(ApiError, match="the storage refuses it without saying why"):
        load(url, tmp_path / "again.mp4", "a run", unseen)


def test_who_gives_up_leaves_what_came(server: Server, tmp_path: Path) -> None:
    server.cuts = deque([1000] + [0] * downloads.ATTEMPTS)
    target = tmp_path / "film.mp4"
    with pytest.raises(urllib3.exceptions.HTTPError):
        get(server, target)
    assert not target.exists()
    assert partial_file(target, "a run").read_bytes() == CONTENT[:1000]


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = deque([503, 500])
    get(server, tmp_path / "film.mp4")
    server.statuses = deque([404])
    with pytest.raises(ApiError):
        get(server, tmp_path / "other.mp4")


def test_two_commands_do_not_load_one_file_at_a_time(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"

    @contextlib.contextmanager
    def another(size: int, before: int) -> Iterator[Callable[[int], None]]:
        with pytest.raises(CommandError, match="another mediactl is loading") as refused:
            get(server, target)
        assert refused.value.exit_code == REFUSED
        yield lambda _: None

    load(lambda: server.url, target, "a run", another)
    assert target.read_bytes() == CONTENT


def test_what_another_command_completes_meanwhile_is_not_written_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "film.mp4"

    @contextlib.contextmanager
    def late(*_: object) -> Iterator[None]:
        """Get the lock only after the file has its name."""
        partial_file(target, "a run").rename(target)
        yield

    monkeypatch.setattr(downloads, "alone", late)
    with pytest.raises(CommandError, match="another mediactl has just loaded") as refused:
        get(server, target)
    assert refused.value.exit_code == REFUSED
    assert server.asked == []


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file become larger than a third of the content, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_is_full_keeps_what_came_and_is_named(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    with pytest.raises(OSError, match="File too large") as raised:
        get(server, target)
    partial = partial_file(target, "a run")
    assert raised.value.filename == str(partial)
    kept = partial.read_bytes()
    assert CONTENT.startswith(kept)
    assert not target.exists()


@pytest.mark.usefixtures("small_files")
def test_a_state_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    tmp_path: Path,
) -> None:
    file = tmp_path / "state.json"
    write_json(file, "old")
    with pytest.raises(OSError, match="File too large") as raised:
        write_json(file, "x" * len(CONTENT))
    assert raised.value.filename == str(file)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == [file.name]
    assert file.read_text() == '"old"'


def test_a_file_that_came_meanwhile_is_not_replaced(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"

    @contextlib.contextmanager
    def meanwhile(size: int, before: int) -> Iterator[Callable[[int], None]]:
        target.write_bytes(b"of somebody else")
        yield lambda _: None

    with pytest.raises(CommandError, match=r"film\.mp4 exists") as refused:
        load(lambda: server.url, target, "a run", meanwhile)
    assert refused.value.exit_code == REFUSED
    assert target.read_bytes() == b"of somebody else"
    load(lambda: server.url, target, "a run", unseen, replaces=True)
    assert target.read_bytes() == CONTENT
