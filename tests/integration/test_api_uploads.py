"""Uploads, duplicates and quotas through the running API, on an emulator that enforces grants."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from api_stage import Person, Stage, running_stage, send
from emulator import REGION
from faulty_aws import Fault, FaultPlan, faulty_aws
from intake_stage import CLUSTER, SERVICE, local_sweeper

from media_platform.contract import duplicates, table
from media_platform.contract.environment import UploadSweepEnvironment
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.scanning import scanners_to_json
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES, UploadSession, part_bytes_of
from media_platform.contract.usage import Quota
from media_platform.contract.video import Failure, Video, VideoStatus
from mediactl.client import MediaClient
from mediactl.videos.uploads import Source, send_file
from upload_intake import sweeper

CONTENT = b"not really a film"
LONG = SINGLE_PUT_MAX_BYTES + 1
PART = part_bytes_of(LONG)
PARTS = -(-LONG // PART)
LAST = LONG - (PARTS - 1) * PART
SDK_ATTEMPTS = 5


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("api-uploads")
    with running_stage(folder, upload_max_bytes=10 * 1024**3) as stage:
        stage.emulator.client("s3").put_bucket_versioning(
            Bucket=stage.environment.raw_bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        yield stage
        assert stage.emulator.denied() == [], "the documented grants are enough"


@pytest.fixture
def tenant() -> str:
    """A tenant of which no other test knows."""
    return f"tenant-{new_id()}"


@pytest.fixture
def ada(stage: Stage, tenant: str) -> Person:
    return stage.person("ada", tenant)


def part(number: int) -> bytes:
    """Return the bytes of a part of a long file."""
    return bytes([number]) * (LAST if number == PARTS else PART)


def digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


DIGESTS = {number: digest(part(number)) for number in range(1, PARTS + 1)}


def upload_path(video_id: str, action: str = "") -> str:
    return f"/api/videos/{video_id}/upload{action}"


def begin(person: Person, **changes: Any) -> str:
    """Create a video with a long file and return its id."""
    return person.new_video(size_bytes=LONG, **changes)


def signed(person: Person, video_id: str, *numbers: int) -> list[dict[str, Any]]:
    """Return where parts are to be sent."""
    wanted = {"parts": [{"number": n, "sha256": DIGESTS[n]} for n in numbers]}
    answer = person.call("POST", upload_path(video_id, "/parts"), body=wanted)
    assert answer.status == 200, answer.content
    return list(answer.json["parts"])


def send_parts(person: Person, video_id: str, *numbers: int) -> None:
    for put in signed(person, video_id, *numbers):
        content = part(put["number"])
        assert send("PUT", put["url"], body=content, headers=put["headers"]) == 200


def send_cheaply(stage: Stage, video_id: str) -> None:
    """Let all parts be there without sending a hundred megabytes: the emulator is told of them."""
    session = session_of(stage, video_id)
    s3 = stage.emulator.client("s3")
    key = {"Bucket": stage.environment.raw_bucket, "Key": session.raw_key}
    for number in range(1, PARTS + 1):
        s3.upload_part(
            **key,
            UploadId=session.upload_id,
            PartNumber=number,
            Body=part(number),
            ChecksumSHA256=DIGESTS[number],
        )


def session_of(stage: Stage, video_id: str) -> UploadSession:
    answer = stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name, Key=table.upload_key(video_id).to_wire()
    )
    return UploadSession.from_item(answer["Item"])


def put(stage: Stage, item: Any) -> None:
    stage.emulator.client("dynamodb").put_item(TableName=stage.environment.table_name, Item=item)


def objects(stage: Stage, video_id: str) -> list[dict[str, Any]]:
    """Return all versions of the file of a video."""
    listed = stage.emulator.client("s3").list_object_versions(
        Bucket=stage.environment.raw_bucket, Prefix=stage.video(video_id).raw_key
    )
    return list(listed.get("Versions", ()))


def unfinished(stage: Stage, prefix: str) -> list[str]:
    listed = stage.emulator.client("s3").list_multipart_uploads(
        Bucket=stage.environment.raw_bucket, Prefix=prefix
    )
    return [upload["UploadId"] for upload in listed.get("Uploads", ())]


def used(person: Person) -> dict[str, int]:
    usage = person.call("GET", "/api/usage").json
    return {name: usage[name]["used"] for name in ("videos", "stored_bytes", "uploads")}


def set_quota(stage: Stage, tenant: str, **limits: int) -> None:
    values = {"videos": 1000, "stored_bytes": 10**12, "uploads": 1000, **limits}
    put(stage, Quota(**values).to_item(tenant))


def sweep_locally(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let the sweep look after everything, as if all of it were old."""
    monkeypatch.setattr(sweeper, "BEGINNING", -timedelta(hours=1))
    environment = UploadSweepEnvironment(
        home_region=REGION,
        table_name=stage.environment.table_name,
        express_queue_url=f"{stage.emulator.endpoint}/000000000000/none",
        queue_url=f"{stage.emulator.endpoint}/000000000000/none",
        upload_max_bytes=stage.environment.upload_max_bytes,
        worker_cluster=CLUSTER,
        worker_service=SERVICE,
        scanners=scanners_to_json({}),
        raw_bucket=stage.environment.raw_bucket,
        interval_minutes=5,
        max_tenant_daily_cpu_seconds=0,
    )
    return local_sweeper(stage.emulator, environment, monkeypatch).turn(lambda: True)


