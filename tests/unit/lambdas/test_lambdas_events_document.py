"""The document of the events says what the contract and the services say."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import is_id

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "events.md").read_text()
SECTIONS: dict[str, str] = dict(
    re.findall(r"^### (Video\w+)\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
)


def samples() -> list[dict[str, Any]]:
    return [
        json.loads(text)
        for text in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    ]


def table_fields(text: str, heading: str) -> list[str]:
    """Return the first column of the table whose first heading is ``heading``."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, f"no table of {heading}"
    return re.findall(r"^\| `(\w+)` \|", found[1], re.MULTILINE)


def test_the_field_table_lists_the_fields_of_the_contract() -> None:
    assert table_fields(TEXT, "field") == [field.name for field in fields(DomainEvent)]


@pytest.mark.parametrize("sample", samples(), ids=lambda s: str(s["event_type"]))
def test_samples_are_events_of_the_contract(sample: dict[str, Any]) -> None:
    event = DomainEvent.from_json(json.dumps(sample))
    assert json.loads(event.to_json()) == sample
    assert list(sample) == [field.name for field in fields(DomainEvent)]
    assert is_id(event.event_id)
    assert is_id(event.video_id)


def test_every_type_has_one_sample() -> None:
    sampled = [sample["event_type"] for sample in samples()]
    assert sorted(sampled) == sorted(event_type.value for event_type in EventType)
    assert list(SECTIONS) == sampled


OPTIONAL: dict[str, set[str]] = {
    "VideoFailed": {"run_id", "duplicate_of"},
    "VideoUpdated": {"run_id", "part", "cancelled_run_id", "code", "message"},
}
"""What the data of an event may lack."""


@pytest.mark.parametrize("sample", samples(), ids=lambda s: str(s["event_type"]))
def test_data_tables_list_what_the_sample_shows(sample: dict[str, Any]) -> None:
    listed = table_fields(SECTIONS[sample["event_type"]], "`data`")
    optional = OPTIONAL.get(sample["event_type"], set())
    assert set(listed) - optional == set(sample["data"])


def test_the_services_send_what_is_documented() -> None:
    sources = [*ROOT.glob("runtime/*/*/**/*.py"), ROOT / "media_platform/contract/video.py"]
    sent = {
        EventType[name].value
        for source in sources
        for name in re.findall(r"EventType\.([A-Z_]+)", source.read_text())
    }
    assert sent == set(SECTIONS)


def test_the_message_attributes_are_the_documented_ones() -> None:
    (line,) = re.findall(r"^The message attributes (.*) repeat", TEXT, re.MULTILINE)
    event = DomainEvent.from_json(json.dumps(samples()[0]))
    attributes = event.message_attributes()
    assert re.findall(r"`(\w+)`", line)[:2] == list(attributes)
    assert {a["DataType"] for a in attributes.values()} == {"String"}
