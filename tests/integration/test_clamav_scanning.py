"""The scanner that asks ClamAV, as a process between its queues, with the rights it is granted.

clamd is a stand-in that speaks the protocol, and the real one, too, where a machine has it; what a
refusal leads to is the same for all scanners (``test_lambdas_scanning.py``).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clam_programs import EICAR, ENDLESS, SIGNATURE, install, real_clamd
from emulator import ACCOUNT, REGION, Emulator, allow, running_emulator
from intake_stage import FORBIDDEN
from waiting import eventually

from media_platform.contract.environment import ClamAvScannerEnvironment
from media_platform.contract.ids import new_id
from media_platform.contract.scanning import ScanRequest, Unscanned, Verdict
from media_platform.contract.tracing import TraceContext

ROOT = Path(__file__).parents[2]
BUCKET, REQUESTS, VERDICTS, DEAD_LETTERS = "raw", "requests", "verdicts", "dead-letters"
TRACE = TraceContext.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


@dataclass(frozen=True)
class Stage:
    """The bucket and the queues of a scanner."""

    emulator: Emulator
    requests_url: str
    verdicts_url: str
    credentials: dict[str, str]

    def upload(self, content: bytes, key: str | None = None) -> ScanRequest:
        """Upload a file and return what a scanner is asked about it."""
        video_id = new_id()
        key = key or f"raw/acme/ada/{video_id}.mp4"
        made = self.emulator.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)
        return ScanRequest(
            video_id=video_id,
            run_id=new_id(),
            tenant="acme",
            scanner="malware",
            bucket=BUCKET,
            key=key,
            version_id=made["VersionId"],
            size_bytes=len(content),
            content_type="video/mp4",
            sent_at="2026-11-21T09:21:58.120Z",
            answer_to=self.verdicts_url,
        )

    def ask(self, request: ScanRequest) -> None:
        assert TRACE is not None
        self.emulator.client("sqs").send_message(
            QueueUrl=self.requests_url,
            MessageBody=request.to_json(),
            MessageAttributes=TRACE.message_attributes(),
        )

    def answer(self) -> dict[str, Any]:
        """Wait for the next message with a verdict."""

        def look() -> dict[str, Any] | None:
            found = self.emulator.messages(self.verdicts_url)
            return found[0] if found else None

        return eventually(look, "a verdict")

    def verdict(self, request: ScanRequest) -> Verdict:
        """Ask, and wait for the verdict."""
        self.ask(request)
        return Verdict.from_json(self.answer()["Body"])

    def waiting(self) -> tuple[int, int]:
        """Return how many requests are visible, and how many are being worked on."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.emulator.client("sqs").get_queue_attributes(
            QueueUrl=self.requests_url, AttributeNames=names
        )["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def settled(self) -> bool:
        return self.waiting() == (0, 0)


@dataclass(frozen=True)
class Process:
    """A scanner as a process, and whether its clamd is the stand-in."""

    process: subprocess.Popen[bytes]
    log_file: Path
    stand_in: bool

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def wait_for(self, message: str) -> dict[str, Any]:
        return eventually(
            lambda: next((line for line in self.log() if line["message"] == message), None),
            f"{message!r} in the log",
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        s3, sqs = emulator.client("s3"), emulator.client("sqs")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in (REQUESTS, VERDICTS)]
        made = Stage(emulator, *urls, granted(emulator))
        yield made
        denied = [call for call in emulator.denied() if FORBIDDEN not in call["resource"]]
        assert denied == [], "what is granted is enough"


def granted(emulator: Emulator) -> dict[str, str]:
    """Return credentials of a role that may do what ``Scanner.grant_scan`` grants."""
    role = emulator.role(
        "malware",
        "ecs-tasks.amazonaws.com",
        [
            allow(
                [
                    "sqs:ChangeMessageVisibility",
                    "sqs:DeleteMessage",
                    "sqs:GetQueueAttributes",
                    "sqs:ReceiveMessage",
                ],
                queue_arn(REQUESTS),
            ),
            allow(["sqs:SendMessage"], queue_arn(VERDICTS)),
            allow(
                ["s3:GetObjectVersion", "s3:GetObjectVersionTagging"],
                f"arn:aws:s3:::{BUCKET}/raw/*",
            ),
            allow(["s3:ListBucket"], f"arn:aws:s3:::{BUCKET}"),
        ],
    )
    made = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="malware")[
        "Credentials"
    ]
    return {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        "AWS_SESSION_TOKEN": made["SessionToken"],
    }


