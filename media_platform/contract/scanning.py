"""Scanning: what stands between a file that was uploaded and its transcoding.

Every scanner of a stage reads requests from a queue of its own and answers into another that is its
own, too: so a verdict is that of the scanner whose queue it came through, and no scanner can speak
for another. Requests may come twice, late, or out of order, and so may verdicts.

``docs/scanning.md`` says how to write a scanner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from media_platform.contract import table
from media_platform.contract.items import from_item, to_wire

CONTENT_SCANNER = "content"
"""The built-in scanner, which looks at container and codecs."""

MALWARE_SCANNER = "malware"
"""The scanner that asks ClamAV."""

QUARANTINE_TAG = "quarantine"
"""Tag of an object version that was refused; the policy of the bucket denies reading it."""

QUARANTINE_VALUE = "yes"
"""Value of that tag."""

MAX_MESSAGE = 500
"""Characters of the sentence for the uploader."""

SCANNER_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
"""What a scanner may be called."""

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, kw_only=True)
class ScannerQueues:
    """The two queues of a scanner.

    Attributes:
        requests_url: URL of the queue that it reads.
        verdicts_url: URL of the queue that it answers into.
    """

    requests_url: str
    verdicts_url: str


def scanners_to_json(scanners: Mapping[str, ScannerQueues]) -> str:
    """Return the scanners of a stage by name, as the environment of a function takes them."""
    return json.dumps({name: asdict(queues) for name, queues in sorted(scanners.items())})


def scanners_from_json(text: str) -> dict[str, ScannerQueues]:
    """Read the scanners of a stage from the environment of a function.

    Raises:
        ValueError: If it is something else.
    """
    try:
        return {name: ScannerQueues(**queues) for name, queues in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"not the scanners of a stage: {error}") from error


class Scan(StrEnum):
    """Where the scan of the pinned version stands."""

    WAITING = "WAITING"
    CLEAN = "CLEAN"
    REFUSED = "REFUSED"


class Outcome(StrEnum):
    """What a scanner may say."""

    CLEAN = "clean"
    REFUSED = "refused"


class Unscanned(StrEnum):
    """What becomes of a file that ClamAV does not look at to its end."""

    PASS = "pass"  # noqa: S105 - no password
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a scanner says of one object version.

    Attributes:
        video_id: The video, as in the request.
        run_id: The run, as in the request.
        version_id: The version, as in the request.
        scanner: The scanner, as in the request.
        outcome: Whether it may be transcoded.
        code: Stable code for programs, if it was refused: 1 to 64 lower-case letters, digits and
            underscores, e.g. ``malware``.
        message: One sentence for the person who uploaded it, if it was refused: up to
            :data:`MAX_MESSAGE` printable characters.

    Raises:
        ValueError: If the reason of a refusal is missing or malformed.
    """

    video_id: str
    run_id: str
    version_id: str
    scanner: str
    outcome: Outcome
    code: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        """Check the reason of a refusal."""
        if self.outcome is Outcome.CLEAN:
            return
        if not self.code or _CODE.fullmatch(self.code) is None:
            raise ValueError(
                f"code of a refusal is {self.code!r}, allowed are 1 to 64 lower-case letters, "
                "digits and underscores that start with a letter; name the reason"
            )
        if not self.message or len(self.message) > MAX_MESSAGE or not self.message.isprintable():
            raise ValueError(
                f"message of a refusal is {self.message!r}, allowed are 1 to {MAX_MESSAGE} "
                "printable characters; say in one sentence what is wrong with the file"
            )

    def to_json(self) -> str:
        """Return the body of the message."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read the body of a message; fields that a later version added are ignored.

        Raises:
            ValueError: If it is not a verdict.
        """
        values = _read(cls, text, "a verdict")
        values["outcome"] = Outcome(values["outcome"])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """One object version that a scanner is to judge.

    Attributes:
        video_id: The video.
        run_id: The run that waits for the verdict.
        tenant: Tenant of the video.
        scanner: The scanner that is asked.
        bucket: Bucket of the file.
        key: Key of the file.
        version_id: The one version that is judged; others are of no interest.
        size_bytes: Size of the file.
        content_type: Declared content type.
        sent_at: Time at which it was sent (RFC 3339, UTC).
        answer_to: URL of the queue that takes the verdict.
    """

    video_id: str
    run_id: str
    tenant: str
    scanner: str
    bucket: str
    key: str
    version_id: str
    size_bytes: int
    content_type: str
    sent_at: str
    answer_to: str

    def clean(self) -> Verdict:
        """Return the verdict that the file may be transcoded."""
        return self._verdict(Outcome.CLEAN)

    def refused(self, code: str, message: str) -> Verdict:
        """Return the verdict that it may not; see :class:`Verdict` for code and message."""
        return self._verdict(Outcome.REFUSED, code=code, message=message)

    def _verdict(
        self, outcome: Outcome, *, code: str | None = None, message: str | None = None
    ) -> Verdict:
        return Verdict(
            video_id=self.video_id,
            run_id=self.run_id,
            version_id=self.version_id,
            scanner=self.scanner,
            outcome=outcome,
            code=code,
            message=message,
        )

    def to_json(self) -> str:
        """Return the body of the message."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ScanRequest:
        """Read the body of a message; fields that a later version added are ignored.

        Raises:
            ValueError: If it is not a request.
        """
        return cls(**_read(cls, text, "a scan request"))


def _read(cls: type[Verdict | ScanRequest], text: str, what: str) -> dict[str, Any]:
    """Read a message of whoever may write to the queue; all fields but the size are texts.

    Raises:
        ValueError: If it is not one.
    """
    try:
        content = json.loads(text)
        values = {
            field.name: content[field.name]
            for field in fields(cls)
            if field.default is MISSING or content.get(field.name) is not None
        }
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"not {what}: {error!r}") from error
    for name, value in values.items():
        if not isinstance(value, int if name == "size_bytes" else str):
            kind = type(value).__name__
            raise ValueError(f"not {what}: {name} is of type {kind}")  # noqa: TRY004 - one kind of error
    return values


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on one run, as the table holds them: one attribute for each scanner.

    Attributes:
        outcomes: What each scanner that answered said.
    """

    outcomes: Mapping[str, Outcome]

    @classmethod
    def from_item(cls, item: Mapping[str, Mapping[str, Any]] | None) -> Self:
        """Read them from a wire item, or from none."""
        stored = from_item(item or {})
        return cls(
            {
                name.removeprefix(_SCANNER_ATTRIBUTE): Outcome(verdict["outcome"])
                for name, verdict in stored.items()
                if name.startswith(_SCANNER_ATTRIBUTE)
            }
        )

    def missing(self, scanners: Iterable[str]) -> list[str]:
        """Return those of ``scanners`` that did not say yet that the file is clean."""
        return [name for name in scanners if self.outcomes.get(name) is not Outcome.CLEAN]


