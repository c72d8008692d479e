"""DASH: ffmpeg plays what the manifest describes, and its times are those of the segments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from published import GRID, Track, audio_track, run, video_track

from media_worker.boxes import avc_codec
from media_worker.dash import (
    AudioRepresentation,
    MediaTrack,
    TextRepresentation,
    VideoRepresentation,
    manifest,
)

NAMES = {"": "urn:mpeg:dash:schema:mpd:2011"}
FRAMES = 225
SUBTITLES = "WEBVTT\n\n00:01.000 --> 00:02.500\nHallo\n"
ANY_NAME = ("-allowed_extensions", "ALL")
"""ffmpeg takes no file for subtitles by its name."""


@pytest.fixture(scope="module")
def tracks() -> dict[str, Track]:
    source = ("-f", "lavfi", "-i", "testsrc2=s=384x216:r=25:d=9")
    tone = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=9")
    return {
        "v216": video_track(*source, height=216),
        "v108": video_track(*source, height=108),
        "audio": audio_track(*tone),
    }


def publish(track: Track, folder: Path, name: str, attempts: tuple[int, int, int]) -> MediaTrack:
    """Write a track as a run does, in one folder for each attempt."""
    timescale = 48_000 if name == "audio" else GRID.timescale
    place = folder / name
    place.mkdir()
    (place / "init.mp4").write_bytes(track.init)
    listed = []
    for attempt, segment in zip(attempts, track.segments, strict=True):
        (place / str(attempt)).mkdir(exist_ok=True)
        (place / str(attempt) / segment.name).write_bytes(segment.data)
        uri = f"{name}/{attempt}/{segment.name}"
        listed.append((uri, int(segment.duration * timescale)))
    return MediaTrack(timescale=timescale, init_uri=f"{name}/init.mp4", segments=listed)


def written(
    tracks: dict[str, Track], folder: Path, attempts: tuple[int, int, int], sound: bool = True
) -> Path:
    videos = [
        VideoRepresentation(
            name=name,
            width=width,
            height=height,
            bandwidth=bandwidth,
            codecs=avc_codec(tracks[name].init),
            track=publish(tracks[name], folder, name, attempts),
        )
        for name, width, height, bandwidth in (
            ("v216", 384, 216, 500_000),
            ("v108", 192, 108, 200_000),
        )
    ]
    sounds = [
        AudioRepresentation(
            name="audio",
            bandwidth=160_000,
            codecs="mp4a.40.2",
            channels=2,
            language="de",
            label='Ton & "Bild" <1>',
            default=True,
            track=publish(tracks["audio"], folder, "audio", attempts),
        )
    ]
    subtitles = folder / "text0/1/a.vtt"
    subtitles.parent.mkdir(parents=True)
    subtitles.write_text(SUBTITLES)
    target = folder / "manifest.mpd"
    target.write_text(
        manifest(
            seconds=Fraction(9),
            frame_rate=Fraction(25),
            videos=videos,
            sounds=sounds if sound else (),
            texts=[TextRepresentation(name="text0", uri="text0/1/a.vtt", language="fr", label=None)]
            if sound
            else (),
        )
    )
    return target


def hashes(*arguments: str | Path) -> list[str]:
    lines = run(*arguments, "-f", "framehash", "-").decode().splitlines()
    return [line.rsplit(",", 1)[1].strip() for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("attempts", [(1, 1, 1), (1, 3, 3)], ids=["template", "list"])
def test_ffmpeg_plays_every_frame_of_every_rung(
    tracks: dict[str, Track], tmp_path: Path, attempts: tuple[int, int, int]
) -> None:
    target = written(tracks, tmp_path, attempts, sound=False)
    for number, name in enumerate(("v216", "v108")):
        plain = tmp_path / f"{name}.mp4"
        plain.write_bytes(tracks[name].stream)
        played = hashes("-i", target, "-map", f"0:v:{number}")
        assert played == hashes("-i", plain)
        assert len(played) == FRAMES


def test_ffmpeg_plays_the_sound(tracks: dict[str, Track], tmp_path: Path) -> None:
    target = written(tracks, tmp_path, (1, 2, 2))
    plain = tmp_path / "audio.mp4"
    plain.write_bytes(tracks["audio"].stream)
    assert hashes(*ANY_NAME, "-i", target, "-map", "0:a:0") == hashes("-i", plain)


def test_ffmpeg_shows_the_subtitles(tracks: dict[str, Track], tmp_path: Path) -> None:
    target = written(tracks, tmp_path, (1, 2, 2))
    text = run(*ANY_NAME, "-i", target, "-map", "0:s:0", "-f", "webvtt", "-").decode()
    assert text == SUBTITLES


@pytest.mark.parametrize(
    ("attempts", "profile"), [((2, 2, 2), "isoff-live"), ((1, 2, 2), "isoff-main")]
)
def test_times_are_those_of_the_segments(
    tracks: dict[str, Track], tmp_path: Path, attempts: tuple[int, int, int], profile: str
) -> None:
    root = ET.fromstring(written(tracks, tmp_path, attempts).read_text())  # noqa: S314 - our own
    assert root.get("profiles") == f"urn:mpeg:dash:profile:{profile}:2011"
    assert root.get("mediaPresentationDuration") == "PT9S"
    for representation in root.iterfind(".//Representation", NAMES):
        name = representation.get("id")
        if name == "text0":
            continue
        assert name is not None
        group = representation[-1]
        timescale = int(group.get("timescale", "1"))
        ticks = [
            int(entry.get("d", "0"))
            for entry in group.iterfind("SegmentTimeline/S", NAMES)
            for _ in range(int(entry.get("r", "0")) + 1)
        ]
        durations = [segment.duration for segment in tracks[name].segments]
        assert [Fraction(tick, timescale) for tick in ticks] == durations
        if profile == "isoff-live":
            assert group.get("media") == f"{name}/2/$Number%06d$.m4s"
            assert group.get("startNumber") == "0"
        else:
            uris = [url.get("media") for url in group.iterfind("SegmentURL", NAMES)]
            assert uris == [f"{name}/{a}/{n:06d}.m4s" for n, a in enumerate(attempts)]
            # One element for each, since dash.js finds no others.
            assert len(group.findall("SegmentTimeline/S", NAMES)) == len(uris)


def test_tracks_are_told_apart(tracks: dict[str, Track], tmp_path: Path) -> None:
    root = ET.fromstring(written(tracks, tmp_path, (1, 1, 1)).read_text())  # noqa: S314 - our own
    video, sound, text = root.iterfind("Period/AdaptationSet", NAMES)
    assert [r.get("id") for r in video.iterfind("Representation", NAMES)] == ["v216", "v108"]
    assert (video.get("frameRate"), video.get("par")) == ("25", "16:9")
    assert sound.get("lang") == "de"
    assert sound.findtext("Label", None, NAMES) == 'Ton & "Bild" <1>'
    # The schema wants the label before the role.
    assert [child.tag.rpartition("}")[2] for child in sound] == ["Label", "Role", "Representation"]
    assert text.get("lang") == "fr"
    assert text.get("mimeType") == "text/vtt"
    assert text.findtext("Representation/BaseURL", None, NAMES) == "text0/1/a.vtt"


def video(segments: list[tuple[str, int]], init: str = "i.mp4") -> VideoRepresentation:
    return VideoRepresentation(
        name="v",
        width=2,
        height=2,
        bandwidth=1,
        codecs="avc1.64001e",
        track=MediaTrack(timescale=30000, init_uri=init, segments=segments),
    )


def test_dollar_in_a_name_is_no_template() -> None:
    text = manifest(
        seconds=Fraction(1),
        frame_rate=Fraction(30000, 1001),
        videos=[video([("a$b/07.m4s", 1001)], "a$b/i.mp4")],
    )
    assert 'media="a$$b/$Number%02d$.m4s"' in text
    assert 'initialization="a$$b/i.mp4"' in text
    assert 'startNumber="7"' in text
    assert 'frameRate="30000/1001"' in text


def test_ten_hours_are_described_in_a_few_lines() -> None:
    segments = [(f"v/1/{number:06d}.m4s", 120120) for number in range(9000)]
    text = manifest(
        seconds=Fraction(36036), frame_rate=Fraction(30000, 1001), videos=[video(segments)]
    )
    assert len(text) < 2000


def test_nothing_to_play_is_refused() -> None:
    with pytest.raises(ValueError, match="videos is empty"):
        manifest(seconds=Fraction(1), frame_rate=Fraction(25), videos=[])
    with pytest.raises(ValueError, match="has no segments"):
        manifest(seconds=Fraction(1), frame_rate=Fraction(25), videos=[video([])])
