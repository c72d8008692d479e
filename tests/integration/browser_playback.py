"""Plays a stream in headless Chromium with hls.js or dash.js, and says what was wrong with it.

    assert play(url).problems() == []

The browser is the one that the variable ``CHROMIUM`` names, else one of this machine, else the one
that ``make browser`` installs below ``tests/integration/browser``.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

FOLDER = Path(__file__).parent / "browser"
UNPACKED = FOLDER / "node_modules" / ".chromium"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")

NO_BROWSER = 3
"""Exit code of the driver when no browser can play H.264 and AAC."""

WINDOW_SECONDS = 0.01
"""Length of sound that one pair of loudness and phase stands for."""

QUIET = 0.3
"""Share of the usual loudness below which a tone that sounds all the time has dropped out."""

PLENTY_SECONDS = 1
"""Who has so much ahead does not wait for the stream."""

ATTEMPTS = 3
"""How often a stream is played on a machine that seems to be too slow for it."""

PHASE_JUMP = 0.6
"""Radians by which the phase of the tone may waver between two windows."""


@dataclass(frozen=True)
class Dropout:
    """A hole in the sound.

    Attributes:
        at: Seconds since sound was first heard.
        seconds: Length.
    """

    at: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What was heard.

    Attributes:
        seconds: From the first to the last window that is not silent.
        loudness: Median of the windows, 0 to 1; 0 if nothing was heard.
        dropouts: Where it was silent in between.
        jumps: Seconds since sound was first heard at which the tone lost its phase. Empty without a
            tone, and when the stream was not played at the speed of life.
    """

    seconds: float
    loudness: float
    dropouts: tuple[Dropout, ...]
    jumps: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Which frames were shown, by number from 0.

    Attributes:
        expected: Frames that the duration holds.
        shown: How many different frames were presented while playing.
        late: Not presented while playing, but found afterwards: the machine was too slow.
        missing: The stream has no picture for their time.
        off_grid: Times of pictures that belong to no frame.
        backward: Times of pictures that came after a later one.
        wrong_pictures: Frames that show a picture of another number.
    """

    expected: int
    shown: int
    late: tuple[int, ...]
    missing: tuple[int, ...]
    off_grid: tuple[float, ...]
    backward: tuple[float, ...]
    wrong_pictures: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class PlaybackReport:
    """What became of one playback.

    Attributes:
        browser: Version of the browser.
        ended: Whether the end was reached.
        stopped: Why playback was given up, if it was.
        position: Where it stood at last, in seconds.
        duration: Length as the player knows it, in seconds.
        frame_rate: Frames per second.
        errors: What the player reported: ``details``, ``fatal``, ``reason``, ``status``, ``at``.
        failed_requests: Status and URL of answers with an error.
        waits: Where it paused after it had begun: ``at``, and what was buffered from there on,
            ``ahead``, both in seconds.
        buffered: Ranges that can be played, in seconds.
        tracks: The same for each track, as far as the player tells.
        joins: Where segments of the rendition that was played last begin, in seconds.
        decoded_frames: Frames that left the decoder until the end.
        dropped_frames: Those of them that came too late to be shown.
        levels: Lines of the renditions.
        switches: Changes of rendition: ``at``, ``height``. The first is the one it began with.
        live_updates: Versions of the media playlist that were read before the last one.
        frames: Which frames were shown; ``None`` if the end was not reached.
        sound: What was heard; ``None`` if nothing was.
        rate: How many times faster than life it was played.
        tone: Whether a tone was to sound all the time.
    """

    browser: str
    ended: bool
    stopped: str | None
    position: float
    duration: float | None
    frame_rate: float
    errors: tuple[dict[str, Any], ...]
    failed_requests: tuple[tuple[int, str], ...]
    waits: tuple[dict[str, float], ...]
    buffered: tuple[tuple[float, float], ...]
    tracks: dict[str, list[tuple[float, float]]]
    joins: tuple[float, ...]
    decoded_frames: int
    dropped_frames: int
    levels: tuple[int, ...]
    switches: tuple[dict[str, Any], ...]
    live_updates: int
    frames: Frames | None
    sound: Sound | None
    rate: float
    tone: bool

    @property
    def starved(self) -> bool:
        """Whether playback paused although what follows was there: the machine may be too slow."""
        return len(self.buffered) == 1 and any(
            wait["ahead"] > PLENTY_SECONDS for wait in self.waits
        )

    def problems(
        self, *, frames: int | None = None, silent: bool = False, may_wait: bool = False
    ) -> list[str]:
        """Return everything that a viewer should not have met, a sentence each.

        Args:
            frames: Frames that the stream must have. Default: as many as its duration holds.
            silent: Whether the stream has no sound.
            may_wait: Whether playback may pause, as in a stream that is still being made.
        """
        found = [*self._problems_of_playing(may_wait=may_wait), *self._problems_of_buffers()]
        if self.frames is not None:
            found += self._problems_of_frames(self.frames, frames)
        if silent:
            if self.sound is not None:
                found.append("there is sound in a silent stream")
        else:
            found += self._problems_of_sound(paused=may_wait and bool(self.waits))
        return found

    def _problems_of_playing(self, *, may_wait: bool) -> Iterator[str]:
        if not self.ended:
            yield f"stopped at {self.position} s: {self.stopped}"
        stalled = {"bufferStalledError"} if may_wait else set()
        for error in self.errors:
            if error["details"] not in stalled:
                yield f"{error['details']} at {error['at']} s: {error['reason']}"
        for status, url in self.failed_requests:
            yield f"{url} answered {status}"
        if not may_wait:
            for wait in self.waits:
                yield f"playback paused at {wait['at']} s, with {wait['ahead']} s ahead of it"

    def _problems_of_buffers(self) -> Iterator[str]:
        for name, ranges in {"playback": self.buffered, **self.tracks}.items():
            if len(ranges) != 1:
                yield f"{name} is buffered in {len(ranges)} pieces: {list(ranges)}"
            elif self.duration is None or ranges[0][0] > 0 or ranges[0][1] < self.duration - 0.05:
                yield f"{name} is buffered as {list(ranges)} of {self.duration} s"

    def _problems_of_frames(self, seen: Frames, frames: int | None) -> Iterator[str]:
        expected = seen.expected if frames is None else frames
        if seen.expected != expected:
            yield f"the duration holds {seen.expected} frames, not {expected}"
        if self.decoded_frames != expected:
            yield f"{self.decoded_frames} of {expected} frames were decoded"
        for what, which in (
            ("frames are missing", seen.missing),
            ("pictures are off the grid", seen.off_grid),
            ("pictures came after later ones", seen.backward),
            ("frames show another picture", seen.wrong_pictures),
        ):
            if which:
                yield f"{len(which)} {what}: {list(which[:8])}"

    def _problems_of_sound(self, *, paused: bool) -> Iterator[str]:
        if self.sound is None:
            yield "nothing was heard"
            return
        if self.tone and not paused:
            for dropout in self.sound.dropouts:
                yield f"no sound for {dropout.seconds:.2f} s at {dropout.at:.2f} s"
            for at in self.sound.jumps:
                yield f"the tone jumps at {at:.2f} s"
            played = (self.duration or 0) / self.rate
            if self.ended and self.sound.seconds < played - 0.25:
                yield f"sound was heard for {self.sound.seconds:.2f} of {played:.2f} s"


def read_sound(windows: Sequence[tuple[float, float]], *, phases: bool) -> Sound | None:
    """Return what a series of loudness and phase, one pair per 10 ms, tells; ``None`` for silence.

    Args:
        windows: The series.
        phases: Whether the phases are those of a tone.
    """
    audible = sorted(loudness for loudness, _ in windows if loudness > 0.001)
    if not audible:
        return None
    usual = audible[len(audible) // 2]
    heard = [i for i, (loudness, _) in enumerate(windows) if loudness >= QUIET * usual]
    begin, end = heard[0], heard[-1] + 1
    dropouts = [
        Dropout((before + 1 - begin) * WINDOW_SECONDS, (after - before - 1) * WINDOW_SECONDS)
        for before, after in itertools.pairwise(heard)
        if after - before > 1
    ]
    jumps: list[float] = []
    # The encoder needs a moment for the first sound, and the last frame is padded.
    for i in range(begin + 10, end - 10) if phases else ():
        turned = math.remainder(windows[i][1] - windows[i - 2][1], math.tau)
        at = (i - begin) * WINDOW_SECONDS
        if abs(turned) > PHASE_JUMP and not (jumps and at - jumps[-1] < 0.1):
            jumps.append(at)
    return Sound(
        seconds=(end - begin) * WINDOW_SECONDS,
        loudness=usual,
        dropouts=tuple(dropouts),
        jumps=tuple(jumps),
    )


def play(
    url: str,
    *,
    engine: Literal["hls", "dash"] = "hls",
    cookies: Mapping[str, str] | None = None,
    height: int | None = None,
    rotate: bool = False,
    rate: float = 1,
    frame_rate: float | None = None,
    numbered: bool = False,
    tone: float | None = None,
    joins_only: bool = False,
    stall_seconds: float = 20,
    timeout_seconds: float = 300,
) -> PlaybackReport:
    """Play a stream from its beginning to its end and return what there was to see and hear.

    A machine that is busy with other things may be too slow to play. Then it is tried again, and
    what is wrong with the stream is wrong again.

    Args:
        url: Multivariant playlist or DASH manifest, on 127.0.0.1.
        engine: The player.
        cookies: Cookies that the browser has for the origin of ``url``.
        height: Lines of the rendition to stay with. Default: what the player chooses.
        rotate: Take another rendition for every segment (hls.js only).
        rate: How many times faster than life it is played. The phase of a tone is watched at 1.
        frame_rate: Frames per second. Default: as the playlist says.
        numbered: Whether pictures carry their number as those of ``browser_streams`` do.
        tone: Hertz of the tone that sounds from the beginning to the end, if one does.
        joins_only: Look up frames that were not presented only within three frames of a segment
            boundary (hls.js only): for what is long, or played fast.
        stall_seconds: How long nothing may move before playback is given up.
        timeout_seconds: How long the whole may take.

    Raises:
        RuntimeError: If the driver failed, with the end of what it said.
        subprocess.TimeoutExpired: If it took longer than ``timeout_seconds``.
    """
    request = {
        "page": "page.html",
        "cookies": dict(cookies or {}),
        "engine": engine,
        "url": url,
        "height": height,
        "rotate": rotate,
        "rate": rate,
        "frame_rate": frame_rate,
        "numbered": numbered,
        "tone": tone,
        "joins_only": joins_only and engine == "hls",
        "stall_seconds": stall_seconds,
    }
    for _ in range(ATTEMPTS):
        report = _read_report(drive(request, timeout_seconds), rate=rate, tone=tone)
        if not report.starved:
            break
    return report


def _read_report(answer: dict[str, Any], *, rate: float, tone: float | None) -> PlaybackReport:
    windows, frames = answer.pop("sound"), answer.pop("frames")
    return PlaybackReport(
        **_with_tuples(answer),
        frames=Frames(**_with_tuples(frames)) if frames else None,
        sound=read_sound(windows, phases=tone is not None and rate == 1),
        rate=rate,
        tone=tone is not None,
    )


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in values.items()}


def _tuples(value: Any) -> Any:
    """Return a value with tuples for lists."""
    if isinstance(value, dict):
        return _with_tuples(value)
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def drive(request: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    """Run the driver; whatever happens, neither it nor its browser stays behind.

    Args:
        request: What it is asked for: the ``page``, under the origin of a ``url`` on 127.0.0.1, its
            ``cookies``, and what the function of the page takes.
        timeout_seconds: How long the whole may take.

    Raises:
        RuntimeError: If the driver failed, with the end of what it said.
        subprocess.TimeoutExpired: If it took longer than ``timeout_seconds``.
    """
    request = {**request, "candidates": _candidates()}
    with tempfile.TemporaryDirectory(prefix="browser-") as scratch:
        driver = subprocess.Popen(
            ["node", FOLDER / "drive.mjs"],  # noqa: S607 - the one that make found
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the tests alone, which then stop the driver.
            start_new_session=True,
        )
        assert driver.stdin is not None
        try:
            driver.stdin.write(f"{json.dumps({**request, 'scratch': scratch})}\n")
            driver.stdin.flush()
            # communicate() would close standard input, on which the driver ends.
            output, log = _read_both(driver, timeout_seconds)
        finally:
            _end(driver)
    if driver.returncode == NO_BROWSER:
        _no_browser(log)
    if driver.returncode or not output:
        raise RuntimeError(f"the browser driver ended with {driver.returncode}: {log[-2000:]}")
    report: dict[str, Any] = json.loads(output)
    return report


def _read_both(driver: subprocess.Popen[str], timeout_seconds: float) -> tuple[str, str]:
    assert driver.stdout is not None
    assert driver.stderr is not None
    read: dict[str, str] = {}
    streams = {"output": driver.stdout, "log": driver.stderr}
    readers = [
        threading.Thread(target=lambda n=name, s=stream: read.update({n: s.read()}), daemon=True)
        for name, stream in streams.items()
    ]
    for reader in readers:
        reader.start()
    driver.wait(timeout_seconds)
    for reader in readers:
        reader.join()
    return read["output"], read["log"]


def _end(driver: subprocess.Popen[str]) -> None:
    """Let the driver close its browser; it does so when its input ends."""
    assert driver.stdin is not None
    driver.stdin.close()
    try:
        driver.wait(10)
    except subprocess.TimeoutExpired:
        driver.kill()  # the browser ends with the pipe that the driver spoke through
        driver.wait()


@functools.cache
def _candidates() -> list[dict[str, Any]]:
    """Return browsers to try, first choice first."""
    if not (FOLDER / "node_modules" / ".ready").exists():
        pytest.fail("the browser tests are not installed: run `make browser`", pytrace=False)
    if chosen := os.environ.get("CHROMIUM"):
        return [{"path": chosen, "env": {}}]
    found = [path for name in NAMES if (path := shutil.which(name))]
    if MAC.exists():
        found.append(str(MAC))
    candidates: list[dict[str, Any]] = [{"path": path, "env": {}} for path in found]
    if _runs_the_packaged_one():
        libraries = str(UNPACKED / "al2023" / "lib")
        environment = {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_PATH": str(UNPACKED / "fonts")}
        candidates.append({"path": str(UNPACKED / "chromium"), "env": environment})
    return candidates


def _runs_the_packaged_one() -> bool:
    """Tell whether the Chromium of the package is made for this machine."""
    return (platform.system(), platform.machine(), platform.libc_ver()[0]) == (
        "Linux",
        "x86_64",
        "glibc",
    )


def _no_browser(log: str) -> None:
    """Skip where no package has a browser for this machine; anywhere else one must play."""
    if "CHROMIUM" in os.environ or _runs_the_packaged_one():
        pytest.fail(f"no browser plays H.264 and AAC:\n{log}", pytrace=False)
    pytest.skip(
        "no Chromium or Chrome with H.264 and AAC is installed, and the packaged one is for Linux"
        f" on x86-64 with glibc: install one, or name it in CHROMIUM ({log.strip()})"
    )


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 - as the base class has it
        ".m3u8": "application/vnd.apple.mpegurl",
        ".mpd": "application/dash+xml",
        ".m4s": "video/iso.segment",
        ".mp4": "video/mp4",
        "": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Keep browsers from taking yesterday's playlist."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the report tells of failed requests."""


@contextmanager
def serve(folder: Path, before: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """Serve a folder on a free port of 127.0.0.1; yields its URL, without a slash at the end.

    Args:
        folder: What is served.
        before: Called with the path of every request before it is answered.
    """

    class Handler(_Handler):
        def do_GET(self) -> None:
            before(self.path)
            super().do_GET()

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
