"""Workers with other settings take over in the middle of a video, as with every change of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import running_emulator
from worker_stage import Stage, make_clip, make_stage, moving_picture

from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.ladder import LadderRung, ladder_to_json
from media_platform.contract.video import VideoStatus

CHUNKS = 20
CHUNK_SECONDS = 4


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield make_stage(emulator, tmp_path_factory.mktemp("worker"))


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2)])
def test_no_chunk_is_left_out_when_more_or_fewer_are_in_flight(
    stage: Stage, tmp_path: Path, before: int, after: int
) -> None:
    clip = make_clip(
        tmp_path / "clip.mp4", *moving_picture(CHUNKS * CHUNK_SECONDS, "128x72", rate=10)
    )
    job = stage.upload(clip.read_bytes())
    stage.send(job)
    with stage.worker(chunk_seconds=CHUNK_SECONDS, chunks_in_flight=before) as first:
        first.wait_for("chunk done")
        first.terminate()
        first.process.wait()
    assert stage.video(job).status is VideoStatus.PROCESSING
    with stage.worker(chunk_seconds=2 * CHUNK_SECONDS, chunks_in_flight=after):
        assert stage.finished(job).status is VideoStatus.READY
    assert len(stage.entries(job, "v72")) == CHUNKS


def test_a_run_keeps_the_ladder_that_it_began_with(stage: Stage, tmp_path: Path) -> None:
    low, high = (LadderRung(short_side=side, peak_kilobits=2 * side) for side in (144, 180))
    clip = make_clip(tmp_path / "clip.mp4", *moving_picture(6 * CHUNK_SECONDS, "320x180", rate=10))
    begun = stage.upload(clip.read_bytes())
    stage.send(begun)
    with stage.worker(chunk_seconds=CHUNK_SECONDS, ladder=ladder_to_json([low])) as first:
        first.wait_for("chunk done")
        first.terminate()
        first.process.wait()
    assert stage.video(begun).status is VideoStatus.PROCESSING
    with stage.worker(chunk_seconds=CHUNK_SECONDS, ladder=ladder_to_json([high, low])):
        assert stage.finished(begun).status is VideoStatus.READY
        again = stage.transcode_again(begun)
        stage.send(again)
        assert stage.finished(again).status is VideoStatus.READY
    assert [heights(stage, job) for job in (begun, again)] == [[144], [180, 144]]


def heights(stage: Stage, job: TranscodeJob) -> list[int]:
    run = stage.run(job)
    assert run is not None
    return [rendition.height for rendition in run.renditions]
