"""Every route of both services, asked by everyone: the table of roles against real processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from admin_stage import OPERATORS, AdminStage, running_admin_stage

from media_platform.contract.ids import new_id
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.times import timestamp
from tests.unit.api import role_matrix
from tests.unit.api.api_process import Api

TENANT = "acme"
OWNER = "ada"

BODIES: dict[tuple[str, str], Callable[[], Any]] = {
    ("POST", "/api/videos"): lambda: {
        "title": "A film",
        "file_name": "film.mp4",
        "content_type": "video/mp4",
        "size_bytes": 17,
    },
    ("PUT", "/api/videos/{video_id}"): lambda: {
        "title": "Another",
        "description": "",
        "tags": [],
        "visibility": "TENANT",
        "rules": None,
    },
    ("PATCH", "/api/videos/{video_id}"): lambda: {"title": "Another"},
    ("POST", "/api/videos/{video_id}/upload/parts"): lambda: {
        "parts": [{"number": 1, "sha256": "00" * 32}]
    },
    ("POST", "/api/videos/{video_id}/transcode"): lambda: {"profile": "720p"},
    ("POST", "/api/webhooks"): lambda: {"url": "https://hooks.example.com/"},
    ("PATCH", "/api/webhooks/{webhook_id}"): lambda: {"description": "A hook"},
    ("PUT", "/api/videos/{video_id}/thumbnail"): lambda: {"at_seconds": 1},
    ("POST", "/api/videos/{video_id}/downloads"): lambda: {"height": 720},
    ("POST", "/api/videos/{video_id}/thumbnail/upload"): lambda: {
        "content_type": "image/png",
        "size_bytes": 17,
    },
    ("POST", "/api/admin/users"): lambda: {"email": f"{new_id()}@example.com", "invite": False},
    ("PUT", "/api/admin/users/{username}/groups"): lambda: {"groups": ["editor"]},
    ("POST", "/api/admin/tenants"): lambda: {"tenant": f"tenant-{new_id()}"},
    ("PUT", "/api/admin/tenants/{tenant}/quota"): lambda: {
        "videos": 10**6,
        "stored_bytes": 10**12,
        "uploads": 10**6,
    },
}
"""A body that is accepted, for every route that takes one."""

QUERIES: dict[tuple[str, str], str] = {
    ("GET", "/api/admin/audit"): f"?day={timestamp()[:10]}",
}
"""The query of every route that needs one."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminStage]:
    with running_admin_stage(tmp_path_factory.mktemp("roles")) as stage:
        yield stage
        assert stage.emulator.denied() == []


@dataclass(frozen=True)
class Caller:
    """One who asks.

    Attributes:
        column: Where its answers stand in the table.
        name: What tells it from others of the column.
        token: Its token, if it sends one.
        no_tenant: Whether the token names no tenant.
    """

    column: str
    name: str
    token: str | None
    no_tenant: bool = False


@pytest.fixture(scope="module")
def callers(stage: AdminStage) -> list[Caller]:
    issuer = stage.stage.issuer
    groups = {"cognito:groups": ["admin"]}
    now = int(time.time())
    bad = {
        "garbage": "not.a.token",
        "expired": issuer.token(tenant=TENANT, iat=now - 7200, exp=now - 3600, **groups),
        "of another client": issuer.token(tenant=TENANT, client_id="another", **groups),
        "an id token": issuer.token(tenant=TENANT, token_use="id", **groups),
        "of another issuer": issuer.token(tenant=TENANT, iss="https://example.com", **groups),
    }
    good = {
        "viewer": issuer.user("vera", TENANT, "viewer"),
        "editor": issuer.user(OWNER, TENANT, "editor"),
        "admin": issuer.user("root", TENANT, "admin"),
        "operator": issuer.user("opal", OPERATORS, "admin"),
        "stranger": issuer.user("eve", "umbrella", "admin"),
    }
    return [
        Caller("none", "none", None),
        *(Caller("bad", name, token) for name, token in bad.items()),
        Caller("bad", "without a tenant", issuer.token(tenant="", **groups), no_tenant=True),
        *(Caller(name, name, token) for name, token in good.items()),
    ]


def fill(stage: AdminStage, path: str) -> str:
    """Return a path whose parameters name things that were just made."""
    makers: dict[str, Callable[[], str]] = {
        "{video_id}": lambda: stage.stage.person(OWNER, TENANT).new_video(),
        "{run_id}": new_id,
        "{path:path}": lambda: "master.m3u8",
        "{username}": lambda: stage.account(TENANT, "viewer").username,
        "{tenant}": lambda: TENANT,
        "{webhook_id}": lambda: a_webhook(stage),
        "{event_id}": lambda: a_delivery(stage),
        "{message_id}": lambda: stage.dead_letter(a_job()),
    }
    for parameter, make in makers.items():
        if parameter in path:
            path = path.replace(parameter, make())
    assert "{" not in path, f"say in this test what {path} is filled with"
    return path


def a_webhook(stage: AdminStage) -> str:
    """Return the oldest webhook of the tenant, which may have few."""
    root = stage.stage.person("root", TENANT, "admin")
    known = root.call("GET", "/api/webhooks").json["webhooks"]
    if not known:
        made = root.call("POST", "/api/webhooks", body={"url": "https://hooks.example.com/"})
        known = [made.json["webhook"]]
    return str(known[0]["webhook_id"])


def a_delivery(stage: AdminStage) -> str:
    """Return an event that is on its way to that webhook."""
    root = stage.stage.person("root", TENANT, "admin")
    return str(root.call("POST", f"/api/webhooks/{a_webhook(stage)}/test").json["event_id"])


def a_job() -> str:
    return TranscodeJob(
        video_id=new_id(),
        run_id=new_id(),
        tenant=TENANT,
        bucket="raw",
        key="raw/acme/ada/x.mp4",
        version_id="v1",
        size_bytes=1,
        queued_at=timestamp(),
    ).to_json()


def check(
    stage: AdminStage, api: Api, route: tuple[str, str], row: str, callers: list[Caller]
) -> None:
    method, path = route
    expected = role_matrix.expected(row)
    found = {}
    for caller in callers:
        wanted = expected[caller.column]
        if caller.no_tenant and wanted == "401":
            wanted = "403"
        body = BODIES.get(route)
        answer = api.call(
            method,
            fill(stage, path) + QUERIES.get(route, ""),
            token=caller.token,
            body=body() if body else None,
        )
        given = str(answer.status)
        if wanted != (given if wanted.isdecimal() else f"{given[0]}xx"):
            found[caller.name] = (wanted, given, answer.content[:200])
    assert not found


@pytest.mark.parametrize("route", role_matrix.API, ids=" ".join)
def test_the_api_answers_everyone_as_agreed(
    stage: AdminStage, callers: list[Caller], route: tuple[str, str]
) -> None:
    check(stage, stage.stage.api, route, role_matrix.API[route], callers)


@pytest.mark.parametrize("route", role_matrix.ADMIN, ids=" ".join)
def test_the_admin_service_answers_everyone_as_agreed(
    stage: AdminStage, callers: list[Caller], route: tuple[str, str]
) -> None:
    check(stage, stage.admin, route, role_matrix.ADMIN[route], callers)
