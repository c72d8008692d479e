"""Records what the main commands show in a terminal, into docs/recordings/*.cast (asciicast v2).

It runs them against the local plane of this checkout, which must be up (`mediactl local up`), in a
real terminal of 80 columns, and refuses to keep what names this machine, an account or a token.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from terminal import Terminal

from mediactl.local.sample import make_sample
from mediactl.local.state import DEFAULT_FOLDER

REPOSITORY = Path(__file__).parent.parent
FOLDER = REPOSITORY / "docs/recordings"
MEDIACTL = Path(sys.executable).parent / "mediactl"

COLUMNS, ROWS = 80, 40
PROMPT = "$ "
TYPED = "\x1b[1m"
"""What makes the words bold that a person typed."""

SCENES: dict[str, list[str]] = {
    "upload": [
        "mediactl videos upload harbour.mp4 --duplicates keep --wait",
        "mediactl videos list",
        "mediactl videos show VIDEO",
    ],
    "operate": [
        "mediactl status",
        "mediactl top",
        "mediactl logs --video VIDEO",
        "mediactl dlq list",
        "mediactl keys list",
    ],
    "check": ["mediactl smoke --no-purge", "mediactl seed --dry-run"],
    "costs": [
        "mediactl costs list --by video --since 30d",
        "mediactl costs breaker",
        "mediactl estimate dev --prices table",
    ],
}
"""The recordings by name: what is typed, with ``VIDEO`` for the id of the newest video."""

_LONGEST_PAUSE = 1.0
_READING = 2.0
"""Seconds in which somebody looks at what a command showed."""

_PRIVATE = {
    "a path of a machine": re.compile(r"/(?:tmp|work|home|root|Users|opt|var|mnt|srv)/\S*"),
    "an account": re.compile(r"(?<![\d.-])(?!0{12})\d{12}(?![\d.-])"),
    "a token": re.compile(r"eyJ[\w-]{10,}|AKIA[A-Z0-9]{12,}|Signature=\S+"),
}

Event = tuple[float, str]
"""Seconds since the beginning, and what was shown."""


def private_in(text: str) -> Iterator[str]:
    """Yield what must not be kept, with what it is."""
    for what, pattern in _PRIVATE.items():
        yield from (f"{what}: {found}" for found in pattern.findall(text))


def typed_in(events: Iterable[Event]) -> Iterator[str]:
    """Yield the commands that a recording shows: what follows a prompt."""
    for (_, before), (_, text) in pairwise(events):
        if before == PROMPT:
            yield text.removeprefix(TYPED).partition("\x1b")[0]


def read_cast(path: Path) -> tuple[dict[str, object], list[Event]]:
    """Return header and events of a recording."""
    header, *lines = path.read_text().splitlines()
    return json.loads(header), [(seconds, text) for seconds, _, text in map(json.loads, lines)]


def main() -> None:
    """Record all scenes, or those that are named."""
    names = sys.argv[1:] or list(SCENES)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_sample(home / "harbour.mp4", seconds=12, width=1280, height=720)
        state = json.dumps(str(REPOSITORY / DEFAULT_FOLDER))
        app = json.dumps(str(REPOSITORY))
        settings = f"[environments.local]\nstate_dir = {state}\napp = {app}\n"
        (home / "mediactl.toml").write_text(settings)
        for name in names:
            events = list(_recorded(SCENES[name], home))
            shown = "".join(text for _, text in events)
            if problems := list(private_in(shown)):
                sys.exit(f"{name} shows what it must not:\n" + "\n".join(problems))
            _write(FOLDER / f"{name}.cast", name, events)


def _recorded(lines: list[str], home: Path) -> Iterator[Event]:
    at = 0.0
    for line in lines:
        if "VIDEO" in line:
            line = line.replace("VIDEO", _newest_video(home))  # noqa: PLW2901 - as it is typed
        yield at, PROMPT
        at += _LONGEST_PAUSE
        yield at, f"{TYPED}{line}\x1b[0m\r\n"
        before = 0.0
        for seconds, text in _shown(line, home):
            at += min(seconds - before, _LONGEST_PAUSE)
            before = seconds
            yield at, text
        at += _READING
    yield at, PROMPT


def _shown(line: str, home: Path) -> Iterator[Event]:
    terminal = Terminal(
        [str(MEDIACTL), *shlex.split(line)[1:]],
        _environment(home),
        columns=COLUMNS,
        rows=ROWS,
        folder=home,
    )
    terminal.end()
    decoder = codecs.getincrementaldecoder("utf-8")()
    for seconds, block in terminal.blocks:
        if text := decoder.decode(block):
            yield seconds, text


def _environment(home: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MEDIACTL_")}
    return {**ours, "HOME": str(home)}


def _newest_video(home: Path) -> str:
    answer = subprocess.run(
        [MEDIACTL, "videos", "list", "--json"],
        cwd=home,
        env=_environment(home),
        capture_output=True,
        check=True,
        text=True,
    )
    video: str = json.loads(answer.stdout)["videos"][0]["video_id"]
    return video


def _write(path: Path, name: str, events: list[Event]) -> None:
    header = {
        "version": 2,
        "width": COLUMNS,
        "height": ROWS,
        "title": f"mediactl: {name}",
        "env": {"TERM": "xterm-256color"},
    }
    lines = [json.dumps(header), *(json.dumps([round(at, 3), "o", text]) for at, text in events)]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