# --- one PUT -------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_hex", [True, False])
def test_s3_verifies_and_records_the_checksum_of_one_put(
    stage: Stage, ada: Person, as_hex: bool
) -> None:
    given = hashlib.sha256(CONTENT).hexdigest() if as_hex else digest(CONTENT)
    created = ada.create(sha256=given)
    upload = created["upload"]
    assert upload["kind"] == "single"
    assert upload["headers"]["x-amz-checksum-sha256"] == digest(CONTENT)
    assert "x-amz-checksum-sha256" in upload["url"]
    bare = {n: v for n, v in upload["headers"].items() if not n.startswith("x-amz-")}
    assert send("PUT", upload["url"], body=CONTENT, headers=bare) == 403
    assert send("PUT", upload["url"], body=CONTENT[::-1], headers=upload["headers"]) == 400
    assert send("PUT", upload["url"], body=CONTENT, headers=upload["headers"]) == 200
    head = stage.emulator.client("s3").head_object(
        Bucket=stage.environment.raw_bucket,
        Key=stage.video(created["video"]["video_id"]).raw_key,
        ChecksumMode="ENABLED",
    )
    assert head["ChecksumSHA256"] == digest(CONTENT)


def test_the_url_of_one_put_is_given_again(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    upload = ada.call("GET", upload_path(video_id)).json
    assert send("PUT", upload["url"], body=CONTENT, headers=upload["headers"]) == 200
    answer = ada.call("GET", upload_path(video_id))
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (409, "not-uploading")
    assert ada.call("POST", upload_path(video_id, "/complete")).status == 200
    assert len(objects(stage, video_id)) == 1


@pytest.mark.parametrize(
    "sha256", ["", "abc", "x" * 64, digest(CONTENT)[:-1], digest(CONTENT) + "=", "00" * 31]
)
def test_what_is_no_checksum_is_refused(ada: Person, sha256: str) -> None:
    body = {
        "title": "A",
        "file_name": "b.mp4",
        "content_type": "video/mp4",
        "size_bytes": 17,
        "sha256": sha256,
    }
    answer = ada.call("POST", "/api/videos", body=body)
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "body.sha256"


# --- in parts ------------------------------------------------------------------------------------


def test_a_long_file_is_uploaded_in_parts_and_resumed(stage: Stage, ada: Person) -> None:
    created = ada.create(size_bytes=LONG)
    video_id = created["video"]["video_id"]
    expected = {"kind": "multipart", "part_bytes": PART, "parts": PARTS, "arrived": []}
    assert {n: v for n, v in created["upload"].items() if n != "expires_at"} == expected
    first = list(range(1, PARTS))
    send_parts(ada, video_id, *first)

    state = ada.call("GET", upload_path(video_id)).json
    assert [(p["number"], p["size_bytes"], p["sha256"]) for p in state["arrived"]] == [
        (n, PART, DIGESTS[n]) for n in first
    ]
    missing = ada.call("POST", upload_path(video_id, "/complete"))
    assert (missing.status, missing.json["missing_parts"]) == (409, [PARTS])
    assert f"1 of {PARTS} parts are missing ({PARTS})" in missing.json["detail"]
    assert objects(stage, video_id) == []

    send_parts(ada, video_id, PARTS)
    done = ada.call("POST", upload_path(video_id, "/complete"))
    again = ada.call("POST", upload_path(video_id, "/complete"))
    assert (done.status, again.status) == (200, 200)
    assert done.json == again.json
    assert done.json["video_id"] == video_id
    (stored,) = objects(stage, video_id)
    assert stored["Size"] == LONG
    head = stage.emulator.client("s3").head_object(
        Bucket=stage.environment.raw_bucket,
        Key=stage.video(video_id).raw_key,
        ChecksumMode="ENABLED",
    )
    composite = digest(b"".join(base64.b64decode(d) for d in DIGESTS.values()))
    assert head["ChecksumSHA256"] == f"{composite}-{PARTS}"
    assert head["ContentType"] == "video/mp4"
    assert ada.call("GET", upload_path(video_id)).status == 409


def test_a_client_of_others_uploads_with_the_urls(
    stage: Stage, ada: Person, tmp_path: Path
) -> None:
    """``curl`` sends what it is told to; a browser would first ask whether it may."""
    video_id = begin(ada)
    for put_part in signed(ada, video_id, *range(1, PARTS + 1)):
        file = tmp_path / "part"
        file.write_bytes(part(put_part["number"]))
        headers = [
            argument
            for name, value in put_part["headers"].items()
            for argument in ("-H", f"{name}: {value}")
        ]
        sent = subprocess.run(
            [
                *("curl", "-sS", "--fail-with-body", "-X", "PUT", "--data-binary", f"@{file}"),
                *("-H", "Content-Type:", *headers, put_part["url"]),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
    assert ada.call("POST", upload_path(video_id, "/complete")).status == 200
    (stored,) = objects(stage, video_id)
    assert stored["Size"] == LONG


def test_mediactl_sends_a_long_file_in_parts(stage: Stage, ada: Person, tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    with file.open("wb") as out:
        for number in range(1, PARTS + 1):
            out.write(part(number))
    client = MediaClient(stage.api.url, ada.token)
    video, upload = client.create(
        {
            "title": "A film",
            "file_name": file.name,
            "content_type": "video/mp4",
            "size_bytes": LONG,
        }
    )
    sent: list[int] = []
    assert upload is not None
    with Source(file) as source:
        send_file(client, video["video_id"], upload, source, progress=sent.append)
    (stored,) = objects(stage, video["video_id"])
    assert stored["Size"] == sum(sent) == LONG


def test_a_page_of_any_origin_may_send_parts(stage: Stage, ada: Person) -> None:
    """What a browser asks before it sends a part, of a bucket with the rules of ``VideoStore``."""
    s3 = stage.emulator.client("s3")
    rule = {
        "AllowedMethods": ["PUT"],
        "AllowedOrigins": ["*"],
        "AllowedHeaders": ["content-type", "if-none-match", "x-amz-*"],
        "ExposeHeaders": ["ETag", "x-amz-checksum-sha256", "x-amz-version-id"],
    }
    s3.put_bucket_cors(Bucket=stage.environment.raw_bucket, CORSConfiguration={"CORSRules": [rule]})
    (one,) = signed(ada, begin(ada), 1)
    asked = urllib3.request(
        "OPTIONS",
        one["url"],
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-amz-checksum-sha256",
        },
        retries=False,
    )
    assert (asked.status, asked.headers["Access-Control-Allow-Methods"]) == (200, "PUT")
    headers = {**one["headers"], "Origin": "https://app.example"}
    sent = urllib3.request("PUT", one["url"], body=part(1), headers=headers, retries=False)
    assert sent.status == 200
    assert "ETag" in sent.headers["Access-Control-Expose-Headers"]


def test_a_part_is_sent_as_it_was_announced_or_not_at_all(ada: Person) -> None:
    video_id = begin(ada)
    (last,) = signed(ada, video_id, PARTS)
    content = part(PARTS)
    bare = {n: v for n, v in last["headers"].items() if not n.startswith("x-amz-")}
    assert send("PUT", last["url"], body=content, headers=bare) == 403
    assert send("PUT", last["url"], body=b"\0" * LAST, headers=last["headers"]) == 400
    short = {**last["headers"], "Content-Length": str(LAST - 1)}
    assert send("PUT", last["url"], body=content[:-1], headers=short) == 403
    other = last["url"].replace(f"partNumber={PARTS}", "partNumber=1")
    assert send("PUT", other, body=content, headers=last["headers"]) == 403


@pytest.mark.parametrize(
    ("numbers", "field"),
    [
        ([0], "body.parts.0.number"),
        ([PARTS + 1], "body.parts.0.number"),
        ([1, 2, 1], "body.parts"),
        ([], "body.parts"),
        (list(range(1, 102)), "body.parts"),
    ],
)
def test_parts_that_are_none_are_refused(ada: Person, numbers: list[int], field: str) -> None:
    video_id = begin(ada)
    wanted = {"parts": [{"number": n, "sha256": digest(CONTENT)} for n in numbers]}
    answer = ada.call("POST", upload_path(video_id, "/parts"), body=wanted)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


def test_one_put_has_no_parts_and_parts_no_checksum_of_the_whole(ada: Person) -> None:
    video_id = ada.new_video()
    wanted = {"parts": [{"number": 1, "sha256": digest(CONTENT)}]}
    assert ada.call("POST", upload_path(video_id, "/parts"), body=wanted).status == 409
    missing = ada.call("POST", upload_path(video_id, "/complete"))
    assert (missing.status, missing.json["missing_parts"]) == (409, [1])
    body = {
        "title": "A",
        "file_name": "b.mp4",
        "content_type": "video/mp4",
        "size_bytes": LONG,
        "sha256": digest(CONTENT),
    }
    answer = ada.call("POST", "/api/videos", body=body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "body.sha256")


def test_who_completes_at_the_same_time_gets_the_same_answer(stage: Stage, ada: Person) -> None:
    video_id = begin(ada)
    send_cheaply(stage, video_id)
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: ada.call("POST", upload_path(video_id, "/complete")), range(6))
        )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(objects(stage, video_id)) == 1


def test_a_completion_whose_answer_was_lost_is_found(stage: Stage, ada: Person) -> None:
    """S3 has the object, and knows of no upload any more."""
    video_id = begin(ada)
    session = session_of(stage, video_id)
    s3 = stage.emulator.client("s3")
    key = {"Bucket": stage.environment.raw_bucket, "Key": session.raw_key}
    s3.put_object(**key, Body=b"as it was made of its parts")
    s3.abort_multipart_upload(**key, UploadId=session.upload_id)
    assert ada.call("POST", upload_path(video_id, "/complete")).status == 200
    assert ada.call("POST", upload_path(video_id, "/abort")).status == 409


def test_an_aborted_upload_fails_its_video(stage: Stage, ada: Person) -> None:
    video_id = begin(ada)
    (one,) = signed(ada, video_id, 1)
    assert send("PUT", one["url"], body=part(1), headers=one["headers"]) == 200
    before = used(ada)
    first = ada.call("POST", upload_path(video_id, "/abort"))
    again = ada.call("POST", upload_path(video_id, "/abort"))
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json
    assert (first.json["status"], first.json["failure"]["code"]) == ("FAILED", "upload_aborted")
    failed = [e for e in stage.events(video_id) if e.event_type is EventType.VIDEO_FAILED]
    assert [event.data["code"] for event in failed] == ["upload_aborted"]
    assert send("PUT", one["url"], body=part(1), headers=one["headers"]) == 404
    for action in ("/complete", "/parts"):
        wanted = {"parts": [{"number": 1, "sha256": DIGESTS[1]}]} if action == "/parts" else None
        answer = ada.call("POST", upload_path(video_id, action), body=wanted)
        assert (answer.status, answer.json["video_status"]) == (409, "FAILED")
    assert unfinished(stage, stage.video(video_id).raw_key) == []
    assert used(ada) == {**before, "uploads": before["uploads"] - 1}


def test_of_abort_and_complete_one_wins(stage: Stage, ada: Person) -> None:
    outcomes = set()
    for _ in range(3):
        video_id = begin(ada)
        send_cheaply(stage, video_id)
        with ThreadPoolExecutor(2) as pool:
            completed, aborted = pool.map(
                lambda action, video_id=video_id: ada.call("POST", upload_path(video_id, action)),
                ("/complete", "/abort"),
            )
        there = len(objects(stage, video_id))
        outcome = (completed.status, aborted.status, there, stage.video(video_id).status)
        assert outcome in {
            (200, 409, 1, VideoStatus.PENDING),
            (409, 200, 0, VideoStatus.FAILED),
        }, outcome
        outcomes.add(outcome)
    assert outcomes


def test_uploads_are_for_those_who_may_change_the_video(stage: Stage, ada: Person) -> None:
    video_id = begin(ada)
    wanted = {"parts": [{"number": 1, "sha256": DIGESTS[1]}]}
    calls = [
        ("GET", "", None),
        ("POST", "/parts", wanted),
        ("POST", "/complete", None),
        ("POST", "/abort", None),
    ]
    for who, expected in (
        (stage.person("bob", ada.tenant), 403),
        (stage.person("vic", ada.tenant, "viewer"), 403),
        (stage.person("eve", f"other-{new_id()}", "admin"), 404),
    ):
        for method, action, body in calls:
            assert who.call(method, upload_path(video_id, action), body=body).status == expected
    root = stage.person("root", ada.tenant, "admin")
    assert root.call("GET", upload_path(video_id)).status == 200
    assert root.call("POST", upload_path(video_id, "/parts"), body=wanted).status == 200
    assert root.call("POST", upload_path(video_id, "/abort")).status == 200
    assert ada.call("GET", upload_path(new_id())).status == 404


def test_after_its_time_an_upload_takes_no_more(stage: Stage, ada: Person) -> None:
    video_id = begin(ada)
    over = datetime.now(UTC) - timedelta(seconds=1)
    session = replace(session_of(stage, video_id), open_until=over.isoformat())
    put(stage, session.to_item())
    wanted = {"parts": [{"number": 1, "sha256": DIGESTS[1]}]}
    for answer in (
        ada.call("GET", upload_path(video_id)),
        ada.call("POST", upload_path(video_id, "/parts"), body=wanted),
    ):
        assert answer.status == 409
        assert "was over at" in answer.json["detail"]


# --- what goes wrong -----------------------------------------------------------------------------


def test_parts_of_a_video_that_was_never_written_are_ended(
    stage: Stage, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API dies between the call to S3 and the transaction."""
    with (
        faulty_aws(stage.emulator.endpoint, FaultPlan(), seed=1) as aws,
        stage.other_process(aws.endpoint) as other,
    ):
        for _ in range(SDK_ATTEMPTS):
            aws.strike("TransactWriteItems", Fault.BROKEN)
        body = {
            "title": "A",
            "file_name": "b.mp4",
            "content_type": "video/mp4",
            "size_bytes": LONG,
        }
        person = replace(ada, api=other.api)
        assert person.call("POST", "/api/videos", body=body).status == 503
        other.api.process.kill()
    assert ada.listed() == []
    assert used(ada) == {"videos": 0, "stored_bytes": 0, "uploads": 0}
    (left,) = unfinished(stage, f"raw/{ada.tenant}/")
    kept = begin(ada)
    assert sweep_locally(stage, monkeypatch)["aborted"] >= 1
    assert left not in unfinished(stage, f"raw/{ada.tenant}/")
    assert unfinished(stage, f"raw/{ada.tenant}/") == [session_of(stage, kept).upload_id]


def test_an_abort_that_was_cut_off_is_finished_by_a_repeat(stage: Stage, ada: Person) -> None:
    video_id = begin(ada)
    with (
        faulty_aws(stage.emulator.endpoint, FaultPlan(), seed=1) as aws,
        stage.other_process(aws.endpoint) as other,
    ):
        for _ in range(SDK_ATTEMPTS):
            aws.strike("TransactWriteItems", Fault.BROKEN)
        person = replace(ada, api=other.api)
        assert person.call("POST", upload_path(video_id, "/abort")).status == 503
        other.api.process.kill()
    assert stage.video(video_id).status is VideoStatus.PENDING
    assert unfinished(stage, stage.video(video_id).raw_key) == []
    assert ada.call("GET", upload_path(video_id)).status == 409
    assert ada.call("POST", upload_path(video_id, "/abort")).json["status"] == "FAILED"


def test_a_repeated_request_gets_the_same_upload(stage: Stage, ada: Person) -> None:
    body = {"title": "A", "file_name": "b.mp4", "content_type": "video/mp4", "size_bytes": LONG}
    key = {"Idempotency-Key": new_id()}
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: ada.call("POST", "/api/videos", body=body, headers=key), range(4))
        )
    assert {answer.status for answer in answers} == {201}
    (video_id,) = {answer.json["video"]["video_id"] for answer in answers}
    assert unfinished(stage, f"raw/{ada.tenant}/") == [session_of(stage, video_id).upload_id]
    assert used(ada) == {"videos": 1, "stored_bytes": LONG, "uploads": 1}


# --- duplicates ----------------------------------------------------------------------------------


def guarded(stage: Stage, person: Person, **changes: Any) -> Video:
    """Create a video whose file the intake took in."""
    video = stage.change(
        person.new_video(**changes),
        status=VideoStatus.UPLOADED,
        raw_version_id="v1",
        current_run=new_id(),
        checksum_sha256=digest(CONTENT),
    )
    keys = duplicates.guard_keys(video.tenant, video.owner, digest(CONTENT), video.size_bytes)
    stage.emulator.client("dynamodb").transact_write_items(
        TransactItems=duplicates.guard_writes(
            stage.environment.table_name, video, digest(CONTENT), dict.fromkeys(keys)
        )
    )
    return video


NEW = {
    "title": "Again",
    "file_name": "again.mp4",
    "content_type": "video/mp4",
    "size_bytes": len(CONTENT),
    "sha256": digest(CONTENT),
}


def test_a_file_that_is_there_needs_no_upload(stage: Stage, ada: Person) -> None:
    video = guarded(stage, ada)
    before = used(ada)
    bob = stage.person("bob", ada.tenant)
    answer = bob.call("POST", "/api/videos", body=NEW)
    assert (answer.status, answer.json["upload"]) == (200, None)
    assert answer.json["video"]["video_id"] == video.video_id
    assert answer.json["video"]["checksum_sha256"] == digest(CONTENT)
    assert answer.headers["Location"] == f"/api/videos/{video.video_id}"
    assert used(ada) == before
    assert bob.call("POST", "/api/videos", body={**NEW, "duplicates": "keep"}).status == 201
    assert bob.call("POST", "/api/videos", body={**NEW, "size_bytes": 18}).status == 201
    eve = stage.person("eve", f"other-{new_id()}")
    assert eve.call("POST", "/api/videos", body=NEW).status == 201


def test_nobody_is_referred_to_what_he_may_not_see(stage: Stage, ada: Person) -> None:
    video = guarded(stage, ada, visibility="PRIVATE")
    bob = stage.person("bob", ada.tenant, "admin")
    assert bob.call("POST", "/api/videos", body=NEW).status == 201
    assert ada.call("POST", "/api/videos", body=NEW).json["video"]["video_id"] == video.video_id


@pytest.mark.parametrize("status", [VideoStatus.FAILED, VideoStatus.DELETED])
def test_nobody_is_referred_to_what_is_no_more(
    stage: Stage, ada: Person, status: VideoStatus
) -> None:
    video = guarded(stage, ada)
    stage.change(video.video_id, status=status, failure=Failure(code="c", message="m"))
    assert ada.call("POST", "/api/videos", body=NEW).status == 201


# --- quotas --------------------------------------------------------------------------------------


def test_what_is_used_is_told(ada: Person) -> None:
    limits = {"videos": 10_000, "stored_bytes": 10**12, "uploads": 1000}
    ada.new_video(size_bytes=5)
    ada.new_video(size_bytes=7)
    assert ada.call("GET", "/api/usage").json == {
        "tenant": ada.tenant,
        "videos": {"used": 2, "limit": limits["videos"]},
        "stored_bytes": {"used": 12, "limit": limits["stored_bytes"]},
        "uploads": {"used": 2, "limit": limits["uploads"]},
    }


@pytest.mark.parametrize(
    ("limits", "size_bytes", "exceeded"),
    [
        ({"videos": 1}, 1, {"name": "videos", "used": 1, "limit": 1}),
        ({"stored_bytes": 20}, 10, {"name": "stored_bytes", "used": 17, "limit": 20}),
        ({"stored_bytes": 20}, LONG, {"name": "stored_bytes", "used": 17, "limit": 20}),
        ({"uploads": 1}, 1, {"name": "uploads", "used": 1, "limit": 1}),
        ({"uploads": 0}, 1, {"name": "uploads", "used": 1, "limit": 0}),
    ],
)
def test_a_tenant_gets_no_more_than_its_quota(
    stage: Stage, ada: Person, limits: dict[str, int], size_bytes: int, exceeded: dict[str, Any]
) -> None:
    ada.new_video(size_bytes=17)
    before = used(ada)
    set_quota(stage, ada.tenant, **limits)
    body = {
        "title": "A",
        "file_name": "b.mp4",
        "content_type": "video/mp4",
        "size_bytes": size_bytes,
    }
    answer = ada.call("POST", "/api/videos", body=body)
    assert answer.status == 409
    assert answer.json["type"].endswith(":quota-exceeded")
    assert answer.json["exceeded"] == exceeded
    assert str(exceeded["limit"]) in answer.json["detail"]
    assert used(ada) == before
    assert unfinished(stage, f"raw/{ada.tenant}/") == []


def test_what_other_regions_use_counts(stage: Stage, ada: Person) -> None:
    key = table.usage_key(ada.tenant, "us-west-2")
    put(stage, {"pk": {"S": key.pk}, "sk": {"S": key.sk}, "videos": {"N": "3"}})
    set_quota(stage, ada.tenant, videos=4)
    ada.new_video()
    body = {"title": "A", "file_name": "b.mp4", "content_type": "video/mp4", "size_bytes": 1}
    answer = ada.call("POST", "/api/videos", body=body)
    assert (answer.status, answer.json["exceeded"]["used"]) == (409, 4)


def test_an_upload_that_ended_makes_room(stage: Stage, ada: Person) -> None:
    set_quota(stage, ada.tenant, uploads=1)
    video_id = ada.new_video()
    body = {"title": "A", "file_name": "b.mp4", "content_type": "video/mp4", "size_bytes": 1}
    assert ada.call("POST", "/api/videos", body=body).status == 409
    assert ada.call("POST", upload_path(video_id, "/abort")).status == 200
    assert ada.call("POST", "/api/videos", body=body).status == 201


def test_many_at_once_all_succeed_and_are_counted(stage: Stage, ada: Person) -> None:
    with ThreadPoolExecutor(30) as pool:
        created = list(pool.map(lambda _: ada.new_video(size_bytes=3), range(30)))
    assert len(set(created)) == 30
    assert used(ada) == {"videos": 30, "stored_bytes": 90, "uploads": 30}


def test_many_at_once_in_several_processes_get_no_more_than_the_quota(
    stage: Stage, ada: Person
) -> None:
    set_quota(stage, ada.tenant, videos=7)
    body = {"title": "A", "file_name": "b.mp4", "content_type": "video/mp4", "size_bytes": 3}
    with stage.other_process() as other, ThreadPoolExecutor(20) as pool:
        people = [ada, replace(ada, api=other.api)] * 10
        answers = list(pool.map(lambda who: who.call("POST", "/api/videos", body=body), people))
    assert sorted(answer.status for answer in answers) == [201] * 7 + [409] * 13
    assert used(ada) == {"videos": 7, "stored_bytes": 21, "uploads": 7}


def test_conflicts_with_others_are_waited_out(stage: Stage, ada: Person) -> None:
    """DynamoDB refuses what meets another transaction at the use of the tenant."""
    with (
        faulty_aws(stage.emulator.endpoint, FaultPlan(), seed=1) as aws,
        stage.other_process(aws.endpoint) as other,
    ):
        for _ in range(4):
            aws.strike("TransactWriteItems", Fault.CONFLICT)
        replace(ada, api=other.api).new_video(size_bytes=3)
    assert used(ada) == {"videos": 1, "stored_bytes": 3, "uploads": 1}
