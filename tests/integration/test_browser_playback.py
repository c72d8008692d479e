"""The eye of the browser tests: whole streams play without a problem, and no mistake escapes it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from browser_playback import PlaybackReport, Sound, play, read_sound, serve
from browser_streams import (
    FRAME_TICKS,
    RATE,
    SEGMENT_FRAMES,
    TONE,
    Stream,
    Track,
    picture_track,
    sound_track,
)

SECONDS = 4
FRAMES = SECONDS * RATE
CHUNK = 2
JOIN = CHUNK * SEGMENT_FRAMES
"""The segment, and its first frame, where tests join chunks."""


@pytest.fixture(scope="module")
def picture() -> Track:
    """Four seconds, encoded in one piece."""
    return picture_track(0, FRAMES)


@pytest.fixture(scope="module")
def small_picture() -> Track:
    """The same in a lower rendition."""
    return picture_track(0, FRAMES, size="160x90")


@pytest.fixture(scope="module")
def sound() -> Track:
    """The tone to the same end."""
    return sound_track(SECONDS)


@pytest.fixture
def played(
    tmp_path: Path, picture: Track, sound: Track
) -> Callable[[Track | None, Track | None], PlaybackReport]:
    """Plays a stream of the tracks given, twice as fast as life."""

    def run(changed_picture: Track | None, changed_sound: Track | None = None) -> PlaybackReport:
        Stream({180: changed_picture or picture}, changed_sound or sound).write(tmp_path)
        with serve(tmp_path) as url:
            return play(
                f"{url}/master.m3u8",
                numbered=True,
                tone=TONE,
                rate=2 if changed_sound is None else 1,
                stall_seconds=5,
            )

    return run


def test_chunks_of_different_encoders_play_as_one(
    tmp_path: Path, small_picture: Track, sound: Track
) -> None:
    chunks = picture_track(0, JOIN).joined(picture_track(JOIN, FRAMES), CHUNK)
    Stream({180: chunks, 90: small_picture}, sound).write(tmp_path)
    with serve(tmp_path) as url:
        report = play(f"{url}/master.m3u8", numbered=True, tone=TONE, rotate=True)
    assert report.problems(frames=FRAMES) == []
    assert report.buffered == ((0, SECONDS),)
    assert report.joins == (0, 1, 2, 3)
    assert {switch["height"] for switch in report.switches} == {90, 180}
    assert report.frames is not None
    assert report.frames.shown + len(report.frames.late) == FRAMES


def test_a_stream_that_grows_plays_to_its_end(
    tmp_path: Path, small_picture: Track, sound: Track
) -> None:
    stream = Stream({90: small_picture}, sound)
    listed = 2
    stream.write(tmp_path, segments=listed)

    def publish(path: str) -> None:
        nonlocal listed
        if path == "/v90/playlist.m3u8":
            stream.write(tmp_path, segments=listed)
            listed += 1

    with serve(tmp_path, publish) as url:
        report = play(f"{url}/master.m3u8", numbered=True, tone=TONE)
    assert report.problems(frames=FRAMES, may_wait=True) == []
    assert report.live_updates == 2


def test_a_dash_manifest_plays(tmp_path: Path, picture: Track, sound: Track) -> None:
    Stream({180: picture}, sound).write(tmp_path)
    with serve(tmp_path) as url:
        report = play(f"{url}/manifest.mpd", engine="dash", numbered=True, tone=TONE)
    assert report.problems(frames=FRAMES) == []


def test_a_missing_segment_is_seen(played: Callable[..., PlaybackReport], picture: Track) -> None:
    problems = played(picture.without(CHUNK)).problems(frames=FRAMES)
    assert any("/v180/2.m4s answered 404" in problem for problem in problems)
    assert any(problem.startswith("stopped at 2") for problem in problems)
    assert any(problem.startswith("video is buffered as [(0, 2)]") for problem in problems)


def test_a_chunk_that_comes_too_late_is_seen(
    played: Callable[..., PlaybackReport], picture: Track
) -> None:
    problems = played(picture.shifted(CHUNK, 5 * FRAME_TICKS)).problems(frames=FRAMES)
    assert any("bufferSeekOverHole" in problem for problem in problems)
    assert any(problem.startswith("video is buffered in 2 pieces") for problem in problems)


@pytest.mark.parametrize("frames", [1, -1])
def test_a_chunk_that_is_one_frame_off_is_seen(
    played: Callable[..., PlaybackReport], picture: Track, frames: int
) -> None:
    report = played(picture.shifted(CHUNK, frames * FRAME_TICKS))
    assert report.problems(frames=FRAMES)
    assert report.frames is not None
    assert report.frames.missing
    assert (JOIN + frames, JOIN) in report.frames.wrong_pictures


def test_a_frame_that_is_lost_at_a_join_is_seen(
    played: Callable[..., PlaybackReport], picture: Track
) -> None:
    short = picture_track(0, JOIN - 1)
    report = played(short.joined(picture_track(JOIN, FRAMES), CHUNK))
    assert report.problems(frames=FRAMES) == [
        f"{FRAMES - 1} of {FRAMES} frames were decoded",
        f"1 frames are missing: [{JOIN - 1}]",
    ]


def test_a_frame_that_is_shown_twice_at_a_join_is_seen(
    played: Callable[..., PlaybackReport], picture: Track
) -> None:
    again = picture_track(JOIN - 1, FRAMES - 1, first=JOIN)
    (problem,) = played(picture.joined(again, CHUNK)).problems(frames=FRAMES)
    assert problem.startswith(f"{FRAMES - JOIN} frames show another picture: [({JOIN}, {JOIN - 1})")


def test_a_hole_in_the_sound_is_seen(played: Callable[..., PlaybackReport], sound: Track) -> None:
    problems = played(None, sound.without_fragment(1, 1)).problems(frames=FRAMES)
    assert any(problem.startswith("audio is buffered in 2 pieces") for problem in problems)


def test_silence_in_the_sound_is_heard(played: Callable[..., PlaybackReport]) -> None:
    report = played(None, sound_track(SECONDS, silent=(2.1, 2.2)))
    assert report.sound is not None
    (dropout,) = report.sound.dropouts
    assert (dropout.at, dropout.seconds) == pytest.approx((2.1, 0.1), abs=0.03)
    assert len(report.problems(frames=FRAMES)) == 1 + len(report.sound.jumps)


def test_a_lost_piece_of_a_tone_is_a_jump_of_its_phase() -> None:
    even = [(0.06, 0.1)] * 300
    assert read_sound(even, phases=True) == Sound(seconds=3, loudness=0.06, dropouts=(), jumps=())
    lost = even[:150] + [(0.06, 2.5)] * 150
    heard = read_sound(lost, phases=True)
    assert heard is not None
    assert heard.jumps == (1.5,)


def test_silence_is_no_sound() -> None:
    assert read_sound([(0.0, 0.0)] * 100, phases=False) is None


def test_streams_of_the_tests_are_what_they_say(picture: Track, sound: Track) -> None:
    assert [segment.seconds for segment in picture.segments] == [1] * SECONDS
    assert abs(sum(segment.seconds for segment in sound.segments) - SECONDS) < Fraction(1, 40)