@pytest.fixture(scope="module", params=["stand-in", "real"])
def scanner(
    request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """The scanner with a clamd, which has one signature."""
    clamd = real_clamd() if request.param == "real" else None
    if request.param == "real" and clamd is None:
        pytest.skip("this machine has no clamd; Debian's package clamav-daemon brings one")
    programs = install(tmp_path_factory.mktemp("programs"), real_clamd=clamd)
    environment = ClamAvScannerEnvironment(
        home_region=REGION,
        queue_url=stage.requests_url,
        visibility_timeout_seconds=3,
        max_scan_bytes=10 * 1024**2,
        unscanned=Unscanned.REFUSE,
        signature_mirror="database.example",
    )
    log_file = tmp_path_factory.mktemp("log") / "scanner.log"
    with log_file.open("wb") as output, tempfile.TemporaryDirectory(prefix="clam-") as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", "clamav_scan"],
            env={
                **environment.to_variables(),
                **stage.credentials,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime/scanner_clamav'}",
                "AWS_ENDPOINT_URL": stage.emulator.endpoint,
                "AWS_EC2_METADATA_DISABLED": "true",
                "TMPDIR": scratch,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        running = Process(process, log_file, stand_in=clamd is None)
        try:
            running.wait_for("clamd is ready")
            yield running
        finally:
            # Its clamd ends with it, but not if it is killed.
            process.terminate()
            process.wait(30)


def test_a_clean_file_is_let_pass(stage: Stage, scanner: Process) -> None:
    request = stage.upload(b"a film" * 100)
    stage.ask(request)
    message = stage.answer()
    assert Verdict.from_json(message["Body"]) == request.clean()
    assert TRACE is not None
    assert (
        message["MessageAttributes"]["traceparent"]["StringValue"]
        == TRACE.message_attributes()["traceparent"]["StringValue"]
    )
    eventually(stage.settled, "the request is deleted")


def test_malware_behind_nine_megabytes_is_found(stage: Stage, scanner: Process) -> None:
    verdict = stage.verdict(stage.upload(bytes(9 * 1024**2) + EICAR))
    assert verdict.code == "malware"
    assert verdict.message is not None
    # The real one marks signatures that do not come from its makers.
    assert verdict.message.removesuffix(".").removesuffix(".UNOFFICIAL") == (
        f"The file holds malware: {SIGNATURE}"
    )


def test_the_pinned_version_is_judged_and_no_other(stage: Stage, scanner: Process) -> None:
    pinned = stage.upload(EICAR)
    stage.upload(b"a film", key=pinned.key)
    assert stage.verdict(pinned).code == "malware"


def test_a_file_that_is_too_large_is_told_from_a_clean_one(stage: Stage, scanner: Process) -> None:
    verdict = stage.verdict(stage.upload(bytes(10 * 1024**2 + 1)))
    assert verdict.code == "not_scanned"
    largest = stage.upload(bytes(10 * 1024**2))
    assert stage.verdict(largest) == largest.clean()


def test_a_version_that_is_gone_is_refused(stage: Stage, scanner: Process) -> None:
    request = stage.upload(b"a film")
    stage.emulator.client("s3").delete_object(
        Bucket=BUCKET, Key=request.key, VersionId=request.version_id
    )
    assert stage.verdict(request).code == "file_gone"


def test_what_another_scanner_refused_is_nobody_s_any_more(stage: Stage, scanner: Process) -> None:
    s3 = stage.emulator.client("s3")
    request = stage.upload(EICAR, key=f"{FORBIDDEN}film.mp4")
    s3.put_object_tagging(
        Bucket=BUCKET,
        Key=request.key,
        VersionId=request.version_id,
        Tagging={"TagSet": [{"Key": "quarantine", "Value": "yes"}]},
    )
    denial = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:GetObjectVersion"],
        "Resource": f"arn:aws:s3:::{BUCKET}/{FORBIDDEN}*",
    }
    s3.put_bucket_policy(
        Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denial]})
    )
    stage.ask(request)
    scanner.wait_for("another scanner refused the file")
    eventually(stage.settled, "the request is deleted")
    assert stage.emulator.messages(stage.verdicts_url) == []


def test_a_request_that_is_none_stays_in_the_queue(stage: Stage, scanner: Process) -> None:
    sqs = stage.emulator.client("sqs")
    sqs.send_message(QueueUrl=stage.requests_url, MessageBody="{}")
    scanner.wait_for("a file was not judged")
    eventually(lambda: stage.waiting()[0], "it is seen again")
    sqs.purge_queue(QueueUrl=stage.requests_url)
    eventually(stage.settled, "the queue is empty")


def test_a_long_scan_keeps_its_request_until_the_task_is_stopped(
    stage: Stage, scanner: Process
) -> None:
    """The last test, since it ends the process."""
    if not scanner.stand_in:
        pytest.skip("only the stand-in takes for ever")
    stage.ask(stage.upload(ENDLESS))
    eventually(
        lambda: "sqs:ChangeMessageVisibility" in stage.emulator.calls_file.read_text(),
        "the request stays hidden for longer",
    )
    assert stage.waiting() == (0, 1)
    scanner.process.send_signal(signal.SIGTERM)
    assert scanner.process.wait(30) == 0
    assert stage.waiting() == (1, 0)
    stage.emulator.client("sqs").purge_queue(QueueUrl=stage.requests_url)