_SCANNER_ATTRIBUTE = "by_"


def verdict_update(table_name: str, verdict: Verdict, *, at: str) -> dict[str, Any]:
    """Return the arguments of the ``UpdateItem`` that records a verdict.

    A refusal replaces what its scanner said before, and stays; anything else is kept as it was
    said first.

    Args:
        table_name: The table.
        verdict: The verdict.
        at: The present time.
    """
    said = {"outcome": verdict.outcome.value, "code": verdict.code, "message": verdict.message}
    update: dict[str, Any] = {
        "TableName": table_name,
        "Key": table.scan_key(verdict.video_id, verdict.run_id).to_wire(),
        "UpdateExpression": "SET #scanner = :verdict",
        "ConditionExpression": "attribute_not_exists(#scanner)",
        "ExpressionAttributeNames": {"#scanner": f"{_SCANNER_ATTRIBUTE}{verdict.scanner}"},
        "ExpressionAttributeValues": {":verdict": to_wire({**said, "at": at})},
    }
    if verdict.outcome is Outcome.REFUSED:
        update["ConditionExpression"] += " OR #scanner.#outcome = :clean"
        update["ExpressionAttributeNames"]["#outcome"] = "outcome"
        update["ExpressionAttributeValues"][":clean"] = to_wire(Outcome.CLEAN)
    return update
