"""Boxes and the grid: what is not exactly as planned is refused before publishing."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from clips import H264, FolderSink, bench, decoded, make, picture, plan_of, sound

from media_worker.boxes import BoxError, Fragment, avc_codec, boxes, read_fragments
from media_worker.encode import encode_video
from media_worker.faults import BadInputError, TransientError
from media_worker.planning import FrameRange, Plan
from media_worker.segments import (
    AUDIO_FRAGMENT,
    AUDIO_FRAGMENT_FRAMES,
    AUDIO_RATE,
    AudioSegmenter,
    GridError,
    Segment,
    VideoGrid,
    VideoSegmenter,
)

GRID = VideoGrid(timescale=12800, frame_ticks=512, gop_frames=50, segment_frames=100)
FRAMES = 225


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, FolderSink, Path]:
    """Nine seconds, encoded in one go."""
    folder = tmp_path_factory.mktemp("encoded")
    path = make(folder / "clip.mp4", *picture(9), *sound(9), *H264, "-g", "70", "-c:a", "aac")
    sink = FolderSink(folder)
    with bench(path, folder) as workbench:
        plan = plan_of(path, workbench)
        encode_video(plan, FrameRange(0, None), workbench, sink)
    return plan, sink, path


def stream(sink: FolderSink) -> bytes:
    init = (sink.folder / "0/init.mp4").read_bytes()
    return init + b"".join(segment.data for segment in sink.segments["0"])


def fragments(data: bytes) -> list[Fragment]:
    return [part for part in read_fragments(io.BytesIO(data)) if isinstance(part, Fragment)]


def test_fragments_say_where_they_are(encoded: tuple[Plan, FolderSink, Path]) -> None:
    found = fragments(stream(encoded[1]))
    assert [fragment.samples for fragment in found] == [50, 50, 50, 50, 25]
    assert [fragment.decode_time for fragment in found] == [512 * 50 * n for n in range(5)]
    assert [fragment.first_pts for fragment in found] == [512 * 50 * n for n in range(5)]
    assert all(fragment.starts_with_sync for fragment in found)
    assert all(fragment.duration == 512 * fragment.samples for fragment in found)


def test_init_names_the_codec(encoded: tuple[Plan, FolderSink, Path]) -> None:
    init = (encoded[1].folder / "0/init.mp4").read_bytes()
    assert avc_codec(init) == "avc1.64001e"
    assert [kind for kind, _ in boxes(init)] == [b"ftyp", b"moov"]
    with pytest.raises(BoxError, match="0 boxes"):
        avc_codec(init[: init.index(b"moov") - 4])


def test_stream_that_is_cut_off_is_refused(encoded: tuple[Plan, FolderSink, Path]) -> None:
    whole = stream(encoded[1])
    for size in (len(whole) - 1, len(whole) - 20_000, len(whole) // 2, 20, 4):
        with pytest.raises(BoxError):
            fragments(whole[:size])


def test_stream_with_other_boxes_is_refused(encoded: tuple[Plan, FolderSink, Path]) -> None:
    whole = stream(encoded[1])
    with pytest.raises(BoxError, match="out of place"):
        fragments(whole.replace(b"moof", b"free", 1))
    with pytest.raises(BoxError, match="claims"):
        fragments(b"\xff\xff\xff\xff" + whole[4:])


def test_stream_without_fragments_has_no_init(encoded: tuple[Plan, FolderSink, Path]) -> None:
    init = (encoded[1].folder / "0/init.mp4").read_bytes()
    assert list(read_fragments(io.BytesIO(init))) == []


def test_segments_are_cut_on_the_grid(encoded: tuple[Plan, FolderSink, Path]) -> None:
    segmenter = VideoSegmenter(GRID, 0)
    found = [segmenter.push(fragment) for fragment in fragments(stream(encoded[1]))]
    assert [segment and (segment.index, segment.samples) for segment in found] == [
        None,
        (0, 100),
        None,
        (1, 100),
        None,
    ]
    last = segmenter.finish()
    assert last is not None
    assert (last.index, last.samples, last.duration) == (2, 25, Fraction(1))
    assert segmenter.frames == FRAMES
    assert segmenter.finish() is None


GOOD = Fragment(
    decode_time=0,
    samples=50,
    duration=50 * 512,
    first_pts=0,
    last_pts=49 * 512,
    starts_with_sync=True,
    data=b"x",
)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"decode_time": 512}, "planned was 0"),
        ({"first_pts": 1024}, "planned was 0"),
        ({"starts_with_sync": False}, "key frame"),
        ({"duration": 50 * 512 + 1}, "evenly"),
        ({"last_pts": 50 * 512}, "evenly"),
        ({"samples": 51, "duration": 51 * 512, "last_pts": 50 * 512}, "off the grid"),
    ],
)
def test_fragment_off_the_grid_is_refused(wrong: dict[str, int], why: str) -> None:
    assert VideoSegmenter(GRID, 0).push(GOOD) is None
    with pytest.raises(GridError, match=why):
        VideoSegmenter(GRID, 0).push(replace(GOOD, **wrong))


def test_short_fragment_is_the_last(encoded: tuple[Plan, FolderSink, Path]) -> None:
    segmenter = VideoSegmenter(GRID, 0)
    segmenter.push(replace(GOOD, samples=25, duration=25 * 512, last_pts=24 * 512))
    follower = replace(GOOD, decode_time=25 * 512, first_pts=25 * 512, last_pts=74 * 512)
    with pytest.raises(GridError, match="off the grid"):
        segmenter.push(follower)


def test_range_starts_with_a_segment() -> None:
    with pytest.raises(ValueError, match="first_frame is 50, not a multiple of 100"):
        VideoSegmenter(GRID, 50)


def audio_fragment(number: int, samples: int = AUDIO_FRAGMENT) -> Fragment:
    start = number * AUDIO_FRAGMENT
    return Fragment(start, AUDIO_FRAGMENT_FRAMES, samples, start, start, True, b"a")


@pytest.mark.parametrize("seconds", [Fraction(4), Fraction(4004, 1000), Fraction(6)])
def test_audio_segments_never_drift_from_the_video(seconds: Fraction) -> None:
    segmenter = AudioSegmenter(seconds)
    pushed = (segmenter.push(audio_fragment(number)) for number in range(500))
    ends = itertools.accumulate(s.duration for s in pushed if s is not None)
    for index, end in enumerate(ends, 1):
        assert abs(end - index * seconds) <= Fraction(AUDIO_FRAGMENT, 2 * AUDIO_RATE)


def test_audio_fragment_off_the_grid_is_refused() -> None:
    segmenter = AudioSegmenter(Fraction(4))
    segmenter.push(audio_fragment(0))
    with pytest.raises(GridError, match="planned was 25600"):
        segmenter.push(audio_fragment(2))
    segmenter.push(audio_fragment(1, samples=AUDIO_FRAGMENT - 100))
    late = replace(audio_fragment(2), decode_time=51100, first_pts=51100)
    with pytest.raises(GridError, match="off the grid"):
        segmenter.push(late)


def test_ranges_join_to_what_one_encode_yields(
    encoded: tuple[Plan, FolderSink, Path], tmp_path: Path
) -> None:
    """Whoever encodes a range, in whatever order: one init segment, and no frame twice or never."""
    plan, whole, path = encoded
    sink = FolderSink(tmp_path)
    inits = set()
    with bench(path, tmp_path) as workbench:
        for frames in (FrameRange(200, None), FrameRange(0, 100), FrameRange(100, 200)):
            encode_video(plan, frames, workbench, sink)
            inits.add((tmp_path / "0/init.mp4").read_bytes())
    assert inits == {(whole.folder / "0/init.mp4").read_bytes()}
    sink.segments["0"].sort(key=lambda segment: segment.index)
    assert [(s.index, s.samples) for s in sink.segments["0"]] == [(0, 100), (1, 100), (2, 25)]
    times = decoded(sink.playlist(0))
    assert len(times) == FRAMES
    assert {after - before for before, after in itertools.pairwise(times)} == {times[1] - times[0]}


def test_range_that_is_not_there_is_a_fault(
    encoded: tuple[Plan, FolderSink, Path], tmp_path: Path
) -> None:
    plan, _, path = encoded
    with (
        bench(path, tmp_path) as workbench,
        pytest.raises(TransientError, match="25 frames of 200 to 300"),
    ):
        encode_video(plan, FrameRange(200, 300), workbench, FolderSink(tmp_path))


@pytest.mark.parametrize("start", [100, 200], ids=["a segment is there", "less is there"])
def test_source_that_ends_before_its_last_range_is_truncated(
    encoded: tuple[Plan, FolderSink, Path], tmp_path: Path, start: int
) -> None:
    """Time stamps that are damaged may promise chunks that are not there."""
    plan, sink, path = replace(encoded[0], frames=500), FolderSink(tmp_path), encoded[2]
    with bench(path, tmp_path) as workbench, pytest.raises(BadInputError) as raised:
        encode_video(plan, FrameRange(start, start + 200), workbench, sink)
    assert raised.value.failure.code == "truncated"
    assert "20.0 seconds" in raised.value.failure.message
    assert "9.0 seconds" in raised.value.failure.message


def test_endless_video_is_stopped(encoded: tuple[Plan, FolderSink, Path], tmp_path: Path) -> None:
    plan, _, path = encoded
    with (
        bench(path, tmp_path, max_seconds=2) as workbench,
        pytest.raises(Exception, match="longer"),
    ):
        encode_video(plan, FrameRange(0, None), workbench, FolderSink(tmp_path))


def test_segments_are_handed_on_while_encoding(
    encoded: tuple[Plan, FolderSink, Path], tmp_path: Path
) -> None:
    """The sink that refuses the first segment ends the encode at once."""

    class Full(FolderSink):
        def segment(self, track: int | None, segment: Segment) -> None:
            raise OSError(f"no room for {segment.name} of {track}")

    plan, _, path = encoded
    with (
        bench(path, tmp_path) as workbench,
        pytest.raises(OSError, match=r"no room for 000000\.m4s of 0"),
    ):
        encode_video(plan, FrameRange(0, None), workbench, Full(tmp_path))
