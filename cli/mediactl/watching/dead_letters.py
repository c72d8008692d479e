"""Dead letters: looking at what failed for good, trying it again, and dropping it.

SQS finds no message by an id. Whoever looks has to receive messages, which hides them from others
until they are given back; so every look gives back what it took, whatever happens to it, and one
that is killed hides them for :data:`HELD_SECONDS` at most. Redriving sends first and deletes then:
what is cut off in between is there twice, which all consumers tolerate, and never lost.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from media_platform.contract import table
from media_platform.contract.events import DomainEvent
from media_platform.contract.ids import is_id
from media_platform.contract.jobs import DEAD_LETTER_REASON, EXPRESS, JOBS, START, TranscodeJob
from media_platform.contract.object_keys import RawKey
from media_platform.contract.outputs import StackPart, StoreOutput
from media_platform.contract.run import thumbnail_part
from media_platform.contract.scanning import ScanRequest, Verdict
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video
from media_platform.contract.webhooks import DeliveryJob
from mediactl.asking import Answers, MissingRegion, ask_regions
from mediactl.deployed import (
    BATCH,
    SUBSCRIPTIONS,
    batches,
    dead_letter_urls,
    items_by_key,
    queue_urls,
    resources,
    side_by_side,
)
from mediactl.errors import DEGRADED, NOT_FOUND, USAGE, CommandError
from mediactl.interrupts import uninterrupted

if TYPE_CHECKING:
    from mediactl.environment import Environment

Looked = TypeVar("Looked")

HELD_SECONDS = 120
"""Time for which a look hides dead letters from others, should it not give them back."""

_WAIT_SECONDS = 1
"""Waiting makes SQS ask all its servers, so there is waiting while messages are missing."""

_NO_REASON = "put back by an operator"

_UNREADABLE = (ValueError, AttributeError, KeyError, TypeError, RecursionError)
"""What reading a body may raise: it may be anything."""


@dataclass(frozen=True, kw_only=True)
class VideoState:
    """The video that a dead letter is about, as it is now.

    Attributes:
        video_id: The video.
        status: Its status. ``None``: it is not there any more.
        home_region: Its home region, if it is there.
        run_id: The run that the letter is about, if it is about one.
        run_counts: Whether that run is, or becomes, what viewers see; trying another again is of no
            use.
    """

    video_id: str
    status: str | None = None
    home_region: str | None = None
    run_id: str | None = None
    run_counts: bool | None = None


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message that failed for good.

    Attributes:
        message_id: Its id in the queue.
        region: Region of the queue.
        queue: What the queue is called.
        what: What it is, in words.
        reason: Why it failed, if anybody said so.
        sent_at: Time at which it was sent (RFC 3339, UTC).
        looks: How often it was looked at, or received before it came here.
        video: The video that it is about, if it is about one.
        goes_to: Queue or function that a redrive sends it to. ``None``: it cannot be redriven.
        stays_because: Why it cannot be redriven, if so.
        body: What it says.
    """

    message_id: str
    region: str
    queue: str
    what: str
    reason: str | None
    sent_at: str
    looks: int
    video: VideoState | None
    goes_to: str | None
    stays_because: str | None
    body: str


