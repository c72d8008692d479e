"""The API dies at every step of every change, and changes race: nothing is lost or invented."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
import urllib3
from api_stage import Person, Stage, running_stage
from emulator import REGION
from intake_stage import CLUSTER, SERVICE, local_sweeper, make_service
from tenant_books import Books, books_of
from worker_wire import Call, Wire, wire_to

from media_platform.contract import table
from media_platform.contract.audit import AuditAction
from media_platform.contract.environment import RunPurgeEnvironment, UploadSweepEnvironment
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.purge import Purge
from media_platform.contract.scanning import scanners_to_json
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES, UploadKind, UploadSession
from media_platform.contract.usage import Usage
from media_platform.contract.video import VideoStatus
from purge.aws import Objects, Runs
from purge.purger import Purger
from tests.unit.api.api_process import Answer
from upload_intake import sweeper
from upload_intake.s3_event import UploadedObject
from upload_intake.sweeper import Sweeper

PATIENT_TRIES = 50
"""Times that a client tries again who is told that the video keeps changing."""

CONTENT = b"not really a film"
KEYED = {"Idempotency-Key": "k"}
LONG = SINGLE_PUT_MAX_BYTES + 1


class DiedError(BaseException):
    """A process died; nothing that it does catches that."""


@dataclass
class Life:
    """What lives in this process as a function does in its own.

    Attributes:
        left: Calls to AWS that it still makes before it dies. ``None``: it lives.
    """

    left: int | None = None

    def spend(self, **_: Any) -> None:
        """Make one call less, or die before it is sent."""
        if self.left == 0:
            raise DiedError
        if self.left is not None:
            self.left -= 1


@dataclass(frozen=True)
class Field:
    """Where API, sweep and purge work, and how a video is brought to where a request finds it.

    Attributes:
        stage: The API.
        sweeper: The sweep, in this process.
        purger: The purge, in this process.
        life: How long these two live.
    """

    stage: Stage
    sweeper: Sweeper
    purger: Purger
    life: Life

    def person(self) -> Person:
        """Return the only user of a new tenant."""
        return self.stage.person("ada", f"tenant-{new_id()}")

    def waiting(self, person: Person) -> str:
        """Create a video that waits for its file."""
        return person.new_video(tags=["old"])

    def waiting_in_parts(self, person: Person) -> str:
        """Create a video that waits for its file in one small part."""
        video_id = self.waiting(person)
        key = self._raw(video_id)
        upload = self.stage.emulator.client("s3").create_multipart_upload(
            **key, ContentType="video/mp4", ChecksumAlgorithm="SHA256"
        )
        session = self._session(video_id)
        self._put(
            replace(
                session,
                kind=UploadKind.MULTIPART,
                upload_id=upload["UploadId"],
                part_bytes=len(CONTENT),
            )
        )
        return video_id

    def sent(self, person: Person) -> str:
        """Create a video whose file was put."""
        video_id = self.waiting(person)
        key = self._raw(video_id)
        self.stage.emulator.client("s3").put_object(**key, Body=CONTENT, ContentType="video/mp4")
        return video_id

    def sent_in_parts(self, person: Person) -> str:
        """Create a video whose only part was sent."""
        video_id = self.waiting_in_parts(person)
        session = self._session(video_id)
        self.stage.emulator.client("s3").upload_part(
            **self._raw(video_id),
            UploadId=session.upload_id,
            PartNumber=1,
            Body=CONTENT,
            ChecksumAlgorithm="SHA256",
        )
        return video_id

    def uploaded(self, person: Person) -> str:
        """Create a video that waits for a worker."""
        video_id = self.sent(person)
        key = self._raw(video_id)
        (version,) = self.sweeper.intake.uploads.versions(key["Bucket"], key["Key"])
        uploaded = UploadedObject(bucket=key["Bucket"], key=key["Key"], version_id=version)
        assert self.sweeper.intake.take(uploaded) == "accepted"
        return video_id

    def ready(self, person: Person) -> str:
        """Create a video that is READY."""
        video_id = self.uploaded(person)
        for step in (VideoStatus.PROCESSING, VideoStatus.READY):
            self.stage.change(video_id, status=step)
        return video_id

    def deleted(self, person: Person) -> str:
        """Create a video that was READY and is DELETED."""
        video_id = self.ready(person)
        assert person.call("DELETE", f"/api/videos/{video_id}").status == 204
        return video_id

    def deleted_on_its_way(self, person: Person) -> str:
        """Create a video that waited for a worker and is DELETED."""
        video_id = self.uploaded(person)
        assert person.call("DELETE", f"/api/videos/{video_id}").status == 204
        return video_id

    def sweep(self) -> None:
        """Let the sweep look at everything twice, days later."""
        for _ in range(2):
            self.let_uploads_be_due()
            self.sweeper.turn(lambda: True)

    def let_uploads_be_due(self) -> None:
        """Let the time of all uploads be over."""
        books = books_of(self.stage)
        for session in filter(None, map(books.session, books.videos)):
            self._put(replace(session, due_at=_ago(days=1)))

    def let_be_purged(self, video_id: str) -> None:
        """Let the time of a deleted video be over since days, and its events be told."""
        client = self.stage.emulator.client("dynamodb")
        name = self.stage.environment.table_name
        for event in self.stage.events(video_id):
            client.update_item(
                TableName=name,
                Key=table.event_key(video_id, event.event_id).to_wire(),
                UpdateExpression=f"REMOVE {table.UNPUBLISHED.partition_key}",
            )
        key = table.purge_key(video_id).to_wire()
        note = Purge.from_item(client.get_item(TableName=name, Key=key)["Item"])
        client.put_item(TableName=name, Item=replace(note, due_at=_ago(days=2)).to_item())

    def let_die_at_every_call(self, turn: Callable[[], object]) -> int:
        """Let a process die before its first call, the next one before its second, and so on.

        Returns:
            How many died before one got to its end.
        """
        for calls in itertools.count():
            self.life.left = calls
            try:
                turn()
            except DiedError:
                continue
            finally:
                self.life.left = None
            return calls
        raise AssertionError("it is never done")

    def stand(self, flow: Flow) -> Sent:
        """Make what a request is sent to."""
        person = self.person()
        video_id = flow.stand(self, person)
        version = self.stage.video(video_id).version if video_id else 0
        return Sent(flow, person, video_id, version)

    def calls(self, flow: Flow, stage: Stage, wire: Wire) -> list[str]:
        """Return the calls to AWS of a request that nothing disturbs."""
        whole = self.stand(flow)
        assert whole.send(stage).status < 300
        return [call.operation for call in wire.calls if whole.is_cause_of(call)]

    def let_die(self, flows: Mapping[str, Flow]) -> dict[str, Sent]:
        """Let an API die in the middle of many requests; nobody gets an answer.

        Each request is sent once for every call to AWS that it makes, and is at another of them
        when the API dies: nothing of it took effect, or the first call, or the first two, or all.
        Calls on behalf of different videos do not touch each other, so one death is enough, and to
        die before a call is to die behind the one before it.

        Returns:
            What was sent, each with a name that says where it ended.
        """
        with (
            wire_to(self.stage.emulator.endpoint) as wire,
            self.stage.other_process(wire.url) as dying,
            ThreadPoolExecutor(_MOST_SENT) as pool,
        ):
            sent: dict[str, Sent] = {}
            answers = []
            for name, flow in flows.items():
                calls = self.calls(flow, dying, wire)
                for number, last in enumerate(["nothing", *calls]):
                    sent[f"{name}, behind {number} {last}"] = cut_off = self.stand(flow)
                    trap = wire.cut(cut_off.is_cause_of, after=number)
                    answers.append(pool.submit(cut_off.send, dying))
                    trap.wait()
            dying.api.process.kill()
            assert not any(map(is_answer, answers))
        return sent

    def _raw(self, video_id: str) -> dict[str, str]:
        key = self.stage.video(video_id).raw_key
        return {"Bucket": self.stage.environment.raw_bucket, "Key": key}

    def _put(self, session: UploadSession) -> None:
        self.stage.emulator.client("dynamodb").put_item(
            TableName=self.stage.environment.table_name, Item=session.to_item()
        )

    def _session(self, video_id: str) -> UploadSession:
        answer = self.stage.emulator.client("dynamodb").get_item(
            TableName=self.stage.environment.table_name, Key=table.upload_key(video_id).to_wire()
        )
        return UploadSession.from_item(answer["Item"])


@dataclass(frozen=True)
class Flow:
    """A request that changes something.

    Attributes:
        stand: Makes what it is sent to, and returns the id of the video.
        request: Sends it.
        told: The events of what it does.
        action: What its audit entry calls it. Default: it has none.
        swept: The events of what the sweep does, should nobody else go on.
    """

    stand: Callable[[Field, Person], str]
    request: Callable[[Person, str], Answer]
    told: tuple[EventType, ...] = ()
    action: AuditAction | None = None
    swept: tuple[EventType, ...] = ()


@dataclass
class Sent:
    """A request of the only user of a tenant about its only video.

    Attributes:
        flow: The request.
        person: Who sends it.
        video_id: The video; empty if there is none yet.
        version: Its version before.
    """

    flow: Flow
    person: Person
    video_id: str
    version: int

    def send(self, stage: Stage) -> Answer:
        """Send it to the API of a stage."""
        return self.flow.request(replace(self.person, api=stage.api), self.video_id)

    def is_cause_of(self, call: Call) -> bool:
        """Tell whether a call is made for it."""
        return self.person.tenant in call.text or bool(self.video_id and self.video_id in call.text)

    def done(self, books: Books) -> tuple[EventType, ...]:
        """Return what was told of the video since; the request itself is audited once."""
        (video,) = books.videos_of(self.person.tenant)
        new = [event for event in books.events(video) if event.sequence > self.version]
        told = range(self.version + 1, self.version + len(new) + 1)
        assert [event.sequence for event in new] == list(told)
        entries = [e for e in books.audited[video.video_id] if e.action is self.flow.action]
        assert len(entries) == (self.flow.action is not None)
        return tuple(event.event_type for event in new)


def create(size_bytes: int) -> Callable[[Person, str], Answer]:
    body = {
        "title": "A",
        "file_name": "b.mp4",
        "content_type": "video/mp4",
        "size_bytes": size_bytes,
        "tags": ["new"],
    }
    return lambda person, _: person.call("POST", "/api/videos", body=body, headers=KEYED)


def post(what: str) -> Callable[[Person, str], Answer]:
    return lambda person, video_id: person.call(
        "POST", f"/api/videos/{video_id}/{what}", body={}, headers=KEYED
    )


def delete(person: Person, video_id: str) -> Answer:
    return person.call("DELETE", f"/api/videos/{video_id}")


def update(person: Person, video_id: str) -> Answer:
    body = {"title": "B", "tags": ["new"]}
    return person.call("PATCH", f"/api/videos/{video_id}", body=body)


CREATED, UPLOADED = (EventType.VIDEO_CREATED,), (EventType.VIDEO_UPLOADED,)
UPDATED, FAILED = (EventType.VIDEO_UPDATED,), (EventType.VIDEO_FAILED,)
DELETED, RESTORED = (EventType.VIDEO_DELETED,), (EventType.VIDEO_RESTORED,)

UPLOADS = {
    "create": Flow(
        lambda *_: "", create(len(CONTENT)), CREATED, AuditAction.VIDEO_CREATED, swept=FAILED
    ),
    "create in parts": Flow(
        lambda *_: "", create(LONG), CREATED, AuditAction.VIDEO_CREATED, swept=FAILED
    ),
    "complete": Flow(Field.sent, post("upload/complete"), swept=UPLOADED),
    "complete in parts": Flow(Field.sent_in_parts, post("upload/complete"), swept=UPLOADED),
    "abort": Flow(Field.waiting, post("upload/abort"), FAILED, AuditAction.UPLOAD_ABORTED),
    "abort in parts": Flow(
        Field.waiting_in_parts, post("upload/abort"), FAILED, AuditAction.UPLOAD_ABORTED
    ),
}
"""Requests about uploads, which the sweep ends if nobody does."""

CHANGES = {
    "delete": Flow(Field.ready, delete, DELETED, AuditAction.VIDEO_DELETED),
    "delete while it waits": Flow(
        Field.waiting, delete, DELETED, AuditAction.VIDEO_DELETED, swept=()
    ),
    "restore": Flow(Field.deleted, post("restore"), RESTORED, AuditAction.VIDEO_RESTORED),
    "restore a run": Flow(
        Field.deleted_on_its_way, post("restore"), RESTORED, AuditAction.VIDEO_RESTORED
    ),
    "transcode": Flow(Field.ready, post("transcode"), UPDATED, AuditAction.VIDEO_TRANSCODED),
    "cancel": Flow(Field.uploaded, post("transcode/cancel"), FAILED, AuditAction.VIDEO_CANCELLED),
    "update": Flow(Field.ready, update, UPDATED, AuditAction.VIDEO_UPDATED),
}
"""Requests that change a video."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(
        tmp_path_factory.mktemp("api-exactness"), upload_max_bytes=10 * LONG
    ) as stage:
        stage.emulator.client("s3").put_bucket_versioning(
            Bucket=stage.environment.raw_bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        make_service(stage.emulator)
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture(scope="module")
def field(stage: Stage) -> Iterator[Field]:
    jobs = stage.emulator.client("sqs").create_queue(QueueName="jobs")["QueueUrl"]
    environment = UploadSweepEnvironment(
        home_region=REGION,
        table_name=stage.environment.table_name,
        express_queue_url=jobs,
        queue_url=jobs,
        upload_max_bytes=stage.environment.upload_max_bytes,
        worker_cluster=CLUSTER,
        worker_service=SERVICE,
        scanners=scanners_to_json({}),
        raw_bucket=stage.environment.raw_bucket,
        interval_minutes=5,
        max_tenant_daily_cpu_seconds=0,
    )
    life = Life()
    mortal = boto3.Session()
    mortal.events.register("before-send", life.spend)
    with pytest.MonkeyPatch.context() as patch:
        # Whatever was begun is old enough to belong to a video.
        patch.setattr(sweeper, "BEGINNING", -timedelta(hours=1))
        with pytest.MonkeyPatch.context() as making:
            making.setattr(boto3, "DEFAULT_SESSION", mortal)
            sweeping = local_sweeper(stage.emulator, environment, patch)
            purging = _purger(stage)
        yield Field(stage, sweeping, purging, life)


def _purger(stage: Stage) -> Purger:
    environment = RunPurgeEnvironment(
        home_region=REGION,
        table_name=stage.environment.table_name,
        media_bucket=stage.environment.media_bucket,
        raw_bucket=stage.environment.raw_bucket,
    )
    return Purger(
        environment=environment,
        runs=Runs(environment.table_name),
        media=Objects(environment.media_bucket),
        uploads=Objects(environment.raw_bucket),
    )


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


_MOST_SENT = 60
"""Requests at a time; each holds one of the API's 64 connections to the table."""


def _ago(*, days: int) -> str:
    time = datetime.now(UTC) - timedelta(days=days)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def nth(number: int, look: Callable[[Call], bool]) -> Callable[[Call], bool]:
    """Return what picks the call with a number, from 1, among those that are looked for."""
    count = itertools.count(1)
    return lambda call: look(call) and next(count) == number


def is_answer(future: Future[Answer]) -> bool:
    """Tell whether a client was answered by more than that he should try again."""
    try:
        return future.result().status != 503
    except urllib3.exceptions.HTTPError:
        return False


@pytest.mark.parametrize("flows", [UPLOADS, CHANGES], ids=["uploads", "changes"])
def test_the_api_dies_and_the_clients_try_again(field: Field, flows: Mapping[str, Flow]) -> None:
    """After it a change is there with all that belongs to it, or nothing is; then it is done."""
    sent = field.let_die(flows)
    books_of(field.stage).check()

    for name, one in sent.items():
        answer = one.send(field.stage)
        assert answer.status < 300, (name, answer.content)
    after = books_of(field.stage)
    after.check()
    assert {n: one.done(after) for n, one in sent.items()} == {
        n: one.flow.told for n, one in sent.items()
    }
    field.sweep()
    swept = books_of(field.stage)
    swept.check_swept()
    assert {n: one.done(swept) for n, one in sent.items()} == {
        n: one.flow.told + one.flow.swept for n, one in sent.items()
    }


@pytest.mark.parametrize("flows", [UPLOADS, CHANGES], ids=["uploads", "changes"])
def test_answers_of_aws_are_lost(field: Field, flows: Mapping[str, Flow]) -> None:
    """The API asks again, at every call, and the client learns nothing of it."""
    sent: dict[str, Sent] = {}
    with (
        wire_to(field.stage.emulator.endpoint) as wire,
        field.stage.other_process(wire.url) as asking,
    ):
        for name, flow in flows.items():
            for number, call in enumerate(field.calls(flow, asking, wire), 1):
                sent[f"{name}, {number} {call}"] = one = field.stand(flow)
                lost = wire.behind(nth(number, one.is_cause_of))
                lost.drop()
                answer = one.send(asking)
                lost.wait()
                assert answer.status < 300, (name, number, call, answer.content)
    books = books_of(field.stage)
    books.check()
    assert {n: one.done(books) for n, one in sent.items()} == {
        n: one.flow.told for n, one in sent.items()
    }
    field.sweep()
    books_of(field.stage).check_swept()


def test_the_api_dies_and_the_clients_come_back_days_later(field: Field) -> None:
    """The sweep was there before: what it ended stays so, and nothing is left of it."""
    sent = field.let_die(UPLOADS)
    field.sweep()
    between = books_of(field.stage)
    between.check_swept()
    for name, one in sent.items():
        answer = one.send(field.stage)
        assert answer.status in {200, 201, 409}, (name, answer.content)
    field.sweep()
    after = books_of(field.stage)
    after.check_swept()
    for one in sent.values():
        (video,) = after.videos_of(one.person.tenant)
        assert video.status in {VideoStatus.UPLOADED, VideoStatus.FAILED}
        assert video in between.videos or not between.videos_of(video.tenant)


def test_the_sweep_dies_at_every_call(field: Field) -> None:
    """Each turn goes on where the last one died, and what becomes of an upload is told once."""
    due = {
        "waits": (Field.waiting, FAILED),
        "waits for parts": (Field.waiting_in_parts, FAILED),
        "was not completed": (Field.sent_in_parts, FAILED),
        "is there": (Field.sent, UPLOADED),
    }
    people = {name: field.person() for name in due}
    for name, (stand, _) in due.items():
        stand(field, people[name])
    owner = field.person()
    deleted = field.sent(owner)
    assert delete(owner, deleted).status == 204
    field.let_uploads_be_due()
    assert field.let_die_at_every_call(lambda: field.sweeper.turn(lambda: True)) > len(due)

    books = books_of(field.stage)
    books.check()
    for name, (_, told) in due.items():
        (video,) = books.videos_of(people[name].tenant)
        assert [e.event_type for e in books.events(video)] == [*CREATED, *told], name
    assert not {key for key, _ in books.objects if deleted in key}
    field.sweep()
    books_of(field.stage).check_swept()


def test_the_purge_dies_at_every_call(field: Field, ada: Person) -> None:
    video_id = field.deleted(ada)
    kept = field.ready(ada)
    field.let_be_purged(video_id)
    assert field.let_die_at_every_call(lambda: field.purger.turn(lambda: True))
    books = books_of(field.stage)
    books.check()
    assert [video.video_id for video in books.videos_of(ada.tenant)] == [kept]
    assert not {key for key, _ in books.objects if video_id in key}


def test_restore_against_purge(field: Field, stage: Stage, ada: Person) -> None:
    """A restoring that was decided upon in time, and written when the video was gone."""
    video_id = field.deleted(ada)
    with (
        wire_to(stage.emulator.endpoint) as wire,
        stage.other_process(wire.url) as slow,
        ThreadPoolExecutor(1) as pool,
    ):
        held = wire.before(lambda call: call.operation == "TransactWriteItems")
        late = pool.submit(post("restore"), replace(ada, api=slow.api), video_id)
        held.wait()
        field.let_be_purged(video_id)
        assert field.purger.turn(lambda: True)["purged"] == 1
        held.let_go()
        assert late.result().status == 404
    books = books_of(stage)
    books.check()
    assert books.videos_of(ada.tenant) == []
    assert books.used(ada.tenant) == books.counted(ada.tenant) == Usage()
    assert not {key for key, _ in books.objects if video_id in key}


def test_all_that_can_be_done_at_once(field: Field, stage: Stage, ada: Person) -> None:
    """Each change is one version with one event and one entry, whatever else was going on."""
    video_id = field.ready(ada)
    before = stage.video(video_id).version
    path = f"/api/videos/{video_id}"
    requests = itertools.cycle(
        [
            ("PATCH", path),
            ("POST", f"{path}/transcode"),
            ("DELETE", path),
            ("POST", f"{path}/restore"),
            ("POST", f"{path}/transcode/cancel"),
        ]
    )

    def act(number: int, request: tuple[str, str]) -> int:
        method, path = request
        body = {"title": f"Title {number}"} if method == "PATCH" else {}
        return ada.call(method, path, body=body).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(act, range(60), requests))
    assert set(statuses) <= {200, 202, 204, 404, 409}
    books = books_of(stage)
    books.check()
    (video,) = books.videos_of(ada.tenant)
    told = [event.sequence for event in books.events(video) if event.sequence > before]
    assert told == list(range(before + 1, video.version + 1))
    # The other entry is that of its creation.
    assert len(books.audited[video_id]) == len(told) + 1
    field.sweep()
    books_of(stage).check_swept()


