"""Plans are functions of the source: rates, ladders, levels, limits."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.ladder import DEFAULT_LADDER, LadderRung
from media_worker import ffmpeg
from media_worker.faults import BadInputError
from media_worker.planning import (
    AudioStream,
    FrameRange,
    Source,
    TextStream,
    check_frames,
    check_source,
    choose_chunks,
    choose_rate,
    choose_rungs,
    make_plan,
    settle,
)

CHUNK_SECONDS = 16
SPORTS = (
    LadderRung(short_side=2160, peak_kilobits=16_000),
    LadderRung(short_side=1080, peak_kilobits=6000),
    LadderRung(short_side=540, peak_kilobits=2000),
)
LIMITS = {"max_pixels": 1920 * 1080, "max_duration_seconds": 60, "max_frame_rate": 120}

SOURCE = Source(
    format_name="mov,mp4,m4a,3gp,3g2,mj2",
    format_start=Fraction(0),
    video_index=0,
    audio=(AudioStream(index=1, channels=2, language=None, title=None, default=True),),
    texts=(TextStream(index=2, language="en", title=None, forced=False),),
    time_base=Fraction(1, 1000),
    packet_times=tuple(range(0, 4000, 40)),
    average_rate=Fraction(25),
    base_rate=Fraction(25),
    width=1920,
    height=1080,
    rotation=0,
    sample_aspect=Fraction(1),
    transfer=1,
    matrix=1,
    video_promise=Fraction(60),
    promised_end=Fraction(60),
    tail_end=Fraction(60),
    video_end=Fraction(60),
    first_pts=0,
    decoder_time_base=Fraction(1, 12800),
    interlaced=False,
)


def with_times(times: list[int], **changes: Any) -> Source:
    return settle(replace(SOURCE, packet_times=tuple(times), base_rate=None, **changes))


def test_pauses_do_not_lower_the_rate() -> None:
    paused = [*range(0, 2000, 33), *range(6000, 8000, 33)]
    assert choose_rate(with_times(paused, average_rate=Fraction(15))) == 30


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)])
def test_times_in_milliseconds_snap_to_the_rate_that_was_meant(rate: Fraction) -> None:
    times = [round(number * 1000 / rate) for number in range(240)]
    assert choose_rate(with_times(times)) == rate


@pytest.mark.parametrize(
    ("fast", "rate"),
    [
        ("61", "60"),
        ("72", "60"),
        ("90", "60"),
        ("100", "50"),
        ("120000/1001", "60000/1001"),
        ("120", "60"),
        ("144", "48"),
        ("240", "60"),
        ("1000", "50"),
    ],
)
def test_fast_video_keeps_even_motion(fast: str, rate: str) -> None:
    times = [round(number * 90_000 / Fraction(fast)) for number in range(240)]
    source = with_times(times, time_base=Fraction(1, 90_000))
    assert choose_rate(source) == Fraction(rate)


def test_frames_are_left_out_before_they_cost_anything() -> None:
    times = [round(number * 90_000 / 120) for number in range(240)]
    fast = make_plan(with_times(times, time_base=Fraction(1, 90_000)), CHUNK_SECONDS)
    graph = ffmpeg.filters(fast, FrameRange(0, None))
    assert graph.index("select=") < graph.index("split=")
    assert "select=" not in ffmpeg.filters(make_plan(SOURCE, CHUNK_SECONDS), FrameRange(0, None))


def test_grid_lies_where_nearly_all_frames_do() -> None:
    early = with_times([0, *range(62, 4000, 40)])
    assert early.origin == pytest.approx(Fraction(-18, 1000), abs=1e-4)
    assert with_times([0, *range(38, 4000, 40)]).origin == 0
    assert with_times([0, *(40 * n + n * 17 % 31 for n in range(1, 100))]).origin == 0
    alternating = [round(number * 1000 / 120) for number in range(240)]
    assert with_times(alternating).origin == 0


def test_stated_rate_counts_where_frames_agree() -> None:
    times = tuple(round(number * 1001 / 30) for number in range(20))
    stated = replace(SOURCE, packet_times=times, base_rate=Fraction(30000, 1001))
    assert choose_rate(stated) == Fraction(30000, 1001)
    assert choose_rate(replace(stated, base_rate=Fraction(90000))) in (30, Fraction(30000, 1001))


@pytest.mark.parametrize(
    ("size", "rungs"),
    [
        ((1920, 1080), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]),
        ((3840, 2160), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]),
        ((1080, 1920), [(1080, 1920), (720, 1280), (480, 854), (360, 640)]),
        ((1280, 720), [(1280, 720), (854, 480), (640, 360)]),
        ((640, 359), [(640, 358)]),
        ((191, 107), [(190, 106)]),
        ((1, 1), [(2, 2)]),
    ],
)
def test_ladder(size: tuple[int, int], rungs: list[tuple[int, int]]) -> None:
    found = choose_rungs(DEFAULT_LADDER, size, Fraction(25))
    assert [(rung.width, rung.height) for rung in found] == rungs


@pytest.mark.parametrize(
    ("profile", "size", "sides"),
    [
        (Profile.AUTO, (1920, 1080), [1080, 720, 480, 360]),
        (Profile.UP_TO_1080, (3840, 2160), [1080, 720, 480, 360]),
        (Profile.UP_TO_720, (1920, 1080), [720, 480, 360]),
        (Profile.UP_TO_480, (1080, 1920), [480, 360]),
        (Profile.UP_TO_360, (1920, 1080), [360]),
        (Profile.UP_TO_1080, (854, 480), [480, 360]),
        (Profile.UP_TO_360, (320, 180), [180]),
    ],
)
def test_profile_bounds_the_ladder(
    profile: Profile, size: tuple[int, int], sides: list[int]
) -> None:
    found = choose_rungs(DEFAULT_LADDER, size, Fraction(25), profile=profile)
    assert [min(rung.width, rung.height) for rung in found] == sides
    every = choose_rungs(DEFAULT_LADDER, size, Fraction(25))
    assert found == every[len(every) - len(found) :]


@pytest.mark.parametrize(
    ("size", "profile", "rungs"),
    [
        ((3840, 2160), Profile.AUTO, [(3840, 2160, 16_000), (1920, 1080, 6000), (960, 540, 2000)]),
        ((1920, 1080), Profile.AUTO, [(1920, 1080, 6000), (960, 540, 2000)]),
        ((1080, 1920), Profile.UP_TO_720, [(540, 960, 2000)]),
        # None that is as low as was asked for: the lowest there is.
        ((1920, 1080), Profile.UP_TO_360, [(960, 540, 2000)]),
        ((640, 360), Profile.AUTO, [(640, 360, 888)]),
    ],
)
def test_a_ladder_of_a_stage(
    size: tuple[int, int], profile: Profile, rungs: list[tuple[int, int, int]]
) -> None:
    found = choose_rungs(SPORTS, size, Fraction(25), profile=profile)
    assert [(rung.width, rung.height, rung.peak_bits // 1000) for rung in found] == rungs


def test_the_level_of_the_largest_picture_is_one_that_there_is() -> None:
    levels = [rung.level for rung in choose_rungs(SPORTS, (3840, 2160), Fraction(60))]
    assert levels == ["5.2", "4.2", "3.2"]


def test_quality_raises_the_peaks_and_lowers_the_rate_factor() -> None:
    usual, high = (make_plan(SOURCE, CHUNK_SECONDS, quality=quality) for quality in Quality)
    assert [rung.peak_bits for rung in usual.rungs] == [4_500_000, 2_600_000, 1_200_000, 700_000]
    assert [rung.peak_bits for rung in high.rungs] == [6_750_000, 3_900_000, 1_800_000, 1_050_000]
    assert (usual.crf, high.crf) == (23, 20)
    assert replace(high, rungs=usual.rungs, crf=usual.crf) == usual
    for plan in (usual, high):
        argv = ffmpeg.video(
            plan,
            FrameRange(0, None),
            "http://127.0.0.1:1/",
            pipes=range(len(plan.rungs)),
            pre_roll=Fraction(1),
            max_pixels=1,
            threads=1,
        )
        named = [argv[at + 1] for at, name in enumerate(argv) if name in {"-crf", "-maxrate"}]
        assert named == [text for r in plan.rungs for text in (str(plan.crf), str(r.peak_bits))]


@given(
    width=st.integers(2, 8192),
    height=st.integers(2, 8192),
    rate=st.sampled_from([Fraction(25), Fraction(60000, 1001)]),
    profile=st.sampled_from(Profile),
    quality=st.sampled_from(Quality),
    ladder=st.sampled_from([DEFAULT_LADDER, SPORTS]),
)
def test_every_ladder_is_even_distinct_and_not_above_the_source(
    width: int,
    height: int,
    rate: Fraction,
    profile: Profile,
    quality: Quality,
    ladder: tuple[LadderRung, ...],
) -> None:
    rungs = choose_rungs(ladder, (width, height), rate, profile=profile, quality=quality)
    assert rungs
    assert all(rung.width % 2 == rung.height % 2 == 0 for rung in rungs)
    assert all(min(rung.width, rung.height) <= max(2, min(width, height)) for rung in rungs)
    assert len({rung.height for rung in rungs}) == len(rungs)
    sides = {rung.short_side for rung in ladder}
    assert all(min(r.width, r.height) in sides for r in rungs[:-1])
    assert [r.peak_bits for r in rungs] == sorted((r.peak_bits for r in rungs), reverse=True)


def test_level_follows_size_and_rate() -> None:
    levels = {
        rate: [rung.level for rung in choose_rungs(DEFAULT_LADDER, (1920, 1080), Fraction(rate))]
        for rate in (25, 60)
    }
    assert levels == {25: ["4.0", "3.1", "3.0", "3.0"], 60: ["4.2", "3.2", "3.1", "3.1"]}


@pytest.mark.parametrize("rate", ["25", "30000/1001", "60", "15/2"])
def test_a_frame_is_a_whole_number_of_ticks(rate: str) -> None:
    source = replace(
        SOURCE,
        packet_times=(0,),
        average_rate=Fraction(rate),
        base_rate=None,
    )
    plan = make_plan(source, CHUNK_SECONDS)
    assert Fraction(plan.grid.frame_ticks, plan.grid.timescale) == 1 / Fraction(rate)
    assert plan.grid.segment_frames % plan.grid.gop_frames == 0


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (None, [0, 100]),
        (1, [0]),
        (200, [0]),
        (201, [0, 100]),
        (249, [0, 100]),
        (1500, [0, 100, 500, 900, 1200]),
        (1150, [0, 100, 500, 900]),
        (1149, [0, 100, 500, 800]),
        (1100, [0, 100, 500, 800]),
    ],
)
def test_chunks_follow_each_other_and_none_is_a_stub(frames: int | None, starts: list[int]) -> None:
    chunks = choose_chunks(frames, 100, 4)
    assert [chunk.start for chunk in chunks] == starts
    assert [chunk.end for chunk in chunks] == [*starts[1:], None]


def test_chunks_are_equal_to_a_segment() -> None:
    for frames in range(201, 5000, 7):
        cuts = [*(chunk.start for chunk in choose_chunks(frames, 100, 4)), frames]
        lengths = [after - before for before, after in pairwise(cuts)][1:]
        assert max(lengths) < 450
        assert max(lengths) - min(lengths) <= 150
        assert lengths[-1] >= 50


def test_sound_is_as_long_as_the_video_and_levelled_on_the_way() -> None:
    plan = make_plan(SOURCE, CHUNK_SECONDS)

    def chain(frames: int | None) -> str:
        argv = ffmpeg.sound(
            plan,
            "url",
            pipes=[3],
            loudness=["volume=-3dB"],
            text_pipes=[4],
            max_pixels=1,
            frames=frames,
        )
        return argument(argv, "-filter_complex")[0].partition("]")[2].partition("[")[0]

    assert "pad" not in chain(None)
    assert chain(50).endswith(f"apad=whole_len={2 * 48_000},atrim=end_sample={2 * 48_000}")
    names = [part.partition("=")[0] for part in chain(50).split(",")]
    assert names == ["volume", "aresample", "apad", "atrim"]


def refusal(source: Source) -> str:
    with pytest.raises(BadInputError) as raised:
        check_source(source, **LIMITS)
    return raised.value.failure.code


def test_limits() -> None:
    check_source(SOURCE, **LIMITS)
    assert refusal(replace(SOURCE, height=1081)) == "too_many_pixels"
    longer = replace(SOURCE, video_end=Fraction(61), promised_end=None, tail_end=Fraction(61))
    assert refusal(longer) == "too_long"


def test_limit_of_the_frame_rate_is_for_frames_that_are_there() -> None:
    ticks = Fraction(1, 90_000)
    fast = with_times([n * 600 for n in range(240)], time_base=ticks)
    assert refusal(fast) == "too_many_frames"
    check_source(with_times([n * 750 for n in range(240)], time_base=ticks), **LIMITS)
    check_source(replace(SOURCE, average_rate=Fraction(1000), base_rate=Fraction(1000)), **LIMITS)


def test_limits_count_the_picture_as_displayed() -> None:
    assert refusal(replace(SOURCE, sample_aspect=Fraction(7))) == "too_many_pixels"
    long = replace(SOURCE, width=192, height=16, sample_aspect=Fraction(100))
    assert refusal(long) == "too_many_pixels"
    check_source(
        replace(SOURCE, width=1440, sample_aspect=Fraction(4, 3)),
        **LIMITS,
    )


@pytest.mark.parametrize(
    ("rotation", "size"),
    [(0, (1920, 1080)), (90, (1080, 1920)), (180, (1920, 1080)), (270, (1080, 1920))]
    + [(angle, (1920, 1080)) for angle in (45, 135, 152, 315)],
)
def test_only_quarter_turns_swap_the_sides(rotation: int, size: tuple[int, int]) -> None:
    assert replace(SOURCE, rotation=rotation).displayed_size == size


def test_what_the_header_promises_must_be_there() -> None:
    assert refusal(replace(SOURCE, tail_end=Fraction(57))) == "truncated"
    assert refusal(replace(SOURCE, tail_end=None, video_end=None)) == "truncated"
    nearly = replace(SOURCE, tail_end=Fraction(59), video_end=Fraction(59))
    check_source(nearly, **LIMITS)
    live = replace(SOURCE, promised_end=None, tail_end=None, video_end=None)
    check_source(live, **LIMITS)


def test_sound_does_not_make_up_for_a_lost_picture() -> None:
    assert refusal(replace(SOURCE, video_end=Fraction(30))) == "truncated"
    short = replace(SOURCE, video_end=Fraction(30), video_promise=Fraction(30))
    check_source(short, **LIMITS)
    unknown = replace(SOURCE, video_end=None)
    check_source(unknown, **LIMITS)
    with pytest.raises(BadInputError, match="truncated"):
        check_frames(make_plan(unknown, CHUNK_SECONDS), 750)


def test_lost_frames_fail_the_video() -> None:
    plan = make_plan(SOURCE, CHUNK_SECONDS)
    assert plan.frames == 1500
    check_frames(plan, 1500)
    check_frames(plan, 1480)
    check_frames(plan, 1520)
    with pytest.raises(BadInputError, match="truncated"):
        check_frames(plan, 1440)
    with pytest.raises(BadInputError, match="no_decodable_frames"):
        check_frames(plan, 0)


def argument(argv: list[str], name: str) -> list[str]:
    return [value for flag, value in pairwise(argv) if flag == name]


def test_children_read_only_what_they_are_given() -> None:
    plan = make_plan(SOURCE, CHUNK_SECONDS)
    url = "http://127.0.0.1:1/secret"
    for argv in (
        ffmpeg.video(
            plan,
            FrameRange(0, None),
            url,
            pipes=[3, 4, 5, 6],
            pre_roll=Fraction(1),
            max_pixels=1000,
            threads=1,
        ),
        ffmpeg.sound(
            plan, url, pipes=[3], loudness=[""], text_pipes=[4], max_pixels=1000, frames=None
        ),
        ffmpeg.poster(plan, url, 1000, at=Fraction(6)),
        ffmpeg.first_frame(url, 0, 1000),
    ):
        assert argument(argv, "-i") == [url]
        assert argument(argv, "-protocol_whitelist") == ["http,tcp"]
        assert argument(argv, "-format_whitelist") == [ffmpeg.DEMUXERS]
        assert argument(argv, "-max_pixels") == ["1000"]
        assert argv.index("-max_pixels") < argv.index("-i")
        assert "-nostdin" in argv
        assert "hls" not in ffmpeg.DEMUXERS.split(",")
        assert "concat" not in ffmpeg.DEMUXERS.split(",")


def test_range_seeks_ahead_of_its_first_frame() -> None:
    source = replace(SOURCE, first_pts=12800, format_start=Fraction(1, 2))
    plan = make_plan(source, CHUNK_SECONDS)

    def seeks(frames: FrameRange) -> list[str]:
        argv = ffmpeg.video(
            plan,
            frames,
            "url",
            pipes=[3, 4, 5, 6],
            pre_roll=Fraction(2),
            max_pixels=1,
            threads=1,
        )
        return argument(argv, "-ss")

    assert seeks(FrameRange(0, 100)) == []
    assert seeks(FrameRange(1000, None)) == ["38.500000"]
    assert "trim=start_pts=1000:end_pts=1100" in ffmpeg.filters(plan, FrameRange(1000, 1100))


def test_hdr_is_tone_mapped_and_interlaced_is_not_left_so() -> None:
    plan = make_plan(replace(SOURCE, transfer=16, interlaced=True), CHUNK_SECONDS)
    graph = ffmpeg.filters(plan, FrameRange(0, None))
    assert "tonemap=" in graph
    assert "bwdif" in graph
    plain = ffmpeg.filters(make_plan(SOURCE, CHUNK_SECONDS), FrameRange(0, None))
    assert "tonemap" not in plain
    assert "bwdif" not in plain