@dataclass(frozen=True, kw_only=True)
class DeadLetterList:
    """Dead letters, oldest first.

    Attributes:
        letters: Those that were seen.
        unseen: About how many more there are: more than were asked for, or somebody looks at them
            at this moment.
        missing_regions: Regions that were not looked at.
    """

    letters: list[DeadLetter]
    unseen: int
    missing_regions: list[MissingRegion] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of dead letters.

    Attributes:
        done: Ids of those that were redriven or dropped, or would be with ``--dry-run``.
        left: Why one was left where it is, by id.
        missing_regions: Regions of which nothing more was done.
    """

    done: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    missing_regions: list[MissingRegion] = field(default_factory=list)


@dataclass(frozen=True)
class _Way:
    """Where a dead letter goes back to: a queue or a function.

    Attributes:
        name: What it is called.
        url: URL of the queue, if it is one.
        function: Name of the function, if it is one.
        payload: What the function is called with.
    """

    name: str
    url: str | None = None
    function: str | None = None
    payload: str = ""


@dataclass(frozen=True)
class _Content:
    """What the body of a dead letter says.

    Attributes:
        what: What it is, in words.
        video_id: The video that it is about, if it is about one.
        run_id: Its run, if it is about one.
        queue: The queue of work in which such messages stand, if there is one.
        group: Group of messages that share a tenant, if it has one.
        function_arn: The function that was called in vain, if it is a call.
        payload: What that was called with.
        reason: Why the call failed, if it is said.
        remedy: Why it cannot go back to a queue, and what can be done instead.
    """

    what: str
    video_id: str | None = None
    run_id: str | None = None
    queue: str | None = None
    group: str | None = None
    function_arn: str | None = None
    payload: str = ""
    reason: str | None = None
    remedy: str = "nobody could do anything with it; drop it"


class Box:
    """A queue of dead letters of a region.

    Args:
        environment: The environment.
        region: The region.
        name: What the queue is called.
        url: Its URL.
        work: Queues of work of the region, URLs by name.
        functions: Names of the functions of the region, by what people call them.
    """

    def __init__(
        self,
        environment: Environment,
        region: str,
        name: str,
        url: str,
        *,
        work: Mapping[str, str],
        functions: Mapping[str, str],
    ) -> None:
        self.environment = environment
        self.region = region
        self.name = name
        self._url = url
        self._work = work
        self._functions = functions
        self._sqs = environment.client("sqs", region)
        self._lambda = environment.client("lambda", region)
        self._dynamodb = environment.client("dynamodb", region)
        self._table = environment.output(StoreOutput.TABLE_NAME, region)

    # --- looking --------------------------------------------------------------------------

    def look(self, most: int, stop: threading.Event) -> tuple[list[dict[str, Any]], int]:
        """Return up to ``most`` messages, which stay, and about how many more there are."""
        with self._held() as seen:
            for _ in self._take_new(seen, most, stop):
                pass
            shown = list(seen.values())[:most]
            return shown, max(0, self.size() - len(shown))

    def find(self, message_id: str, stop: threading.Event) -> dict[str, Any] | None:
        """Return a message and hold it, ``None`` if it is not here; all others stay."""
        with self._held() as seen:
            for taken in self._take_new(seen, None, stop):
                if message_id in taken:
                    return seen.pop(message_id)
        return None

    def size(self) -> int:
        """Return about how many messages there are, those that somebody holds among them."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=[*names])
        return sum(int(answer["Attributes"][name]) for name in names)

    def give_back(self, messages: Iterable[dict[str, Any]]) -> None:
        """Let others see messages again at once; one that is gone meanwhile does not matter."""
        for batch in batches(messages, _body):
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(n),
                        "ReceiptHandle": message["ReceiptHandle"],
                        "VisibilityTimeout": 0,
                    }
                    for n, message in enumerate(batch)
                ],
            )

    @contextlib.contextmanager
    def _held(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Give a place for messages by id, and in the end give back those that stand there."""
        held: dict[str, dict[str, Any]] = {}
        try:
            yield held
        finally:
            with uninterrupted():
                self.give_back(held.values())

    def _take_new(
        self, seen: dict[str, dict[str, Any]], most: int | None, stop: threading.Event
    ) -> Iterator[dict[str, dict[str, Any]]]:
        """Take messages until there are none that were not seen; yield each batch by id."""
        expected, number = self.size(), 0
        while not stop.is_set() and (most is None or len(seen) < most):
            with uninterrupted():
                received = self._receive(_WAIT_SECONDS if number < expected else 0)
                taken = {message["MessageId"]: message for message in received}
                number += len(taken)
                known = taken.keys() <= seen.keys()
                seen |= taken
            if known:
                return
            yield taken

    def _receive(self, wait_seconds: int) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH,
            VisibilityTimeout=HELD_SECONDS,
            WaitTimeSeconds=wait_seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        self._now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    # --- reading --------------------------------------------------------------------------

    def read(self, messages: Sequence[dict[str, Any]]) -> list[DeadLetter]:
        """Return messages as people see them, with their videos as they are now."""
        contents = [self._content(message) for message in messages]
        videos = self._videos({one.video_id for one in contents if one.video_id})
        return [
            self._letter(message, content, videos)
            for message, content in zip(messages, contents, strict=True)
        ]

    def _videos(self, video_ids: set[str]) -> dict[str, Video]:
        keys = [table.video_key(video_id).to_wire() for video_id in sorted(video_ids)]
        items = items_by_key(self._dynamodb, self._table, keys)
        return {video.video_id: video for video in map(Video.from_item, items)}

    def _letter(
        self, message: Mapping[str, Any], content: _Content, videos: Mapping[str, Video]
    ) -> DeadLetter:
        system = message.get("Attributes", {})
        way = self._way(message, content)
        return DeadLetter(
            message_id=message["MessageId"],
            region=self.region,
            queue=self.name,
            what=content.what,
            reason=_attribute(message, DEAD_LETTER_REASON)
            or _attribute(message, "ERROR_MESSAGE")
            or content.reason
            or _moved(system),
            sent_at=timestamp(_sent_at(message)),
            looks=int(system.get("ApproximateReceiveCount", 0)),
            video=_video_state(content, videos) if content.video_id else None,
            goes_to=way.name if isinstance(way, _Way) else None,
            stays_because=way if isinstance(way, str) else None,
            body=message["Body"],
        )

    def _content(self, message: Mapping[str, Any]) -> _Content:
        if self.name.startswith(SUBSCRIPTIONS):
            return _undelivered(message["Body"])
        called = _call(message)
        return called or _READERS.get(self.name, _nothing)(message["Body"])

    def _way(self, message: Mapping[str, Any], content: _Content) -> _Way | str:
        """Return where a message goes back to, or why it cannot."""
        if content.function_arn is not None:
            return self._way_to_function(content)
        source = message.get("Attributes", {}).get("DeadLetterQueueSourceArn", "")
        named = {url.rpartition("/")[2]: name for name, url in self._work.items()}
        name = content.queue and named.get(source.rpartition(":")[2], content.queue)
        if name is None:
            return content.remedy
        if name not in self._work:
            return f"there is no queue {name} any more; drop it"
        return _Way(name, url=self._work[name])

    def _way_to_function(self, content: _Content) -> _Way | str:
        """Return the function of a call; whoever may write to the queue must not choose another."""
        arn = (content.function_arn or "").split(":")
        called = arn[_ARN_NAME] if len(arn) > _ARN_NAME else ""
        for name, function in self._functions.items():
            if function == called:
                return _Way(name, function=function, payload=content.payload)
        return f"it calls {content.function_arn}, which is no function of this stage"

    # --- acting ---------------------------------------------------------------------------

    def redrive(self, messages: Sequence[dict[str, Any]], outcome: Outcome) -> None:
        """Send messages back to where they came from, then delete them; the rest stays."""
        ways: dict[_Way, list[dict[str, Any]]] = {}
        for message in messages:
            way = self._way(message, self._content(message))
            if isinstance(way, str):
                outcome.left[message["MessageId"]] = way
            elif way.url is None:
                self._call_again(way, message, outcome)
            else:
                ways.setdefault(way, []).append(message)
        for way, group in ways.items():
            for batch in batches(group, _body):
                self._send_back(way, batch, outcome)

    def drop(self, messages: Sequence[dict[str, Any]], outcome: Outcome) -> None:
        """Delete messages."""
        for batch in batches(messages, _body):
            failed = self._delete(batch)
            for message in batch:
                name = message["MessageId"]
                if name in failed:
                    outcome.left[name] = failed[name]
                else:
                    outcome.done.append(name)

    def all_of(
        self,
        act: Callable[[Sequence[dict[str, Any]], Outcome], None],
        outcome: Outcome,
        tell: Callable[[int], None],
    ) -> None:
        """Do something with all messages that are here now.

        What comes while this goes on, such as what fails again, stays: it would never end.

        Args:
            act: :meth:`redrive` or :meth:`drop`.
            outcome: What becomes of them.
            tell: Called with the number of messages after every batch.
        """
        started: datetime | None = None
        with self._held() as held:
            for taken in self._take_new(held, None, threading.Event()):
                # The clock of SQS, which is told to the second.
                started = started or self._now + timedelta(seconds=1)
                done = {*outcome.done}
                now = [
                    one
                    for name, one in taken.items()
                    if _sent_at(one) < started and name not in done
                ]
                if not now:
                    return
                with uninterrupted():
                    act(now, outcome)
                    for name in {*outcome.done} - done:
                        held.pop(name, None)
                tell(len(outcome.done) - len(done))

    def _send_back(self, way: _Way, batch: Sequence[dict[str, Any]], outcome: Outcome) -> None:
        entries = [
            {"Id": str(n), **_as_sent(message, self._content(message))}
            for n, message in enumerate(batch)
        ]
        answer = self._sqs.send_message_batch(QueueUrl=way.url, Entries=entries)
        failed = {int(one["Id"]): one for one in answer.get("Failed", [])}
        for n, one in failed.items():
            text = f"{one['Code']}: {one.get('Message', 'no text')}"
            outcome.left[batch[n]["MessageId"]] = f"{way.name} did not take it: {text}"
        sent = [message for n, message in enumerate(batch) if n not in failed]
        # One that cannot be deleted comes again, which is harmless.
        self._delete(sent)
        outcome.done.extend(message["MessageId"] for message in sent)

    def _call_again(self, way: _Way, message: dict[str, Any], outcome: Outcome) -> None:
        self._lambda.invoke(
            FunctionName=way.function, InvocationType="Event", Payload=way.payload.encode()
        )
        self._delete([message])
        outcome.done.append(message["MessageId"])

    def _delete(self, messages: Sequence[dict[str, Any]]) -> dict[str, str]:
        """Delete messages; return why one was not, by id."""
        if not messages:
            return {}
        answer = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                for n, message in enumerate(messages)
            ],
        )
        return {
            messages[int(one["Id"])]["MessageId"]: f"{one['Code']}: {one.get('Message', '')}"
            for one in answer.get("Failed", [])
        }


_ARN_NAME = 6
"""Part of the ARN of a function that is its name; a qualifier may follow."""


def boxes(
    environment: Environment, regions: Sequence[str], names: Sequence[str]
) -> Answers[list[Box]]:
    """Return the queues of dead letters of regions.

    Args:
        environment: The environment.
        regions: The regions.
        names: What the queues are called. Default: all.

    Raises:
        CommandError: If no region has one of that name, or none has any.
    """
    found = ask_regions(environment, regions, lambda region: _boxes_of(environment, region))
    known = {box.name for places in found.by_region.values() for box in places}
    for name in names:
        if name not in known:
            raise CommandError(
                f"there is no queue of dead letters {name!r}, allowed are"
                f" {', '.join(sorted(known))}",
                exit_code=USAGE,
            )
    chosen = {
        region: [box for box in places if not names or box.name in names]
        for region, places in found.by_region.items()
    }
    return Answers(chosen, found.missing)


def _boxes_of(environment: Environment, region: str) -> list[Box]:
    work = queue_urls(environment, region)
    functions = {
        one.name: one.physical_id
        for one in resources(
            environment, StackPart.MEDIA, region, "AWS::Lambda::Function", "Function"
        )
    }
    return [
        Box(environment, region, name, url, work=work, functions=functions)
        for name, url in dead_letter_urls(environment, region).items()
    ]


def list_letters(places: Answers[list[Box]], most: int) -> DeadLetterList:
    """Look at dead letters and leave them where they are.

    Args:
        places: Where.
        most: Most of each queue.
    """

    def read(box: Box) -> tuple[list[DeadLetter], int]:
        messages, unseen = box.look(most, stop)
        return box.read(messages), unseen

    with _stopping() as stop:
        looks = _in_each(places, read)
    found = [one for region in looks.by_region.values() for one in region]
    return DeadLetterList(
        letters=sorted(
            (one for letters, _ in found for one in letters), key=lambda one: one.sent_at
        ),
        unseen=sum(unseen for _, unseen in found),
        missing_regions=[*places.missing, *looks.missing],
    )


def _in_each(places: Answers[list[Box]], look: Callable[[Box], Looked]) -> Answers[list[Looked]]:
    """Look into all queues at the same time; a region may be lost meanwhile."""
    regions = [region for region, found in places.by_region.items() if found]
    if not regions:
        return Answers({})
    environment = places.by_region[regions[0]][0].environment
    return ask_regions(
        environment, regions, lambda region: side_by_side(look, places.by_region[region])
    )


@contextlib.contextmanager
def held_letter(
    places: Answers[list[Box]], message_id: str
) -> Iterator[tuple[Box, dict[str, Any]]]:
    """Find a dead letter and hold it; it is given back in the end, if it is still there.

    Args:
        places: Where it may be.
        message_id: Its id.

    Raises:
        CommandError: If it is nowhere, or not in the regions that answer.
    """
    found: list[tuple[Box, dict[str, Any]]] = []

    def find(box: Box) -> None:
        message = box.find(message_id, stop)
        if message is not None:
            found.append((box, message))
            stop.set()

    try:
        with _stopping() as stop:
            looks = _in_each(places, find)
        if not found:
            raise _no_letter(message_id, [*places.missing, *looks.missing])
        yield found[0]
    finally:
        for box, message in found:
            with uninterrupted():
                box.give_back([message])


def _no_letter(message_id: str, missing: Sequence[MissingRegion]) -> CommandError:
    if missing:
        reasons = "; ".join(f"{one.region} was not looked at: {one.reason}" for one in missing)
        return CommandError(
            f"no region that answers has a dead letter {message_id}; {reasons}",
            hint=missing[0].remedy,
            exit_code=DEGRADED,
        )
    return CommandError(
        f"no dead letter has the id {message_id}, or somebody looks at it just now",
        hint=f"`mediactl dlq list` shows them; a look that broke off hides them for"
        f" {HELD_SECONDS} s",
        exit_code=NOT_FOUND,
    )


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Let threads that look end soon if this one is interrupted; they give back what they hold."""
    stop = threading.Event()
    try:
        yield stop
    except BaseException:
        stop.set()
        raise


# --- what bodies say ----------------------------------------------------------------------


def _call(message: Mapping[str, Any]) -> _Content | None:
    """Read the failed call of a function: as Lambda tells of it, or as EventBridge does.

    Source: AWS Lambda Developer Guide, "Capturing records of Lambda asynchronous invocations";
    Amazon EventBridge User Guide, "Using dead-letter queues".
    """
    body = message["Body"]
    target = _attribute(message, "TARGET_ARN")
    if target is not None:
        return _content_of_call(target, _json(body), payload=body)
    record = _json(body)
    context = record.get("requestContext")
    if not isinstance(context, dict) or "requestPayload" not in record:
        return None
    answer = record.get("responsePayload")
    told = answer if isinstance(answer, dict) else {}
    reason = told.get("errorMessage") or context.get("condition")
    payload = record["requestPayload"]
    return _content_of_call(
        str(context.get("functionArn")),
        payload if isinstance(payload, dict) else {},
        payload=json.dumps(payload),
        reason=None if reason is None else str(reason),
    )


def _content_of_call(
    arn: str, event: Mapping[str, Any], *, payload: str, reason: str | None = None
) -> _Content:
    return _Content(
        what="call of a function",
        video_id=_video_of_call(event),
        function_arn=arn,
        payload=payload,
        reason=reason,
    )


def _video_of_call(event: Mapping[str, Any]) -> str | None:
    """Return the video whose upload or domain event a function was called for."""
    with contextlib.suppress(*_UNREADABLE):
        return RawKey.parse(event["detail"]["object"]["key"]).video_id
    with contextlib.suppress(*_UNREADABLE, IndexError):
        return _id(DomainEvent.from_json(event["Records"][0]["Sns"]["Message"]).video_id)
    return None


def _id(value: object) -> str | None:
    """Return an id, ``None`` of what is none: keys of the table take not every text."""
    return value if isinstance(value, str) and is_id(value) else None


def _json(text: str) -> dict[str, Any]:
    with contextlib.suppress(*_UNREADABLE):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return {}


def _nothing(_body: str) -> _Content:
    return _Content(what="not understood")


def _job(body: str) -> _Content:
    try:
        job = TranscodeJob.from_json(body)
    except _UNREADABLE:
        return _nothing(body)
    is_thumbnail = str(job.part).startswith(thumbnail_part(""))
    return _Content(
        what=f"transcode job {job.part}",
        video_id=_id(job.video_id),
        run_id=None if is_thumbnail else str(job.run_id),
        queue=EXPRESS if job.part == START else JOBS,
        group=str(job.tenant),
    )


def _scan(body: str) -> _Content:
    for what, kind, queue in (
        ("scan request", ScanRequest, "scan-requests"),
        ("verdict", Verdict, "scan-verdicts"),
    ):
        with contextlib.suppress(*_UNREADABLE):
            read = kind.from_json(body)
            return _Content(
                what=f"{what} of scanner {read.scanner}",
                video_id=_id(read.video_id),
                run_id=read.run_id,
                queue=f"{queue}-{read.scanner}",
            )
    return _nothing(body)


def _event(body: str) -> _Content:
    try:
        event = DomainEvent.from_json(body)
    except _UNREADABLE:
        return _nothing(body)
    return _Content(
        what=f"event {event.event_type}", video_id=_id(event.video_id), queue="webhook-events"
    )


def _undelivered(body: str) -> _Content:
    """Read an event that a subscribed queue did not take."""
    event = _event(body)
    if event.queue is None:
        return event
    remedy = f"a subscriber did not get it: `mediactl events replay {event.video_id}`, then drop it"
    return replace(event, queue=None, remedy=remedy)


def _delivery(body: str) -> _Content:
    try:
        job = DeliveryJob.from_json(body)
    except _UNREADABLE:
        return _nothing(body)
    return _Content(what=f"webhook {job.webhook_id} of {job.tenant}", queue="webhook-deliveries")


_READERS: dict[str, Callable[[str], _Content]] = {
    JOBS: _job,
    "scans": _scan,
    "webhook-events": _event,
    "webhook-deliveries": _delivery,
}
"""What reads the bodies of a queue of dead letters that are no calls."""


def _video_state(content: _Content, videos: Mapping[str, Video]) -> VideoState:
    video_id = content.video_id or ""
    video = videos.get(video_id)
    if video is None:
        return VideoState(video_id=video_id, run_id=content.run_id)
    counting = {video.current_run, video.next_run}
    return VideoState(
        video_id=video_id,
        status=video.status.value,
        home_region=video.home_region,
        run_id=content.run_id,
        run_counts=None if content.run_id is None else content.run_id in counting,
    )


def _attribute(message: Mapping[str, Any], name: str) -> str | None:
    value: str | None = message.get("MessageAttributes", {}).get(name, {}).get("StringValue")
    return value


def _sent_at(message: Mapping[str, Any]) -> datetime:
    milliseconds = int(message.get("Attributes", {}).get("SentTimestamp", 0))
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _moved(system: Mapping[str, str]) -> str | None:
    """Return the reason of a message that SQS moved itself."""
    source = system.get("DeadLetterQueueSourceArn")
    return f"it was received too often from {source.rpartition(':')[2]}" if source else None


def _as_sent(message: Mapping[str, Any], content: _Content) -> dict[str, Any]:
    """Return a message as it is sent back: all that it carries goes with it.

    A job always has a reason, since that is what tells workers that an operator wants it.
    """
    attributes = {
        name: {key: value[key] for key in _VALUES if key in value}
        for name, value in message.get("MessageAttributes", {}).items()
    }
    if content.queue in {EXPRESS, JOBS}:
        reason = {"DataType": "String", "StringValue": _NO_REASON}
        attributes.setdefault(DEAD_LETTER_REASON, reason)
    entry: dict[str, Any] = {"MessageBody": message["Body"], "MessageAttributes": attributes}
    system = message.get("Attributes", {})
    # As workers send jobs: those of one tenant do not hold up those of others.
    group = system.get("MessageGroupId") or content.group
    if group:
        entry["MessageGroupId"] = group
    if "AWSTraceHeader" in system:
        trace = {"DataType": "String", "StringValue": system["AWSTraceHeader"]}
        entry["MessageSystemAttributes"] = {"AWSTraceHeader": trace}
    return entry


_VALUES = ("DataType", "StringValue", "BinaryValue")


def _body(message: Mapping[str, Any]) -> str:
    return str(message["Body"])
