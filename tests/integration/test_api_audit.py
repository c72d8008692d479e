"""Audit entries: one for every change, written with it, and read by day."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_stage import Person, Stage, running_stage
from emulator import REGION

from media_api.audit import AuditTrail
from media_api.aws import open_clients
from media_api.cursors import InvalidCursorError
from media_platform.contract import table
from media_platform.contract.audit import RETENTION_DAYS, AuditAction, AuditEntry
from media_platform.contract.ids import new_id
from media_platform.contract.times import timestamp

REQUEST = "request-of-a-test"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-audit")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}", "editor", "viewer")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def trail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AuditTrail]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", stage.emulator.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with open_clients(REGION) as clients:
        yield AuditTrail(clients.dynamodb, stage.environment.table_name)


async def all_of(trail: AuditTrail, tenant: str, *, limit: int = 50) -> list[AuditEntry]:
    """Return the entries of today and of the day that a test may have begun on."""
    found: list[AuditEntry] = []
    for day in sorted({timestamp()[:10], _day_before()}, reverse=True):
        cursor = None
        while True:
            page = await trail.entries(tenant, day, cursor, limit=limit)
            assert len(page.entries) <= limit
            found += page.entries
            cursor = page.next_cursor
            if cursor is None:
                break
    return found


def _day_before() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))


@pytest.mark.anyio
async def test_every_change_has_one_entry_and_one_line(
    stage: Stage, ada: Person, trail: AuditTrail
) -> None:
    headers = {"X-Request-Id": REQUEST, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    body = {"title": "Secret", "file_name": "b.mp4", "content_type": "video/mp4", "size_bytes": 5}
    answer = ada.call("POST", "/api/videos", body=body, headers=headers)
    video_id = answer.json["video"]["video_id"]
    assert ada.call("DELETE", f"/api/videos/{video_id}", headers=headers).status == 204
    assert ada.call("DELETE", f"/api/videos/{video_id}").status == 204

    deleted, created = await all_of(trail, ada.tenant)
    assert (created.action, deleted.action) == (
        AuditAction.VIDEO_CREATED,
        AuditAction.VIDEO_DELETED,
    )
    for entry in (created, deleted):
        assert (entry.actor, entry.actor_groups) == ("ada", ("editor", "viewer"))
        assert (entry.tenant, entry.actor_tenant) == (ada.tenant, ada.tenant)
        assert (entry.video_id, entry.request_id, entry.trace_id) == (video_id, REQUEST, TRACE)
        line = stage.api.log_message("change", entry_id=entry.entry_id)
        assert (line["logger"], line["action"], line["actor"]) == ("audit", entry.action, "ada")
    assert "Secret" not in stage.api.log_file.read_text()


@pytest.mark.anyio
async def test_what_is_refused_has_no_entry_and_a_race_has_one(
    stage: Stage, ada: Person, trail: AuditTrail
) -> None:
    video_id = ada.new_video()
    bob = stage.person("bob", ada.tenant, "viewer")
    assert bob.call("DELETE", f"/api/videos/{video_id}").status == 403
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: ada.call("DELETE", f"/api/videos/{video_id}"), range(8))
        assert {answer.status for answer in answers} == {204}
    actions = [entry.action for entry in await all_of(trail, ada.tenant)]
    assert actions == [AuditAction.VIDEO_DELETED, AuditAction.VIDEO_CREATED]


@pytest.mark.anyio
async def test_pages_have_every_entry_once_newest_first(ada: Person, trail: AuditTrail) -> None:
    created = [ada.new_video() for _ in range(11)]
    for limit in (1, 4, 11, 100):
        entries = await all_of(trail, ada.tenant, limit=limit)
        assert [entry.video_id for entry in entries] == created[::-1]


@pytest.mark.anyio
async def test_a_cursor_holds_for_its_tenant_alone(ada: Person, trail: AuditTrail) -> None:
    for _ in range(2):
        ada.new_video()
    page = await trail.entries(ada.tenant, timestamp()[:10], limit=1)
    with pytest.raises(InvalidCursorError, match="another list"):
        await trail.entries("another", timestamp()[:10], page.next_cursor)


def test_entries_vanish_after_their_time() -> None:
    entry = AuditEntry(
        entry_id=new_id(),
        at="2026-01-01T00:00:00.000Z",
        tenant="acme",
        actor="ada",
        actor_tenant="acme",
        actor_groups=(),
        action=AuditAction.VIDEO_CREATED,
        request_id="r",
        trace_id=TRACE,
        changed=("title",),
    )
    item = entry.to_item()
    assert AuditEntry.from_item(item) == entry
    begin = 1_767_225_600
    assert item[table.TTL_ATTRIBUTE] == {"N": str(begin + RETENTION_DAYS * 86400)}
    assert item[table.PARTITION_KEY]["S"].startswith("AUDIT#acme#2026-01-01#")
