"""Uploads between their arrival and their transcoding: scanners, verdicts, quarantine.

One scanner is the built-in one as it is deployed. The other is of another team: it knows the
contract of the messages and nothing else of the platform.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from emulator import ACCOUNT, REGION, allow
from intake_stage import (
    BUCKET,
    CLUSTER,
    FORBIDDEN,
    QUEUE,
    SERVICE,
    TABLE,
    Stage,
    intake_environment,
    requests_queue,
    running_stage,
    stored_time,
    verdicts_queue,
)
from waiting import eventually

from media_platform.assets import Service
from media_platform.contract import table
from media_platform.contract.environment import ScanVerdictsEnvironment
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.scanning import (
    Scan,
    ScannerQueues,
    ScanRequest,
    Verdict,
    scanners_to_json,
    verdict_update,
)
from media_platform.contract.times import timestamp
from media_platform.contract.video import Failure, Video, VideoStatus
from upload_intake.onward import Next, Onward

VERDICTS = "verdicts"
CONTENT_SCAN = "content-scan"
OWN, OTHER = "content", "legal"


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4) + kind + content


HANDLER = box(b"hdlr", bytes(8) + b"vide" + bytes(12))
FILM = box(b"ftyp", b"isom" + bytes(4)) + box(b"moov", box(b"trak", box(b"mdia", HANDLER)))
PAGE = b"<!DOCTYPE html><script>alert(document.domain)</script>"


class OtherScanner:
    """A scanner of another team, with the rights that it is granted."""

    def __init__(self, stage: Stage) -> None:
        role = stage.emulator.role(
            "legal",
            "ecs-tasks.amazonaws.com",
            [
                allow(
                    ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
                    queue_arn(requests_queue(OTHER)),
                ),
                allow(["sqs:SendMessage"], queue_arn(verdicts_queue(OTHER))),
                allow(["s3:GetObjectVersion"], f"arn:aws:s3:::{BUCKET}/raw/*"),
                allow(["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
            ],
        )
        session = stage.emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="legal")
        made = boto3.Session(
            aws_access_key_id=session["Credentials"]["AccessKeyId"],
            aws_secret_access_key=session["Credentials"]["SecretAccessKey"],
            aws_session_token=session["Credentials"]["SessionToken"],
            region_name=REGION,
        )
        self._sqs = made.client("sqs", endpoint_url=stage.emulator.endpoint)
        self._s3 = made.client("s3", endpoint_url=stage.emulator.endpoint)
        self._queue_url = stage.scanners[OTHER].requests_url
        self._waiting: dict[str, list[ScanRequest]] = {}

    def asked(self, video: Video) -> ScanRequest:
        """Wait for a request about a video, and take it out of the queue."""

        def look() -> list[ScanRequest]:
            self.receive()
            return self._waiting.get(video.video_id, [])

        return eventually(look, "the other scanner is asked").pop(0)

    def receive(self) -> None:
        """Take what is in the queue."""
        answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", ()):
            request = ScanRequest.from_json(message["Body"])
            self._waiting.setdefault(request.video_id, []).append(request)
            self._sqs.delete_message(
                QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
            )

    def unanswered(self, video: Video) -> int:
        """Return how many requests about a video nobody answered."""
        self.receive()
        return len(self._waiting.get(video.video_id, ()))

    def read(self, request: ScanRequest) -> bytes:
        """Read the file that a request names."""
        answer = self._s3.get_object(
            Bucket=request.bucket, Key=request.key, VersionId=request.version_id
        )
        return bytes(answer["Body"].read())

    def answer(self, request: ScanRequest, verdict: Verdict) -> None:
        """Send a verdict to where the request says."""
        self._sqs.send_message(QueueUrl=request.answer_to, MessageBody=verdict.to_json())


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("emulator")
    with running_stage(folder, scanners=(OWN, OTHER)) as found:
        deploy_verdicts(found)
        deploy_content_scan(found)
        yield found


@pytest.fixture(scope="module")
def other(stage: Stage) -> OtherScanner:
    return OtherScanner(stage)


def deploy_verdicts(stage: Stage) -> None:
    """Deploy the function with the rights that ``upload_intake.verdicts`` documents."""
    table_arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}"
    queues = [verdicts_queue(name) for name in stage.scanners]
    environment = ScanVerdictsEnvironment(
        home_region=REGION,
        table_name=TABLE,
        raw_bucket=BUCKET,
        express_queue_url=stage.queue_url,
        worker_cluster=CLUSTER,
        worker_service=SERVICE,
        scanners=scanners_to_json(stage.scanners),
    )
    stage.emulator.function(
        VERDICTS,
        Service.UPLOAD_INTAKE,
        "upload_intake.verdicts.handle",
        [
            allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], table_arn),
            allow(["s3:PutObjectVersionTagging"], f"arn:aws:s3:::{BUCKET}/raw/*"),
            read_by_lambda(*queues),
            allow(["sqs:SendMessage"], queue_arn(QUEUE)),
            allow(
                ["application-autoscaling:RegisterScalableTarget"],
                f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/*",
            ),
            allow(
                ["ecs:DescribeServices", "ecs:UpdateService"],
                f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{CLUSTER}/{SERVICE}",
            ),
        ],
        environment=environment.to_variables(),
    )
    for queue in queues:
        consume(stage, VERDICTS, queue)


def deploy_content_scan(stage: Stage) -> None:
    """Deploy the function with the rights that ``content_scan.handler`` documents."""
    stage.emulator.function(
        CONTENT_SCAN,
        Service.CONTENT_SCAN,
        "content_scan.handler.handle",
        [
            read_by_lambda(requests_queue(OWN)),
            allow(
                ["s3:GetObjectVersion", "s3:GetObjectVersionTagging"],
                f"arn:aws:s3:::{BUCKET}/raw/*",
            ),
            allow(["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
            allow(["sqs:SendMessage"], queue_arn(verdicts_queue(OWN))),
        ],
    )
    consume(stage, CONTENT_SCAN, requests_queue(OWN))


def read_by_lambda(*queues: str) -> dict[str, Any]:
    return allow(
        ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
        *(queue_arn(queue) for queue in queues),
    )


def consume(stage: Stage, function: str, queue: str) -> None:
    stage.emulator.client("lambda").create_event_source_mapping(
        FunctionName=function,
        EventSourceArn=queue_arn(queue),
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )


def upload(stage: Stage, content: bytes = FILM, **changes: Any) -> Video:
    """Upload a file, and return its video once it was taken in."""
    video = stage.create(size_bytes=len(content), **changes)
    stage.upload(video.raw_key, content)
    return eventually(
        lambda: after if (after := stage.video(video.video_id)).uploaded_at else None,
        "the upload is in",
    )


def unasked(stage: Stage) -> Video:
    """Return a video that waits for scanners of which none was asked, so that none answers."""
    return stage.change(
        stage.create(),
        status=VideoStatus.UPLOADED,
        scan=Scan.WAITING,
        raw_version_id="1",
        current_run=new_id(),
        uploaded_at=timestamp(),
    )


def take(stage: Stage, verdict: Verdict, queue: str | None = None) -> list[dict[str, str]]:
    """Hand a verdict to the function as its queue would; return what stays in the queue."""
    record = {
        "messageId": "1",
        "body": verdict.to_json(),
        "eventSourceARN": queue_arn(queue or verdicts_queue(verdict.scanner)),
        "messageAttributes": {},
    }
    answer = stage.emulator.invoke(VERDICTS, {"Records": [record]})
    return list(answer["batchItemFailures"])


def verdict_on(video: Video, scanner: str = OTHER, **changes: Any) -> Verdict:
    """Return the verdict of a scanner that lets a video pass."""
    assert video.current_run is not None
    assert video.raw_version_id is not None
    clean = ScanRequest(
        video_id=video.video_id,
        run_id=video.current_run,
        tenant=video.tenant,
        scanner=scanner,
        bucket=BUCKET,
        key=video.raw_key,
        version_id=video.raw_version_id,
        size_bytes=video.size_bytes,
        content_type=video.content_type,
        sent_at=timestamp(),
        answer_to="",
    ).clean()
    return replace(clean, **changes)


def refusal_of(video: Video, scanner: str = OTHER) -> Verdict:
    clean = verdict_on(video, scanner).to_json()
    reason = {"outcome": "refused", "code": "unlawful", "message": "The film is not yours."}
    return Verdict.from_json(json.dumps({**json.loads(clean), **reason}))


def heard(stage: Stage, video: Video, scanner: str) -> None:
    """Wait until the verdict of a scanner is recorded."""
    eventually(lambda: f"by_{scanner}" in recorded(stage, video), f"{scanner} answered")


def recorded(stage: Stage, video: Video) -> dict[str, Any]:
    assert video.current_run is not None
    answer = stage.emulator.client("dynamodb").get_item(
        TableName=TABLE,
        Key=table.scan_key(video.video_id, video.current_run).to_wire(),
        ConsistentRead=True,
    )
    return dict(answer.get("Item", {}))


def tags(stage: Stage, video: Video) -> dict[str, str]:
    answer = stage.emulator.client("s3").get_object_tagging(
        Bucket=BUCKET, Key=video.raw_key, VersionId=video.raw_version_id
    )
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def failed(stage: Stage, video: Video) -> Video:
    """Wait until a video is FAILED and its file is put away."""
    eventually(lambda: stage.video(video.video_id).failure, "the video failed")
    eventually(lambda: tags(stage, video) == {"quarantine": "yes"}, "the file is quarantined")
    return stage.video(video.video_id)


def test_a_job_is_sent_when_every_scanner_lets_the_file_pass(
    stage: Stage, other: OtherScanner
) -> None:
    stage.rest()
    video = upload(stage)
    assert (video.status, video.scan) == (VideoStatus.UPLOADED, Scan.WAITING)
    request = other.asked(video)
    assert request == ScanRequest(
        video_id=video.video_id,
        run_id=str(video.current_run),
        tenant="acme",
        scanner=OTHER,
        bucket=BUCKET,
        key=video.raw_key,
        version_id=str(video.raw_version_id),
        size_bytes=len(FILM),
        content_type="video/mp4",
        sent_at=request.sent_at,
        answer_to=stage.scanners[OTHER].verdicts_url,
    )
    assert other.read(request) == FILM
    heard(stage, video, OWN)
    assert stage.jobs(video.video_id) == []
    assert stage.desired_count == 0, "a scanner that takes its time keeps no worker up"

    other.answer(request, request.clean())
    (job,) = eventually(lambda: stage.jobs(video.video_id), "the job is sent")
    assert (job.run_id, job.version_id) == (video.current_run, video.raw_version_id)
    after = stage.video(video.video_id)
    assert (after.status, after.scan) == (VideoStatus.UPLOADED, Scan.CLEAN)
    eventually(lambda: stage.desired_count == 1, "a worker is woken")
    assert tags(stage, video) == {}


def test_what_the_built_in_scanner_refuses_is_quarantined(
    stage: Stage, other: OtherScanner
) -> None:
    video = upload(stage, PAGE)
    after = failed(stage, video)
    assert (after.status, after.scan) == (VideoStatus.FAILED, Scan.REFUSED)
    assert after.failure == Failure(
        code="not_a_video", message="The file is a web page or another document, not a video."
    )
    _, _, event = stage.events(video.video_id)
    assert event.event_type is EventType.VIDEO_FAILED
    assert event.data == {"code": after.failure.code, "message": after.failure.message}

    request = other.asked(video)
    other.answer(request, request.clean())
    assert take(stage, verdict_on(video)) == []
    assert stage.video(video.video_id) == after
    assert stage.jobs(video.video_id) == []


def test_another_scanner_refuses_with_a_reason_of_its_own(
    stage: Stage, other: OtherScanner
) -> None:
    video = upload(stage)
    request = other.asked(video)
    heard(stage, video, OWN)
    other.answer(request, request.refused("unlawful", "The film is not yours."))
    after = failed(stage, video)
    assert after.failure == Failure(code="unlawful", message="The film is not yours.")
    assert stage.jobs(video.video_id) == []


def test_the_first_refusal_is_the_reason(stage: Stage) -> None:
    video = upload(stage, PAGE)
    after = failed(stage, video)
    assert take(stage, refusal_of(video)) == []
    assert stage.video(video.video_id) == after
    assert len(stage.events(video.video_id)) == 3


def test_verdicts_may_come_again_and_in_any_order(stage: Stage) -> None:
    video = upload(stage)
    for _ in range(2):
        assert take(stage, verdict_on(video)) == []
    heard(stage, video, OWN)
    eventually(lambda: stage.video(video.video_id).scan is Scan.CLEAN, "the scan is over")
    after = stage.video(video.video_id)
    for scanner in (OWN, OTHER, OWN):
        assert take(stage, verdict_on(video, scanner)) == []
    jobs = eventually(lambda: stage.jobs(video.video_id), "the job is sent")
    assert len(set(jobs)) == 1
    assert stage.video(video.video_id) == after
    assert len(stage.events(video.video_id)) == 2


def test_a_scanner_may_change_its_mind_to_a_refusal_only(stage: Stage) -> None:
    video = unasked(stage)
    dynamodb = stage.emulator.client("dynamodb")
    now = timestamp()
    dynamodb.update_item(**verdict_update(TABLE, verdict_on(video), at=now))
    dynamodb.update_item(**verdict_update(TABLE, refusal_of(video), at=now))
    for verdict in (verdict_on(video), refusal_of(video)):
        with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
            dynamodb.update_item(**verdict_update(TABLE, verdict, at=now))
    for scanner in (OWN, OTHER):
        assert take(stage, verdict_on(video, scanner)) == []
    assert stage.video(video.video_id).scan is Scan.WAITING, "a refusal stands"
    assert stage.jobs(video.video_id) == []


def test_forged_and_strange_verdicts_change_nothing(stage: Stage) -> None:
    video = upload(stage)
    heard(stage, video, OWN)
    refused = refusal_of(video)
    for verdict, queue in (
        # A scanner cannot speak for another, nor can a queue that belongs to none.
        (verdict_on(video, OWN), verdicts_queue(OTHER)),
        (verdict_on(video), verdicts_queue(OWN)),
        (verdict_on(video), requests_queue(OTHER)),
        (verdict_on(video, "unknown"), verdicts_queue("unknown")),
        (refused, verdicts_queue(OWN)),
        (replace(refused, version_id="another"), None),
        (replace(refused, run_id=new_id()), None),
        (verdict_on(video, run_id=new_id()), None),
        (verdict_on(video, video_id=new_id()), None),
    ):
        assert take(stage, verdict, queue) == []
    assert stage.video(video.video_id) == video
    assert set(recorded(stage, video)) == {"pk", "sk", f"by_{OWN}"}
    assert stage.jobs(video.video_id) == []


def test_what_is_no_verdict_stays_for_an_operator(stage: Stage) -> None:
    video = upload(stage)
    good = verdict_on(video)
    records = [
        {"messageId": str(number), "body": body, "eventSourceARN": queue_arn(verdicts_queue(OTHER))}
        for number, body in enumerate(("", "[]", good.to_json(), '{"outcome": "refused"}'))
    ]
    answer = stage.emulator.invoke(VERDICTS, {"Records": records})
    assert {failure["itemIdentifier"] for failure in answer["batchItemFailures"]} == {"0", "1", "3"}
    heard(stage, video, OTHER)


@pytest.mark.parametrize("status", [VideoStatus.DELETED, VideoStatus.FAILED])
def test_a_verdict_on_a_video_that_went_on_is_late(
    stage: Stage, other: OtherScanner, status: VideoStatus
) -> None:
    video = upload(stage)
    heard(stage, video, OWN)
    before = stage.change(stage.video(video.video_id), status=status)
    for verdict in (verdict_on(video), refusal_of(video)):
        assert take(stage, verdict) == []
    assert stage.video(video.video_id) == before
    assert tags(stage, video) == {}
    assert stage.jobs(video.video_id) == []


def test_a_video_that_waits_again_is_scanned_again(stage: Stage, other: OtherScanner) -> None:
    video = upload(stage)
    first = other.asked(video)
    heard(stage, video, OWN)
    deleted = stage.change(stage.video(video.video_id), status=VideoStatus.DELETED)
    again = stage.change(deleted, status=VideoStatus.UPLOADED, current_run=new_id())
    assert stage.invoke(video.raw_key, str(video.raw_version_id)) == "sent_again"
    second = other.asked(video)
    assert (first.run_id, second.run_id) == (video.current_run, again.current_run)
    heard(stage, again, OWN)
    other.answer(first, first.clean())
    assert take(stage, first.clean()) == []
    assert stage.jobs(video.video_id) == [], "what was said of the run before does not count"
    other.answer(second, second.clean())
    (job,) = eventually(lambda: stage.jobs(video.video_id), "the job is sent")
    assert job.run_id == again.current_run


def test_a_repeated_event_asks_those_who_did_not_answer(stage: Stage, other: OtherScanner) -> None:
    video = upload(stage)
    other.asked(video)
    heard(stage, video, OWN)
    assert stage.invoke(video.raw_key, str(video.raw_version_id)) == "sent_again"
    other.asked(video)
    assert other.unanswered(video) == 0
    assert stage.jobs(video.video_id) == []
    assert stage.video(video.video_id) == video


def test_the_sweep_asks_again_and_starts_nothing(stage: Stage, other: OtherScanner) -> None:
    video = upload(stage)
    other.asked(video)
    heard(stage, video, OWN)
    old = replace(video, updated_at=stored_time(datetime.now(UTC) - timedelta(minutes=6)))
    stage.put(old.to_item())
    assert stage.sweep() == {"sent_again": 1}
    request = other.asked(video)
    assert stage.jobs(video.video_id) == []
    assert stage.video(video.video_id) == old
    assert take(stage, request.clean()) == []
    assert len(stage.jobs(video.video_id)) == 1


def test_a_verdict_that_was_recorded_and_not_acted_on_is_not_lost(stage: Stage) -> None:
    video = unasked(stage)
    # As a crash behind the record of the last one left it; the message is lost as well.
    dynamodb = stage.emulator.client("dynamodb")
    for scanner in (OWN, OTHER):
        verdict = verdict_on(video, scanner)
        dynamodb.update_item(**verdict_update(TABLE, verdict, at=timestamp()))
    assert stage.invoke(video.raw_key, str(video.raw_version_id)) == "sent_again"
    assert len(stage.jobs(video.video_id)) == 1
    assert stage.video(video.video_id).scan is Scan.CLEAN


def test_a_file_is_put_away_by_the_repeat_if_the_first_died(stage: Stage) -> None:
    video = upload(stage)
    heard(stage, video, OWN)
    # As a crash between the transaction and the tag left it.
    failure = Failure(code="unlawful", message="The film is not yours.")
    before = stage.change(
        stage.video(video.video_id),
        status=VideoStatus.FAILED,
        scan=Scan.REFUSED,
        failure=failure,
    )
    assert take(stage, refusal_of(video)) == []
    assert tags(stage, video) == {"quarantine": "yes"}
    assert stage.video(video.video_id) == before


def test_a_file_that_is_gone_is_a_failure_with_a_reason(stage: Stage) -> None:
    video = upload(stage)
    heard(stage, video, OWN)
    deleted = stage.change(stage.video(video.video_id), status=VideoStatus.DELETED)
    stage.emulator.client("s3").delete_object(
        Bucket=BUCKET, Key=video.raw_key, VersionId=video.raw_version_id
    )
    stage.change(deleted, status=VideoStatus.UPLOADED, current_run=new_id())
    stage.invoke(video.raw_key, str(video.raw_version_id))
    failure = eventually(lambda: stage.video(video.video_id).failure, "the video failed")
    assert failure.code == "file_gone"


def test_what_another_scanner_refused_is_left_alone(stage: Stage) -> None:
    """Nobody may read it any more, which must not end among the dead letters."""
    video = unasked(stage)
    version = stage.upload(key := f"{FORBIDDEN}ada/film.mp4")
    s3 = stage.emulator.client("s3")
    denial = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:GetObjectVersion"],
        "Resource": f"arn:aws:s3:::{BUCKET}/{FORBIDDEN}*",
    }
    request = {
        **json.loads(verdict_on(video, OWN).to_json()),
        "version_id": version,
        "tenant": "acme",
        "bucket": BUCKET,
        "key": key,
        "size_bytes": 1,
        "content_type": "video/mp4",
        "sent_at": video.updated_at,
        "answer_to": stage.scanners[OWN].verdicts_url,
    }
    event = {"Records": [{"messageId": "1", "body": json.dumps(request)}]}
    s3.put_bucket_policy(
        Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denial]})
    )
    try:
        # Without the tag it is a right that is missing, and the request stays.
        kept = stage.emulator.invoke(CONTENT_SCAN, event)["batchItemFailures"]
        assert kept == [{"itemIdentifier": "1"}]
        tagging = {"TagSet": [{"Key": "quarantine", "Value": "yes"}]}
        s3.put_object_tagging(Bucket=BUCKET, Key=key, VersionId=version, Tagging=tagging)
        assert stage.emulator.invoke(CONTENT_SCAN, event)["batchItemFailures"] == []
    finally:
        s3.delete_bucket_policy(Bucket=BUCKET)
    assert recorded(stage, video) == {}


@pytest.fixture
def onward(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make what takes videos on in this process, for other scanners than those of the stage."""
    for name, value in {
        "AWS_ENDPOINT_URL": stage.emulator.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)

    def make(**scanners: ScannerQueues) -> Onward:
        return Onward.connect(intake_environment(stage.queue_url, scanners))

    return make


