"""Jobs through real worker processes: what is published, and what the table says in the end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from waiting import eventually
from worker_outcome import assert_complete, decode, decode_all, seconds_of, stored_run
from worker_stage import (
    MEDIA,
    TABLE,
    Stage,
    WorkerProcess,
    make_clip,
    moving_picture,
    segments_of,
)

from media_platform.contract import table
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.object_keys import REPLICATE_TAG, REPLICATE_VALUE
from media_platform.contract.run import END, SOUND, RunStatus, video_part
from media_platform.contract.spend import Spend
from media_platform.contract.video import VideoStatus

RATE = 10
SECONDS = 33
FRAMES = SECONDS * RATE
CHUNKS = 5
"""Of four seconds, three times eight, and what is left."""

LEASE = 5
"""Seconds after which a message comes back that met a part in work."""

HEIGHTS = (480, 360)
SOUNDS = ("audio", "audio1")
SUBTITLES = """1
00:00:01,000 --> 00:00:02,500
Hallo

2
00:00:30,000 --> 00:00:32,000
Ende
"""


@pytest.fixture(scope="module")
def stage(shared_stage: Stage) -> Stage:
    return shared_stage


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", *moving_picture(9)).read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """As long as the film, with one rung and one sound."""
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    return make_clip(path, *moving_picture(SECONDS, "160x90", RATE)).read_bytes()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two rungs, two sounds, one of them late and of another rate, and subtitles."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "text.srt").write_text(SUBTITLES)
    return make_clip(
        folder / "film.mkv",
        *("-f", "lavfi", "-i", f"testsrc2=s=640x480:r={RATE}:d={SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=f=440:r=48000:d={SECONDS}"),
        *("-itsoffset", "1.3", "-f", "lavfi", "-i", f"sine=f=880:r=44100:d={SECONDS - 3}"),
        *("-i", str(folder / "text.srt")),
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:s", "srt"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
        *("-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng"),
        *("-metadata:s:s:0", "language=ger"),
    ).read_bytes()


@pytest.fixture(scope="module")
def worker(stage: Stage) -> Iterator[WorkerProcess]:
    with stage.worker() as process:
        yield process


@pytest.fixture(scope="module")
def done(worker: WorkerProcess, stage: Stage, film: bytes) -> TranscodeJob:
    """The film, complete."""
    job = stage.upload(film, "mkv")
    stage.send(job)
    stage.finished(job)
    return job


@pytest.fixture(scope="module")
def folder(stage: Stage, done: TranscodeJob) -> Path:
    """What was published of the film."""
    return assert_complete(stage, done, frames=FRAMES, rate=RATE)


def test_video_becomes_ready(stage: Stage, done: TranscodeJob) -> None:
    video, run, parts = stage.video(done), stored_run(stage, done), stage.parts(done)
    assert video.status is VideoStatus.READY
    assert (video.duration_seconds, video.width, video.height) == (33.0, 640, 480)
    assert (run.status, run.progress, run.chunks) == (RunStatus.COMPLETE, 100, CHUNKS)
    assert [(r.height, r.width, r.frames) for r in run.renditions] == [
        (480, 640, FRAMES),
        (360, 480, FRAMES),
    ]
    assert run.cpu_seconds
    assert run.playable_at is not None
    assert run.playable_at < str(run.finished_at)
    assert set(parts) == {*(video_part(n) for n in range(CHUNKS)), SOUND, END}
    assert {part.attempt for part in parts.values()} == {1}
    assert {part.failures for part in parts.values()} == {0}


def test_what_the_run_took_is_kept_for_its_tenant(stage: Stage, done: TranscodeJob) -> None:
    run, parts = stored_run(stage, done), stage.parts(done).values()
    key = table.spend_key(done.tenant, run.started_at[:10], done.video_id, done.run_id)
    item = stage.emulator.client("dynamodb").get_item(TableName=TABLE, Key=key.to_wire())["Item"]
    spend = Spend.from_item(item)
    assert (spend.status, spend.video_seconds) == (RunStatus.COMPLETE, 33.0)
    assert spend.cpu_seconds == pytest.approx(sum(part.cpu_seconds for part in parts), abs=0.01)
    assert spend.bytes_in == sum(part.bytes_in for part in parts) > 0
    assert spend.bytes_out == sum(part.bytes_out for part in parts) > 0


def test_one_event_tells_of_it(stage: Stage, done: TranscodeJob) -> None:
    (event,) = stage.events(done)
    assert event.event_type is EventType.VIDEO_READY
    assert event.sequence == stage.video(done).version
    assert event.data["run_id"] == done.run_id
    assert event.data["duration_seconds"] == 33.0
    assert [one["frames"] for one in event.data["renditions"]] == [FRAMES, FRAMES]


def test_every_track_has_every_segment(folder: Path) -> None:
    for track in (*(f"v{height}" for height in HEIGHTS), *SOUNDS):
        text = (folder / track / "playlist.m3u8").read_text()
        assert segments_of(text) == [f"1/{number:06d}.m4s" for number in range(9)]
        assert "#EXT-X-PLAYLIST-TYPE:EVENT" in text
        assert abs(seconds_of(text) - SECONDS) < 0.02
        assert {path.name for path in (folder / track / "1").iterdir()} == {
            f"{number:06d}.m4s" for number in range(9)
        }
    for track in SOUNDS:
        frames = decode(folder / track / "playlist.m3u8")
        assert abs(frames * 1024 / 48_000 - SECONDS) < 0.022


def test_master_playlist_names_all_that_can_be_chosen(folder: Path) -> None:
    text = (folder / "master.m3u8").read_text()
    assert re.search(r'RESOLUTION=640x480.*CODECS="avc1\.\w+,mp4a\.40\.2",AUDIO="sound"', text)
    assert re.search(r'TYPE=AUDIO.*LANGUAGE="de".*DEFAULT=YES.*URI="audio/playlist.m3u8"', text)
    assert re.search(r'TYPE=AUDIO.*LANGUAGE="en".*DEFAULT=NO.*URI="audio1/playlist.m3u8"', text)
    assert re.search(r'TYPE=SUBTITLES.*LANGUAGE="de".*URI="text0/playlist.m3u8"', text)
    for height in HEIGHTS:
        assert f"v{height}/playlist.m3u8\n" in text
        assert f'URI="v{height}/keyframes.m3u8"' in text


def test_manifest_describes_the_same_segments(folder: Path) -> None:
    sounds = [decode(folder / track / "playlist.m3u8") for track in SOUNDS]
    for source in ("manifest.mpd", "master.m3u8"):
        assert decode_all(folder / source) == [FRAMES, FRAMES, *sounds]


def test_key_frames_can_be_shown_alone(folder: Path) -> None:
    for height in HEIGHTS:
        track = folder / f"v{height}"
        text = (track / "keyframes.m3u8").read_text()
        assert "#EXT-X-I-FRAMES-ONLY" in text
        places = re.findall(r"#EXT-X-BYTERANGE:(\d+)@(\d+)\n(\S+)", text)
        assert len(places) == -(-SECONDS // 2)
        assert abs(seconds_of(text) - SECONDS) < 0.001
        (init,) = track.glob("init-*.mp4")
        for size, offset, uri in places[:: len(places) - 1]:
            picture = (track / uri).read_bytes()[int(offset) : int(offset) + int(size)]
            shown = track / "picture.mp4"
            shown.write_bytes(init.read_bytes() + picture)
            with av.open(str(shown)) as container:
                assert next(container.decode(video=0)).height == height


def test_storyboard_and_poster_are_pictures(folder: Path) -> None:
    index = (folder / "storyboard/storyboard.vtt").read_text()
    cues = re.findall(r"(\S+) --> (\S+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)", index)
    assert cues[0][0].endswith("00:00.000")
    assert cues[-1][1].endswith("00:33.000")
    assert all(before[1] == after[0] for before, after in pairwise(cues))
    with av.open(str(folder / "storyboard" / cues[0][2])) as sheet:
        size = sheet.streams.video[0]
        assert all(int(x) + int(w) <= size.width for *_, x, _, w, _ in cues)
        assert all(int(y) + int(h) <= size.height for *_, y, _, h in cues)
    with av.open(str(folder / "poster.jpg")) as poster:
        assert poster.streams.video[0].height == 480


def test_subtitles_are_passed_through(folder: Path) -> None:
    (uri,) = re.findall(r"^[^#\n].*", (folder / "text0/playlist.m3u8").read_text(), re.MULTILINE)
    text = (folder / "text0" / uri).read_text()
    assert "00:01.000 --> 00:02.500\nHallo" in re.sub(r"\b00:(?=\d\d:\d\d\.)", "", text)
    assert "Ende" in text


def test_objects_carry_types_and_lifetimes(stage: Stage, done: TranscodeJob) -> None:
    headers = {
        name: (head["ContentType"], head["CacheControl"].split(", ")[-1])
        for name, head in stage.objects(done).items()
    }
    for name, kind in headers.items():
        if name.endswith(".m4s"):
            assert kind == ("video/iso.segment", "immutable"), name
        elif name.endswith(".m3u8"):
            assert kind == ("application/vnd.apple.mpegurl", "max-age=3600"), name
        elif re.fullmatch(r"v\d+/init-[0-9a-f]{16}\.mp4", name):
            assert kind == ("video/mp4", "immutable"), name
        elif re.fullmatch(r"audio1?/init-[0-9a-f]{16}\.mp4", name):
            assert kind == ("audio/mp4", "immutable"), name
    others = {name: kind for name, kind in headers.items() if not re.search(r"m4s|m3u8|init", name)}
    assert {
        "manifest.mpd": ("application/dash+xml", "max-age=3600"),
        "poster.jpg": ("image/jpeg", "max-age=3600"),
        "storyboard/storyboard.vtt": ("text/vtt", "max-age=3600"),
        "text0/1/subtitles.vtt": ("text/vtt", "immutable"),
    }.items() <= others.items()


def test_all_that_is_final_is_copied_to_other_regions(stage: Stage, done: TranscodeJob) -> None:
    for name in stage.objects(done):
        assert stage.tags(done, name) == {REPLICATE_TAG: REPLICATE_VALUE}, name


def test_a_playlist_that_grows_is_not_copied(stage: Stage, done: TranscodeJob) -> None:
    s3, prefix = stage.emulator.client("s3"), stage.keys(done).prefix
    versions = s3.list_object_versions(Bucket=MEDIA, Prefix=prefix)["Versions"]
    growing = 0
    for version in versions:
        name = {"Key": version["Key"], "VersionId": version["VersionId"]}
        if version["Key"].endswith(".m3u8") and not version["IsLatest"]:
            assert s3.get_object_tagging(Bucket=MEDIA, **name)["TagSet"] == []
            head = s3.head_object(Bucket=MEDIA, **name)
            assert (head["ContentType"], head["CacheControl"].split(", ")[-1]) == (
                "application/vnd.apple.mpegurl",
                "max-age=1",
            )
            growing += 1
    assert growing >= len(HEIGHTS) + len(SOUNDS) + 1


@pytest.mark.parametrize("seconds", [1, 4, 8, 12])
def test_short_videos_and_full_last_segments(
    worker: WorkerProcess, stage: Stage, tmp_path: Path, seconds: float
) -> None:
    source = make_clip(tmp_path / "clip.mp4", *moving_picture(seconds, "160x90"))
    job = stage.upload(source.read_bytes())
    stage.send(job)
    assert_complete(stage, job, frames=round(seconds * 25))


def test_silent_video(worker: WorkerProcess, stage: Stage, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", *moving_picture(13, "160x90")[:-2], "-an")
    job = stage.upload(source.read_bytes())
    stage.send(job)
    folder = assert_complete(stage, job, frames=325)
    assert "AUDIO" not in (folder / "master.m3u8").read_text()
    assert SOUND not in stage.parts(job)


# -- messages --------------------------------------------------------------------------------------


def test_every_message_twice_changes_nothing(stage: Stage, small: bytes) -> None:
    own = stage.with_own_queues()
    job = own.upload(small)
    with own.worker(visibility_timeout_seconds=LEASE) as worker:
        for _ in range(2):
            own.send(job)
        worker.wait_for("planned")
        for number in range(1, CHUNKS):
            own.send(job.for_part(video_part(number)))
        assert_complete(own, job, frames=FRAMES, rate=RATE)
    assert len(own.events(job)) == 1
    assert {part.attempt for part in own.parts(job).values()} == {1}


def test_messages_may_come_in_any_order(stage: Stage, small: bytes) -> None:
    """Chunks that are sent long before their turn are done then, and nothing is lost."""
    own = stage.with_own_queues()
    job = own.upload(small)
    own.send(job)
    with own.worker(visibility_timeout_seconds=LEASE) as worker:
        worker.wait_for("planned")
        for number in (4, 2, 3):
            own.send(job.for_part(video_part(number)))
        assert_complete(own, job, frames=FRAMES, rate=RATE)


def test_a_chunk_before_its_start_is_not_done(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.send(job.for_part(video_part(1)))
    eventually(lambda: not stage.left(), "the message is deleted")
    assert stage.parts(job) == {}
    stage.send(job)
    assert_complete(stage, job, frames=225)


@pytest.mark.parametrize(
    "part",
    [
        *("video#00009", "video#-1", "video#", "video#1e3", "sound", "end", "download#720", "x"),
        *(f"video#{'9' * 5000}", f"download#{'0' * 2000}180"),
    ],
    ids=lambda part: part[:20],
)
def test_unknown_parts_are_not_done(
    worker: WorkerProcess, stage: Stage, done: TranscodeJob, part: str
) -> None:
    before = (stage.video(done), stage.run(done), stage.parts(done))
    stage.send(done.for_part(part))
    eventually(lambda: not stage.left(), "the message is deleted")
    assert (stage.video(done), stage.run(done), stage.parts(done)) == before
    assert stage.letters() == []


@pytest.mark.parametrize("part", ["start", "video#00001"])
@pytest.mark.parametrize(
    "forged",
    [
        {"tenant": "globex"},
        {"key": "raw/globex/eve/film.mp4"},
        {"version_id": "another"},
        {"run_id": new_id()},
        {"video_id": new_id()},
    ],
    ids=lambda forged: next(iter(forged)),
)
def test_forged_jobs_are_not_done(
    worker: WorkerProcess, stage: Stage, clip: bytes, forged: dict[str, Any], part: str
) -> None:
    job = stage.upload(clip)
    before = stage.video(job)
    bad = replace(job, **forged).for_part(part)
    stage.send(bad)
    eventually(lambda: not stage.left(), "the message is deleted")
    assert stage.video(job) == before
    assert (stage.run(job), stage.parts(job), stage.objects(job)) == (None, {}, {})
    assert (stage.run(bad), stage.parts(bad), stage.objects(bad)) == (None, {}, {})


def test_message_of_a_deleted_video_goes_away(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.edit(job, status=VideoStatus.DELETED)
    stage.send(job)
    eventually(lambda: not stage.left(), "the message is deleted")
    assert stage.run(job) is None


@pytest.mark.parametrize("queue", [0, 1], ids=["express", "jobs"])
def test_what_is_no_job_goes_to_the_dead_letters(
    worker: WorkerProcess, stage: Stage, queue: int
) -> None:
    stage.emulator.client("sqs").send_message(
        QueueUrl=stage.queue_urls[queue], MessageBody='{"a": 1}'
    )
    eventually(lambda: not stage.left(), "the message is moved")
    ((body, reason),) = stage.letters()
    assert body == '{"a": 1}'
    assert "not a transcode job" in reason


def test_a_duplicate_waits_while_another_worker_holds_the_part(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    held = stage.hold(job, video_part(0), lease_seconds=4)
    stage.send(job)
    eventually(
        lambda: any(
            line.get("message") == "another worker holds the part" and line["run_id"] == job.run_id
            for line in worker.log()
        ),
        "the worker sees the lease",
    )
    assert stage.parts(job) == {video_part(0): held}
    assert stage.left() == 1
    # The lease passes without a renewal, as after a crash, and the message comes back for it.
    assert_complete(stage, job, frames=225)
    assert stage.parts(job)[video_part(0)].attempt == 2


# -- sources that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"), [(b"just some words\n" * 100, "not_a_video"), (b"", "empty")]
)
def test_bad_upload_fails_at_once_with_a_reason(
    worker: WorkerProcess, stage: Stage, body: bytes, code: str
) -> None:
    job = stage.upload(body)
    stage.send(job)
    video, run = stage.finished(job), stored_run(stage, job)
    assert (video.status, run.status) == (VideoStatus.FAILED, RunStatus.FAILED)
    assert video.failure is not None
    assert video.failure.code == code
    part = stage.parts(job)[video_part(0)]
    assert (part.failures, part.attempt, part.done) == (0, 1, False)
    (event,) = stage.events(job)
    assert event.event_type is EventType.VIDEO_FAILED
    assert event.data["code"] == code
    assert stage.objects(job) == {}
    assert stage.letters() == []


def test_upload_that_is_gone_fails(worker: WorkerProcess, stage: Stage, clip: bytes) -> None:
    job = stage.upload(clip)
    stage.emulator.client("s3").delete_object(
        Bucket=job.bucket, Key=job.key, VersionId=job.version_id
    )
    stage.send(job)
    failure = stage.finished(job).failure
    assert failure is not None
    assert failure.code == "source_missing"


def test_newer_version_of_the_object_is_not_what_counts(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.emulator.client("s3").put_object(Bucket=job.bucket, Key=job.key, Body=b"not this")
    stage.send(job)
    assert_complete(stage, job, frames=225)


# -- another run -----------------------------------------------------------------------------------


def test_another_run_replaces_the_first_in_one_moment(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.send(job)
    stage.finished(job)
    before = stage.objects(job)
    again = stage.transcode_again(job)
    stage.send(again)
    assert_complete(stage, again, frames=225)
    assert {name: head["VersionId"] for name, head in stage.objects(job).items()} == {
        name: head["VersionId"] for name, head in before.items()
    }
    key = table.purge_key(job.video_id, job.run_id).to_wire()
    note = stage.emulator.client("dynamodb").get_item(TableName=TABLE, Key=key)["Item"]
    assert note["run_id"]["S"] == job.run_id
    # A late message of the run that was replaced does nothing.
    stage.send(job)
    stage.send(job.for_part(video_part(1)))
    eventually(lambda: not stage.left(), "the messages are deleted")
    assert stage.video(job).current_run == again.run_id


def test_another_run_that_fails_leaves_viewers_what_they_have(
    worker: WorkerProcess, stage: Stage, clip: bytes
) -> None:
    job = stage.upload(clip)
    stage.send(job)
    stage.finished(job)
    again = stage.transcode_again(job)
    stage.emulator.client("s3").delete_object(
        Bucket=job.bucket, Key=job.key, VersionId=job.version_id
    )
    stage.send(again)
    video = stage.finished(again)
    assert stored_run(stage, again).status is RunStatus.FAILED
    assert (video.status, video.current_run, video.next_run) == (
        VideoStatus.READY,
        job.run_id,
        None,
    )
    assert video.failure is None
    assert [event.event_type for event in stage.events(job)].count(EventType.VIDEO_UPDATED) == 1


def test_log_lines_carry_the_ids(worker: WorkerProcess, done: TranscodeJob) -> None:
    lines = [line for line in worker.log() if line.get("run_id") == done.run_id]
    chunks = [line["chunk"] for line in lines if line.get("message") == "chunk done"]
    assert chunks == list(range(CHUNKS))
    assert all(line["video_id"] == done.video_id for line in lines)
    assert json.dumps(lines).count("X-Amz-Security-Token") == 0
