"""What services, functions and workers of an environment log, in the order of time.

On AWS all of it is in CloudWatch Logs. A local plane keeps there what functions log, and what
services log in files of its state folder.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from media_platform.contract.outputs import StackPart
from media_platform.contract.times import timestamp
from mediactl.asking import Answers, MissingRegion, ask_regions, unless_missing
from mediactl.deployed import resources, side_by_side
from mediactl.errors import USAGE, CommandError

if TYPE_CHECKING:
    from pathlib import Path

    from mediactl.environment import Environment

LATE = timedelta(seconds=30)
"""How late a line may come to CloudWatch Logs and still be followed."""

_NOT_LINES = ("vpc-flow", "web-acl")
"""Log groups of what is no program; they are read if they are asked for by their names."""

_OF_LAMBDA = ("START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START ")
"""What the Lambda service itself says of every call."""

_MOST_SEEN = 50_000
"""Lines of which is known that they were shown, while there are many."""

_METRICS = "_aws"
"""Member of lines from which CloudWatch makes metrics."""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line.

    Attributes:
        time: When it was written (RFC 3339, UTC).
        region: Region of the service.
        service: Service or function that wrote it.
        level: Its level, if it has one.
        message: What happened.
        fields: What else it says.
    """

    time: str
    region: str
    service: str
    level: str | None
    message: str
    fields: dict[str, Any]

    @property
    def order(self) -> datetime:
        """When it was written, to compare."""
        return datetime.fromisoformat(self.time)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which lines are wanted.

    Attributes:
        since: Time from which on.
        video_id: Video that they name. Default: any.
        counted: Metrics of which they count one. Default: any line.
        everything: Whether metrics and what Lambda says of calls is wanted, too.
    """

    since: datetime
    video_id: str | None = None
    counted: tuple[str, ...] = ()
    everything: bool = False

    @property
    def pattern(self) -> str:
        """The filter pattern by which CloudWatch Logs sends less; empty for all.

        Source: Amazon CloudWatch Logs User Guide, "Filter pattern syntax", unstructured and JSON.
        """
        if self.video_id is not None:
            return f'"{self.video_id}"'
        counts = " || ".join(f"($.{name} = 1)" for name in self.counted)
        return f"{{ {counts} }}" if counts else ""

    def takes(self, text: str, line: LogLine) -> bool:
        """Tell whether a line is wanted."""
        if self.video_id is not None and self.video_id not in text:
            return False
        if self.counted and not any(line.fields.get(name) == 1 for name in self.counted):
            return False
        noise = _METRICS in line.fields or text.startswith(_OF_LAMBDA)
        return (self.everything or not noise) and line.order >= self.since


class LogGroup:
    """A log group of CloudWatch Logs.

    Args:
        client: A client of its region.
        name: Its name.
        region: The region.
        service: Who writes to it.
        wanted: Which lines are wanted.
    """

    def __init__(
        self, client: Any, name: str, *, region: str, service: str, wanted: Wanted
    ) -> None:
        self.region = region
        self.service = service
        self._client = client
        self._name = name
        self._wanted = wanted
        self._since = wanted.since
        self._seen: dict[tuple[Any, ...], datetime] = {}

    def lines(self) -> Iterator[LogLine]:
        """Yield all lines that came since the last call, oldest first."""
        pattern = {"filterPattern": self._wanted.pattern} if self._wanted.pattern else {}
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=self._name, startTime=_milliseconds(self._since), **pattern
        )
        with suppress(self._client.exceptions.ResourceNotFoundException):
            for page in pages:
                for event in page["events"]:
                    yield from self._new(event)
        self._forget()

    def _forget(self) -> None:
        """Forget all but the last lines: they come late, so the next call asks for them again."""
        newest = max(self._seen.values(), default=self._since + LATE)
        self._since = max(self._since, newest - LATE)
        self._seen = {key: at for key, at in self._seen.items() if at >= self._since}

    def _new(self, event: dict[str, Any]) -> Iterator[LogLine]:
        at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
        key = (event.get("eventId") or (event["logStreamName"], event["message"]), at)
        if key in self._seen:
            return
        self._seen[key] = at
        if len(self._seen) > _MOST_SEEN:
            self._forget()
        text = event["message"].rstrip("\n")
        line = read_line(text, at, region=self.region, service=self.service)
        if self._wanted.takes(text, line):
            yield line


class LogFile:
    """The file to which a service of a local plane writes.

    Args:
        path: The file.
        region: Region of the service.
        service: The service.
        wanted: Which lines are wanted.
    """

    def __init__(self, path: Path, *, region: str, service: str, wanted: Wanted) -> None:
        self.region = region
        self.service = service
        self._path = path
        self._wanted = wanted
        self._position = 0
        self._last = datetime.fromtimestamp(0, UTC)

    def lines(self) -> Iterator[LogLine]:
        """Yield all lines that came since the last call, oldest first."""
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._position:
            self._position = 0  # the file began anew
        with self._path.open("rb") as file:
            file.seek(self._position)
            for content in file:
                if not content.endswith(b"\n"):
                    return  # the rest is still to come
                self._position += len(content)
                text = content.decode(errors="replace").rstrip("\n")
                # What has no time of its own belongs to what was before.
                line = read_line(text, self._last, region=self.region, service=self.service)
                self._last = line.order
                if self._wanted.takes(text, line):
                    yield line


Source = LogGroup | LogFile


def sources(
    environment: Environment, regions: Sequence[str], services: Sequence[str], wanted: Wanted
) -> Answers[list[Source]]:
    """Return what writes logs, by region.

    Args:
        environment: The environment.
        regions: Regions that are looked at.
        services: Parts of names of services. Default: all that are programs.
        wanted: Which lines are wanted.

    Raises:
        CommandError: If no service has such a name, or nothing that logs is deployed.
    """
    found = ask_regions(
        environment, regions, lambda region: _sources_of(environment, region, wanted)
    )
    known = sorted({source.service for there in found.by_region.values() for source in there})
    for part in services:
        if not any(part in name for name in known):
            raise CommandError(
                f"no service has {part!r} in its name, there are {', '.join(known) or 'none'}",
                exit_code=USAGE,
            )

    def chosen(source: Source) -> bool:
        if not services:
            return source.service not in _NOT_LINES
        return any(part in source.service for part in services)

    by_region = {name: [*filter(chosen, there)] for name, there in found.by_region.items()}
    return Answers(by_region, found.missing)


def _sources_of(environment: Environment, region: str, wanted: Wanted) -> list[Source]:
    if region in environment.regions:
        # Without it there is nobody who would log.
        environment.outputs(StackPart.MEDIA, region)
    files: dict[str, Source] = {}
    if environment.is_local:
        state = environment.plane().state
        services = resources(environment, StackPart.MEDIA, region, "AWS::ECS::Service", "Service")
        files = {
            one.name: LogFile(
                state.service_log_file(one.physical_id.rpartition("/")[2], region),
                region=region,
                service=one.name,
                wanted=wanted,
            )
            for one in services
        }
    client = environment.client("logs", region)
    groups = [
        LogGroup(client, one.physical_id, region=region, service=one.name, wanted=wanted)
        for part in StackPart
        for one in resources(environment, part, region, "AWS::Logs::LogGroup", "Logs", "Task")
        if one.name not in files
    ]
    return [*files.values(), *groups]


@dataclass
class Logs:
    """What sources say, in the order of time, while their regions answer.

    Attributes:
        environment: The environment.
        sources: The sources.
        missing: Regions that do not answer, or do not any more.
    """

    environment: Environment
    sources: list[Source]
    missing: list[MissingRegion]

    @classmethod
    def of(
        cls,
        environment: Environment,
        regions: Sequence[str],
        services: Sequence[str],
        wanted: Wanted,
    ) -> Logs:
        """Return the logs of regions; as :func:`sources`."""
        found = sources(environment, regions, services, wanted)
        chosen = [source for there in found.by_region.values() for source in there]
        return cls(environment, chosen, list(found.missing))

    def lines(self) -> Iterator[LogLine]:
        """Yield the lines that came since the last call, those of one source as it has them."""
        yield from heapq.merge(*map(self._lines_of, self.sources), key=lambda one: one.order)

    def sorted_lines(self) -> list[LogLine]:
        """Return the same as a whole: several tasks write to one source, each in its order."""
        read = side_by_side(lambda source: list(self._lines_of(source)), self.sources)
        return sorted((line for lines in read for line in lines), key=lambda one: one.order)

    def _lines_of(self, source: Source) -> Iterator[LogLine]:
        if any(one.region == source.region for one in self.missing):
            return
        lost: list[MissingRegion] = []
        with unless_missing(self.environment, source.region, lost):
            yield from source.lines()
        if not any(one.region == source.region for one in self.missing):
            self.missing += lost


def read_line(text: str, at: datetime, *, region: str, service: str) -> LogLine:
    """Read a line as ``contract.logs`` says that they are; any other one is a message.

    Args:
        text: The line.
        at: When it was written, unless it says so itself.
        region: Region of the service.
        service: Who wrote it.
    """
    said: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
        said = value if isinstance(value, dict) else {}
    fields = {key: one for key, one in said.items() if key not in {"time", "level", "message"}}
    level = said.get("level")
    return LogLine(
        time=timestamp(_time(said.get("time")) or at),
        region=region,
        service=service,
        level=level if isinstance(level, str) else None,
        message=str(said["message"]) if "message" in said else "" if said else text,
        fields=fields,
    )


def _time(value: object) -> datetime | None:
    with suppress(TypeError, ValueError):
        found = datetime.fromisoformat(value)  # type: ignore[arg-type]
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
