"""Requests and verdicts as scanners exchange them, and how verdicts are kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from media_platform.contract.ids import new_id
from media_platform.contract.items import to_wire
from media_platform.contract.scanning import (
    MAX_MESSAGE,
    Outcome,
    ScannerQueues,
    ScanRequest,
    Verdict,
    Verdicts,
    scanners_from_json,
    scanners_to_json,
    verdict_update,
)

NOW = "2026-11-21T09:00:00.000Z"
REQUEST = ScanRequest(
    video_id=new_id(),
    run_id=new_id(),
    tenant="acme",
    scanner="content",
    bucket="raw",
    key="raw/acme/ada/x.mp4",
    version_id="v1",
    size_bytes=17,
    content_type="video/mp4",
    sent_at=NOW,
    answer_to="https://sqs/verdicts",
)
REFUSED = REQUEST.refused("malware", "The file holds malware.")


def test_what_is_sent_is_read() -> None:
    assert ScanRequest.from_json(REQUEST.to_json()) == REQUEST
    for verdict in (REQUEST.clean(), REFUSED):
        assert Verdict.from_json(verdict.to_json()) == verdict


def test_a_verdict_names_what_was_asked() -> None:
    for verdict in (REQUEST.clean(), REFUSED):
        shared = asdict(verdict).keys() & asdict(REQUEST).keys()
        assert shared == {"video_id", "run_id", "version_id", "scanner"}
        assert all(getattr(verdict, name) == getattr(REQUEST, name) for name in shared)


def test_fields_of_later_versions_are_ignored() -> None:
    for message in (REQUEST, REFUSED):
        text = json.dumps({**json.loads(message.to_json()), "of_newer_code": 1})
        assert type(message).from_json(text) == message


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{}", '"x"', '{"video_id": "a"}', "[" * 50_000),
        json.dumps({**asdict(REQUEST), "outcome": "clean", "version_id": 1}),
    ],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        ScanRequest.from_json(text)
    with pytest.raises(ValueError, match="not a"):
        Verdict.from_json(text)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"outcome": "maybe"}, "maybe"),
        ({"outcome": ["clean"]}, "outcome is of type list"),
        ({"code": None}, "code of a refusal"),
        ({"code": "Two Words"}, "code of a refusal"),
        ({"code": "c" * 65}, "code of a refusal"),
        ({"message": None}, "message of a refusal"),
        ({"message": "x" * (MAX_MESSAGE + 1)}, "message of a refusal"),
        ({"message": "two\nlines"}, "message of a refusal"),
    ],
)
def test_a_refusal_needs_a_reason_that_can_be_shown(changes: dict[str, Any], problem: str) -> None:
    text = json.dumps({**json.loads(REFUSED.to_json()), **changes})
    with pytest.raises(ValueError, match=problem):
        Verdict.from_json(text)


def test_only_a_clean_verdict_of_each_scanner_ends_the_wait() -> None:
    verdicts = Verdicts.from_item(
        {
            "pk": {"S": "VIDEO#x"},
            "by_content": to_wire({"outcome": "clean"}),
            "by_malware": to_wire({"outcome": "refused"}),
        }
    )
    assert verdicts.missing(["content"]) == []
    assert verdicts.missing(["content", "malware", "legal"]) == ["malware", "legal"]
    assert Verdicts.from_item(None).missing(["content"]) == ["content"]
    assert verdicts.outcomes == {"content": Outcome.CLEAN, "malware": Outcome.REFUSED}


def test_every_name_and_value_of_a_record_is_used() -> None:
    # DynamoDB refuses a request with names or values that stand in no expression.
    for verdict in (REQUEST.clean(), REFUSED):
        update = verdict_update("table", verdict, at=NOW)
        text = f"{update['UpdateExpression']} {update['ConditionExpression']}"
        for name in (*update["ExpressionAttributeNames"], *update["ExpressionAttributeValues"]):
            assert name in text


def test_scanners_come_back_as_they_were() -> None:
    scanners = {
        name: ScannerQueues(requests_url=f"https://sqs/{name}", verdicts_url=f"https://sqs/{name}v")
        for name in ("malware", "content")
    }
    assert scanners_from_json(scanners_to_json(scanners)) == scanners
    assert scanners_from_json(scanners_to_json({})) == {}
    for text in ("", "[]", '{"content": {}}', '{"content": "url"}'):
        with pytest.raises(ValueError, match="not the scanners"):
            scanners_from_json(text)
