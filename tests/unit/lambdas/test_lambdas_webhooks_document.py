"""What the document of webhooks tells receivers to do works, and its numbers are those in use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from media_platform.contract.ids import new_id
from media_platform.contract.times import timestamp
from media_platform.contract.webhooks import (
    KEPT_FOR,
    RETRY_FOR,
    Secret,
    Webhook,
    event_of_test,
    sign,
)
from webhook_dispatch import decision, sender

TEXT = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
BODY = '{"title": "Zoë"}'.encode()
SECRET = Secret.new()

Judge = Callable[[str, str, bytes], bool]


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def by_python(secret: str, signature: str, body: bytes) -> bool:
    names: dict[str, Any] = {}
    exec(snippet("python"), names)  # noqa: S102  what the document shows is what is tested
    return bool(names["is_genuine"](secret, signature, body))


def by_node(secret: str, signature: str, body: bytes) -> bool:
    node = shutil.which("node")
    assert node, "Node is a requirement of the project"
    call = "isGenuine(process.argv[1], process.argv[2], Buffer.from(process.argv[3], 'hex'))"
    program = f"{snippet('javascript')}\nprocess.stdout.write(JSON.stringify({call}));"
    done = subprocess.run(
        [node, "--eval", program, "--", secret, signature, body.hex()],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return bool(json.loads(done.stdout))


@pytest.fixture(params=[by_python, by_node])
def judge(request: pytest.FixtureRequest) -> Judge:
    found: Judge = request.param
    return found


def signature(age: timedelta = timedelta(), *secrets: Secret, body: bytes = BODY) -> str:
    return sign(body, secrets or (SECRET,), datetime.now(UTC) - age)


def test_what_the_platform_signed_is_genuine(judge: Judge) -> None:
    assert judge(SECRET.value, signature(), BODY)


def test_either_secret_checks_while_one_is_replaced(judge: Judge) -> None:
    signed = signature(timedelta(), Secret.new(), SECRET)
    assert judge(SECRET.value, signed, BODY)


@pytest.mark.parametrize("age", [timedelta(minutes=6), -timedelta(minutes=6)])
def test_a_replay_is_refused(judge: Judge, age: timedelta) -> None:
    assert judge(SECRET.value, signature(age * 0.5), BODY)
    assert not judge(SECRET.value, signature(age), BODY)


def test_a_replay_with_a_new_time_is_refused(judge: Judge) -> None:
    old = signature(timedelta(minutes=6)).partition(",")[2]
    assert not judge(SECRET.value, f"t={int(datetime.now(UTC).timestamp())},{old}", BODY)


@pytest.mark.parametrize(
    "signed",
    ["", "t=", "t=x,v1=y", "v1=abc", f"t={2**40},v1=", "t=1763715712", "t=1e3,v1=é", ",,="],
)
def test_nonsense_is_refused(judge: Judge, signed: str) -> None:
    assert not judge(SECRET.value, signed, BODY)


def test_another_body_or_secret_is_refused(judge: Judge) -> None:
    assert not judge(SECRET.value, signature(), BODY + b" ")
    assert not judge(Secret.new().value, signature(), BODY)
    good = signature()
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    assert not judge(SECRET.value, wrong, BODY)
    assert not judge(SECRET.value, good[:-1], BODY)
    assert not judge(SECRET.value, good[:-1] + "é", BODY)


def test_the_sample_of_a_test_event_has_its_fields() -> None:
    (sample,) = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    now = datetime.now(UTC)
    webhook = Webhook(
        webhook_id=new_id(),
        tenant="acme",
        url="https://example.com/",
        created_at=timestamp(now),
        created_by="root",
        updated_at=timestamp(now),
        enabled_at=timestamp(now),
        secrets=(SECRET,),
    )
    made = json.loads(event_of_test(webhook, event_id=new_id(), region="eu-central-1", now=now))
    shown = json.loads(sample)
    assert made.keys() == shown.keys()
    assert made["event_type"] == shown["event_type"]
    assert made["data"].keys() == shown["data"].keys()


def test_the_numbers_are_those_in_use() -> None:
    minutes = [int(delay.total_seconds()) for delay in decision.DELAYS]
    assert minutes == [5, 30, 2 * 60, 10 * 60, 30 * 60]
    assert timedelta(hours=1) == decision.LONGEST_DELAY
    assert "after 5 seconds, 30 seconds, 2 minutes, 10 minutes, 30 minutes" in TEXT
    assert (timedelta(hours=24), timedelta(days=30)) == (RETRY_FOR, KEPT_FOR)
    assert timedelta(days=3) == decision.DISABLE_AFTER
    assert (sender.CONNECT_SECONDS, sender.TOTAL_SECONDS) == (3, 10)
    assert sender.READ_BYTES == 64 * 1024