def test_a_scanner_that_was_removed_is_not_waited_for(stage: Stage, onward: Any) -> None:
    video = upload(stage)
    heard(stage, video, OWN)
    without = onward(content=stage.scanners[OWN])
    assert without.go_on(stage.video(video.video_id), BUCKET) is Next.STARTED
    assert len(stage.jobs(video.video_id)) == 1
    assert stage.video(video.video_id).scan is Scan.CLEAN


def test_workers_start_beside_the_built_in_scanner(stage: Stage, onward: Any) -> None:
    """It answers at once, and a worker that stands at zero takes half a minute to come up."""
    video = upload(stage)
    stage.rest()
    assert onward(legal=stage.scanners[OTHER]).go_on(video, BUCKET) is Next.SCANNING
    assert stage.desired_count == 0
    # Its queue is another one, so that it does not answer here.
    silent = stage.scanners[OTHER]
    waiting = replace(video, current_run=new_id())
    assert onward(content=silent).go_on(waiting, BUCKET) is Next.SCANNING
    assert stage.desired_count == 1
    assert stage.jobs(video.video_id) == []


def test_a_change_beside_it_is_not_overwritten(stage: Stage, onward: Any) -> None:
    video = upload(stage)
    heard(stage, video, OWN)
    renamed = stage.change(video, title="New")
    without = onward(content=stage.scanners[OWN])
    assert without.go_on(video, BUCKET) is Next.CHANGED
    assert stage.video(video.video_id) == renamed
    assert stage.jobs(video.video_id) == []