def test_delete_against_restore(field: Field, stage: Stage, ada: Person) -> None:
    """Many of both at once: the video is whole after each round, and every change is told once."""
    video_id = field.ready(ada)

    def act(number: int) -> int:
        if number % 2:
            return int(ada.call("DELETE", f"/api/videos/{video_id}").status)
        return int(ada.call("POST", f"/api/videos/{video_id}/restore").status)

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(act, range(40)))
    assert statuses <= {200, 204, 409}
    books_of(stage).check()
    video = stage.video(video_id)
    changes = stage.events(video_id)[2:]
    kinds = [event.event_type for event in changes]
    expected = [EventType.VIDEO_DELETED, EventType.VIDEO_RESTORED]
    assert kinds == [expected[number % 2] for number in range(len(kinds))], "in turns"
    first = changes[0].sequence
    assert [event.sequence for event in changes] == list(range(first, first + len(changes)))
    assert video.version == changes[-1].sequence
    assert (video.status is VideoStatus.DELETED) is (kinds[-1] is EventType.VIDEO_DELETED)


def test_changes_against_a_delete(field: Field, stage: Stage, ada: Person) -> None:
    """What was changed before a delete is kept by it, what comes later is refused."""
    video_id = field.ready(ada)
    written: list[str] = []

    def change(number: int) -> None:
        tag = f"t{number}"
        for _ in range(PATIENT_TRIES):
            read = ada.call("GET", f"/api/videos/{video_id}")
            if read.status == 404:
                return
            answer = ada.call(
                "PATCH",
                f"/api/videos/{video_id}",
                body={"tags": [*read.json["tags"], tag]},
                headers={"If-Match": read.headers["ETag"]},
            )
            if answer.status == 200:
                written.append(tag)
                return
            assert answer.status in {404, 409, 412}

    def delete(_: int) -> None:
        for _ in range(PATIENT_TRIES):
            if ada.call("DELETE", f"/api/videos/{video_id}").status == 204:
                return
        raise AssertionError("the video is never deleted")

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(change, number) for number in range(5)]
        jobs.append(pool.submit(delete, 0))
        for job in jobs:
            job.result()
    books_of(stage).check()
    video = stage.video(video_id)
    assert video.status is VideoStatus.DELETED
    assert set(video.tags) == {"old", *written}
    assert ada.call("POST", f"/api/videos/{video_id}/restore").status == 200
    books_of(stage).check()
    assert set(stage.video(video_id).tags) == {"old", *written}
