"""The recordings in docs/ show commands that there are, and nothing of whoever made them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from mediactl_docs import commands
from record_screens import COLUMNS, FOLDER, SCENES, private_in, read_cast, typed_in

MOST_BYTES = 100_000


def recordings() -> list[Path]:
    return sorted(FOLDER.glob("*.cast"))


def test_every_scene_is_recorded_and_nothing_else() -> None:
    assert {path.stem for path in recordings()} == SCENES.keys()


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_a_recording_is_one_that_players_take(path: Path) -> None:
    header, events = read_cast(path)
    assert (header["version"], header["width"]) == (2, COLUMNS)
    times = [seconds for seconds, _ in events]
    assert times == sorted(times)
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_a_recording_shows_commands_that_there_are(path: Path) -> None:
    _, events = read_cast(path)
    typed = list(typed_in(events))
    known = commands()
    assert [line.split()[:3] for line in typed] == [line.split()[:3] for line in SCENES[path.stem]]
    for line in typed:
        program, *words = shlex.split(line)
        assert program == "mediactl"
        name = max((one for one in known if words[: len(one.split())] == one.split()), key=len)
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, line


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_a_recording_tells_nothing_of_machines_accounts_and_tokens(path: Path) -> None:
    _, events = read_cast(path)
    assert list(private_in("".join(text for _, text in events))) == []


@pytest.mark.parametrize(
    "text",
    [
        "/home/ada/film.mp4",
        "arn:aws:iam::123456789012:user/ada",
        "eyJhbGciOiAiUlMyNTYiLCAia2lk",
        "https://example.com/a?Signature=MEYCIQ",
    ],
)
def test_what_is_private_is_known(text: str) -> None:
    assert list(private_in(f"seen: {text}"))
