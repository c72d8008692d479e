"""What uploads do when the network, S3, the token or the file changes under them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from upload_server import PART, VIDEO, Fault, Platform, digest, running_platform

from mediactl.client import ApiError, MediaClient, Tokens
from mediactl.errors import REFUSED, CommandError
from mediactl.videos import uploads
from mediactl.videos.upload_batch import UploadBatch
from mediactl.videos.uploads import Begun, FileChangedError, Source, UploadRecords, send_file

PARTS = 7
CONTENT = os.urandom(PARTS * PART - 1000)


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running_platform() as running:
        yield running


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def client(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MediaClient:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("mediactl.client._PAUSE_SECONDS", 0.001)
    return MediaClient(platform.url, "token", attempts=3)


def records(client: MediaClient, film: Path, tmp_path: Path, **more: str) -> UploadRecords:
    body = {"title": "A film", "file_name": film.name, "size_bytes": film.stat().st_size, **more}
    return UploadRecords(tmp_path / "records", client, film, body)


def begin(client: MediaClient, film: Path, tmp_path: Path, **more: str) -> Begun:
    kept = records(client, film, tmp_path, **more)
    with kept.held():
        return kept.begin()


def go_on(client: MediaClient, begun: Begun, film: Path, **more: int) -> tuple[int, list[int]]:
    """Send a file; return the parts that changed, and the steps of its progress."""
    steps: list[int] = []
    assert begun.upload is not None
    with Source(film) as source:
        changed = send_file(
            client, begun.video_id, begun.upload, source, progress=steps.append, **more
        )
    return changed, steps


@pytest.mark.parametrize("size", [1000, PART + 1, len(CONTENT)])
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_file_arrives_as_it_is(
    size: int, parallel: int, platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    film.write_bytes(CONTENT[:size])
    changed, steps = go_on(client, begin(client, film, tmp_path), film, parallel=parallel)
    assert platform.content == CONTENT[:size]
    assert (changed, sum(steps), platform.received) == (0, size, size)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(after_bytes=0),
        Fault(after_bytes=PART // 2),
        Fault(status=500),
        Fault(status=503),
        Fault(status=403),  # the URL has expired
    ],
    ids=["no connection", "cut off", "error", "throttled", "expired"],
)
@pytest.mark.parametrize("size", [PART, len(CONTENT)], ids=["one PUT", "parts"])
def test_what_fails_is_sent_again(
    fault: Fault, size: int, platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    film.write_bytes(CONTENT[:size])
    begun = begin(client, film, tmp_path)
    platform.faults = deque([fault, fault])
    _, steps = go_on(client, begun, film)
    assert (platform.content, sum(steps)) == (CONTENT[:size], size)


def test_who_gives_up_says_so_and_what_arrived_stays(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begun = begin(client, film, tmp_path)
    platform.faults = deque([Fault(), Fault(), *[Fault(after_bytes=10)] * uploads.ATTEMPTS])
    with pytest.raises(urllib3.exceptions.HTTPError):
        go_on(client, begun, film, parallel=1)
    assert len(platform.parts) == 2

    platform.received = 0
    again = begin(client, film, tmp_path)
    assert (again.resumed, again.video_id) == (True, VIDEO)
    _, steps = go_on(client, again, film)
    assert platform.content == CONTENT
    assert platform.received == len(CONTENT) - 2 * PART
    assert (steps[0], sum(steps)) == (2 * PART, len(CONTENT))
    assert len(platform.created) == 1


def test_a_refusal_that_no_signature_mends_ends_the_upload(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begun = begin(client, film, tmp_path)
    platform.faults = deque([Fault(status=404)])
    with pytest.raises(ApiError, match="the storage says Refused: S3 says 404") as refused:
        go_on(client, begun, film, parallel=1)
    assert "secret" not in f"{refused.value} {refused.value.problem}"
    platform.faults = deque([Fault(status=403)] * uploads.ROUNDS)
    with pytest.raises(ApiError, match="S3 says 403"):
        go_on(client, begun, film, parallel=1)


def test_parts_that_s3_turns_out_to_lack_are_sent_once_more(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begun = begin(client, film, tmp_path)
    forgotten = client.complete_upload

    def forget_one(video_id: str) -> dict[str, object]:
        client.complete_upload = forgotten  # type: ignore[method-assign]
        del platform.parts[3]
        return forgotten(video_id)

    client.complete_upload = forget_one  # type: ignore[method-assign]
    _, steps = go_on(client, begun, film)
    assert (platform.content, sum(steps)) == (CONTENT, len(CONTENT))
    assert platform.received == len(CONTENT) + PART


# --- the token -----------------------------------------------------------------------------------


def test_a_token_that_ends_meanwhile_is_made_anew_once(
    platform: Platform, film: Path, tmp_path: Path
) -> None:
    given = iter(["token", "another"])
    made: list[str] = []

    def make() -> str:
        made.append(next(given))
        return made[-1]

    client = MediaClient(platform.url, Tokens(make), attempts=3)
    begun = begin(client, film, tmp_path)
    platform.tokens = {"another"}
    go_on(client, begun, film)
    assert platform.content == CONTENT
    assert made == ["token", "another"]


def test_a_token_that_is_refused_and_cannot_be_renewed_is_told(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    platform.tokens = set()
    with pytest.raises(ApiError) as refused:
        begin(client, film, tmp_path)
    assert (refused.value.status, refused.value.kind) == (401, "unauthenticated")
    assert "token" not in str(refused.value)


def test_an_api_that_cannot_answer_just_now_is_asked_again(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    platform.api_faults = deque([503, 503])
    begin(client, film, tmp_path)
    assert platform.requests == [("POST", "/api/videos")] * 3
    platform.api_faults = deque([503] * 3)
    with pytest.raises(ApiError):
        client.video(VIDEO)


# --- the file ------------------------------------------------------------------------------------


def test_a_file_that_is_written_to_meanwhile_is_not_completed(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begun = begin(client, film, tmp_path)
    assert begun.upload is not None
    with Source(film) as source:

        def write(_: int) -> None:
            os.utime(film, ns=(1, 1))

        with pytest.raises(FileChangedError, match=r"film\.mp4 was changed while it was uploaded"):
            send_file(client, VIDEO, begun.upload, source, progress=write)
    assert platform.status == "PENDING"


def test_a_file_that_is_cut_off_meanwhile_is_noticed(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begun = begin(client, film, tmp_path)
    assert begun.upload is not None
    with Source(film) as source:
        os.truncate(film, PART)
        with pytest.raises(FileChangedError):
            send_file(client, VIDEO, begun.upload, source)


def test_parts_of_a_file_that_has_changed_since_are_sent_again(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begin(client, film, tmp_path)
    for number in (1, 2, 3):
        platform.parts[number] = CONTENT[(number - 1) * PART : number * PART]
    other = bytes(PART) + CONTENT[PART:]
    film.write_bytes(other)
    changed, _ = go_on(client, begin(client, film, tmp_path), film)
    assert (changed, platform.content) == (1, other)
    assert platform.received == len(CONTENT) - 2 * PART


def test_a_file_of_another_size_is_another_upload(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begin(client, film, tmp_path)
    platform.parts[1] = CONTENT[:PART]
    film.write_bytes(CONTENT[:-1])
    again = begin(client, film, tmp_path)
    assert (again.changed, again.resumed) == (True, False)
    assert ("POST", f"/api/videos/{VIDEO}/upload/abort") in platform.requests
    assert len(set(platform.created)) == 2


# --- what is known of uploads --------------------------------------------------------------------


def test_who_was_killed_before_the_answer_came_asks_with_the_same_key(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    kept = records(client, film, tmp_path)
    platform.api_faults = deque([503] * 3)
    with kept.held(), pytest.raises(ApiError):
        kept.begin()
    (record,) = (tmp_path / "records").glob("*.json")
    known = record.read_text()
    begin(client, film, tmp_path)
    begin(client, film, tmp_path)
    assert len(platform.created) == 1
    assert platform.created[0] in known


def test_of_what_the_api_refuses_nothing_is_kept(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    platform.api_faults = deque([422])
    with pytest.raises(ApiError):
        begin(client, film, tmp_path)
    assert not list((tmp_path / "records").glob("*.json"))


def test_what_a_person_says_makes_it_another_upload(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begin(client, film, tmp_path)
    other = begin(client, film, tmp_path, description="said otherwise")
    assert not other.resumed
    assert len(set(platform.created)) == 2


@pytest.mark.parametrize("status", ["UPLOADED", "READY"])
def test_what_arrived_as_a_whole_is_not_sent_again(
    status: str, platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begin(client, film, tmp_path)
    platform.status = status
    assert begin(client, film, tmp_path) == Begun(VIDEO, None, resumed=True)


def test_what_arrived_as_a_whole_of_a_file_that_has_changed_is_another_upload(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begin(client, film, tmp_path)
    platform.status = "READY"
    os.utime(film, ns=(1, 1))
    again = begin(client, film, tmp_path)
    assert (again.resumed, len(set(platform.created))) == (False, 2)


def test_an_upload_that_came_to_nothing_begins_anew(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    begin(client, film, tmp_path)
    platform.status = "FAILED"
    again = begin(client, film, tmp_path)
    assert (again.resumed, len(set(platform.created))) == (False, 2)


def test_two_commands_do_not_send_one_file_at_a_time(
    client: MediaClient, film: Path, tmp_path: Path
) -> None:
    with records(client, film, tmp_path).held():
        with pytest.raises(CommandError, match="another mediactl is uploading") as refused:
            begin(client, film, tmp_path)
        assert refused.value.exit_code == REFUSED
    begin(client, film, tmp_path)


def test_old_records_go(client: MediaClient, film: Path, tmp_path: Path) -> None:
    begin(client, film, tmp_path)
    (record,) = (tmp_path / "records").glob("*.json")
    os.utime(record, (1, 1))
    begin(client, film, tmp_path, description="another")
    assert not record.exists()


def test_records_are_for_their_owner_alone(client: MediaClient, film: Path, tmp_path: Path) -> None:
    begin(client, film, tmp_path)
    folder = tmp_path / "records"
    assert folder.stat().st_mode & 0o077 == 0
    assert digest(CONTENT) not in next(folder.glob("*.json")).read_text()


# --- the files of one command --------------------------------------------------------------------


def body(film: Path) -> dict[str, object]:
    return {"title": "A film", "file_name": film.name, "size_bytes": film.stat().st_size}


def test_a_network_that_is_gone_is_told_with_what_to_do(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    batch = UploadBatch(client, parallel=1)
    platform.faults = deque([Fault(), *[Fault(after_bytes=10)] * uploads.ATTEMPTS])
    batch.send(film, body(film))
    with pytest.raises(CommandError, match=r"the upload of .*film\.mp4 stopped at 14 %") as told:
        batch.check()
    assert told.value.hint == "run the same command again: it goes on where it stopped"
    assert batch.done[0].video_id is None

    again = UploadBatch(client, parallel=1)
    again.send(film, body(film))
    again.check()
    assert (again.done[0].resumed, platform.content) == (True, CONTENT)


def test_a_file_that_fails_does_not_keep_the_others_back(
    platform: Platform, client: MediaClient, film: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(CONTENT[:PART])
    batch = UploadBatch(client, parallel=2)
    platform.api_faults = deque([422])
    batch.send(film, body(film))
    batch.send(other, body(other))
    assert [one.error is None for one in batch.done] == [False, True]
    with pytest.raises(CommandError, match="1 of 2 files came to nothing"):
        batch.check()
