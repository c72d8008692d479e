from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from media_api import openapi
from media_api.access import (
    ADMIN,
    ANYONE,
    EDITOR,
    MEMBER,
    MEMBER_OR_PUBLIC,
    OPERATOR,
    SIGNED_RUN,
    Rule,
    allow,
)
from media_api.admin.app import AdminServices
from media_api.admin.app import create_app as create_admin_app
from media_api.app import Services, create_app
from media_api.openapi import ruled_routes
from media_api.problems import Kind
from media_platform.contract.identity import ADMIN_GROUP, EDITOR_GROUP
from tests.unit.api import role_matrix

RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/health/live"): ANYONE,
    ("GET", "/health/ready"): ANYONE,
    ("GET", "/api/openapi.json"): ANYONE,
    ("POST", "/api/videos"): EDITOR,
    ("GET", "/api/videos"): MEMBER,
    ("GET", "/api/videos/{video_id}"): MEMBER_OR_PUBLIC,
    ("PUT", "/api/videos/{video_id}"): MEMBER,
    ("PATCH", "/api/videos/{video_id}"): MEMBER,
    ("DELETE", "/api/videos/{video_id}"): MEMBER,
    ("GET", "/api/videos/{video_id}/upload"): EDITOR,
    ("POST", "/api/videos/{video_id}/upload/parts"): EDITOR,
    ("POST", "/api/videos/{video_id}/upload/complete"): EDITOR,
    ("POST", "/api/videos/{video_id}/upload/abort"): EDITOR,
    ("GET", "/api/usage"): MEMBER,
    ("POST", "/api/videos/{video_id}/restore"): MEMBER,
    ("POST", "/api/videos/{video_id}/transcode"): EDITOR,
    ("POST", "/api/videos/{video_id}/transcode/cancel"): EDITOR,
    ("GET", "/api/videos/{video_id}/thumbnail"): MEMBER,
    ("PUT", "/api/videos/{video_id}/thumbnail"): MEMBER,
    ("DELETE", "/api/videos/{video_id}/thumbnail"): MEMBER,
    ("POST", "/api/videos/{video_id}/thumbnail/upload"): MEMBER,
    ("GET", "/api/videos/{video_id}/downloads"): MEMBER_OR_PUBLIC,
    ("POST", "/api/videos/{video_id}/downloads"): EDITOR,
    ("GET", "/api/videos/{video_id}/playback"): MEMBER_OR_PUBLIC,
    ("GET", "/api/videos/{video_id}/views"): MEMBER,
    ("GET", "/api/videos/{video_id}/runs/{run_id}/hls/{path:path}"): SIGNED_RUN,
    ("POST", "/api/webhooks"): ADMIN,
    ("GET", "/api/webhooks"): ADMIN,
    ("GET", "/api/webhooks/{webhook_id}"): ADMIN,
    ("PATCH", "/api/webhooks/{webhook_id}"): ADMIN,
    ("DELETE", "/api/webhooks/{webhook_id}"): ADMIN,
    ("POST", "/api/webhooks/{webhook_id}/rotate-secret"): ADMIN,
    ("POST", "/api/webhooks/{webhook_id}/test"): ADMIN,
    ("GET", "/api/webhooks/{webhook_id}/deliveries"): ADMIN,
    ("POST", "/api/webhooks/{webhook_id}/deliveries/{event_id}/redeliver"): ADMIN,
}
"""What every route demands. Whoever adds a route writes down here who may call it."""


ADMIN_RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/health/live"): ANYONE,
    ("GET", "/health/ready"): ANYONE,
    ("GET", "/api/admin/openapi.json"): ANYONE,
    ("GET", "/api/admin/users"): ADMIN,
    ("POST", "/api/admin/users"): ADMIN,
    ("GET", "/api/admin/users/{username}"): ADMIN,
    ("PUT", "/api/admin/users/{username}/groups"): ADMIN,
    ("POST", "/api/admin/users/{username}/disable"): ADMIN,
    ("POST", "/api/admin/users/{username}/enable"): ADMIN,
    ("POST", "/api/admin/users/{username}/sign-out"): ADMIN,
    ("GET", "/api/admin/tenants"): OPERATOR,
    ("POST", "/api/admin/tenants"): OPERATOR,
    ("GET", "/api/admin/tenants/{tenant}"): ADMIN,
    ("PUT", "/api/admin/tenants/{tenant}/quota"): OPERATOR,
    ("GET", "/api/admin/stats"): ADMIN,
    ("GET", "/api/admin/videos"): ADMIN,
    ("GET", "/api/admin/videos/{video_id}"): ADMIN,
    ("DELETE", "/api/admin/videos/{video_id}"): ADMIN,
    ("GET", "/api/admin/jobs"): OPERATOR,
    ("GET", "/api/admin/jobs/dead-letters"): OPERATOR,
    ("POST", "/api/admin/jobs/dead-letters/{message_id}/redrive"): OPERATOR,
    ("GET", "/api/admin/audit"): ADMIN,
}
"""The same of the admin service."""


@pytest.fixture
def app() -> FastAPI:
    nothing: Any = None
    return create_app(Services(**{part.name: nothing for part in fields(Services)}))


@pytest.fixture
def admin_app() -> FastAPI:
    nothing: Any = None
    return create_admin_app(
        AdminServices(
            tokens=nothing,
            lifecycle=nothing,
            operator_tenant="operators",
            users=nothing,
            tenants=nothing,
            videos=nothing,
            jobs=nothing,
            audit=nothing,
        )
    )


def rules_of(app: FastAPI) -> dict[tuple[str, str], Rule]:
    return {
        (method, route.path): route.rule
        for route in ruled_routes(app)
        for method in route.methods or ()
    }


def test_every_route_has_the_rule_that_was_agreed(app: FastAPI, admin_app: FastAPI) -> None:
    assert rules_of(app) == RULES
    assert rules_of(admin_app) == ADMIN_RULES


def test_every_route_has_a_row_in_the_table_of_roles(app: FastAPI, admin_app: FastAPI) -> None:
    """The rows are asked for by ``tests/integration/test_api_roles.py``."""
    assert role_matrix.API.keys() == rules_of(app).keys()
    assert role_matrix.ADMIN.keys() == rules_of(admin_app).keys()


def test_the_table_of_roles_lets_nobody_past_a_rule(app: FastAPI, admin_app: FastAPI) -> None:
    for table, rules in (
        (role_matrix.API, rules_of(app)),
        (role_matrix.ADMIN, rules_of(admin_app)),
    ):
        for route, row in table.items():
            answers, rule = role_matrix.expected(row), rules[route]
            refused = {caller for caller, status in answers.items() if status in {"401", "403"}}
            if rule.needs_token:
                assert (answers["none"], answers["bad"]) == ("401", "401"), route
            if ADMIN_GROUP in rule.groups and EDITOR_GROUP not in rule.groups:
                assert {"viewer", "editor"} <= refused, route
            if rule.operators:
                assert {"admin", "stranger"} <= refused, route


async def handler() -> None:
    """Do nothing."""


def test_a_route_without_a_rule_cannot_be_added(app: FastAPI) -> None:
    with pytest.raises(TypeError, match=r"/api/new has no access rule; put @allow"):
        app.get("/api/new")(handler)


def test_a_route_past_the_ruled_kind_is_found(app: FastAPI) -> None:
    app.router.routes.append(APIRoute("/api/new", handler))
    with pytest.raises(TypeError, match="/api/new has no access rule"):
        ruled_routes(app)


def test_a_mounted_application_is_found(app: FastAPI) -> None:
    app.mount("/api/more", FastAPI())
    with pytest.raises(TypeError, match="has no access rule"):
        ruled_routes(app)


def test_a_rule_stays_on_its_handler() -> None:
    marked = allow(MEMBER)(handler)
    assert marked is handler


def test_the_description_tells_which_routes_need_a_token(app: FastAPI) -> None:
    document = openapi.describe(app, ruled_routes(app))
    for (method, path), rule in RULES.items():
        if path == openapi.PATH:
            continue
        operation = document["paths"][path.replace(":path", "")][method.lower()]
        assert ("security" in operation) == rule.takes_token
        if rule.takes_token:
            assert ({} in operation["security"]) != rule.needs_token
            assert {"401", "403", "503"} <= operation["responses"].keys()
        for status, answer in operation["responses"].items():
            assert status < "400" or list(answer["content"]) == ["application/problem+json"]
    assert "ProblemBody" in document["components"]["schemas"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_what_a_path_may_not_be_is_described(app: FastAPI, admin_app: FastAPI) -> None:
    get_user = openapi.describe(admin_app, ruled_routes(admin_app))["paths"][
        "/api/admin/users/{username}"
    ]["get"]
    assert get_user["responses"]["422"]["description"] == Kind.INVALID.title
    get_video = openapi.describe(app, ruled_routes(app))["paths"]["/api/videos/{video_id}"]["get"]
    assert "422" not in get_video["responses"]


def test_what_an_answer_tells_is_linked_to_all_that_takes_it(app: FastAPI) -> None:
    paths = openapi.describe(app, ruled_routes(app))["paths"]
    created = paths["/api/videos"]["post"]["responses"]["201"]["links"]
    by_video = {
        operation["operationId"]
        for path, operations in paths.items()
        if "{video_id}" in path and "{run_id}" not in path
        for operation in operations.values()
    }
    assert created.keys() == by_video
    assert created["signParts"] == {
        "operationId": "signParts",
        "parameters": {"video_id": "$response.body#/video/video_id"},
    }
    listed = paths["/api/videos"]["get"]["responses"]["200"]["links"]
    assert listed["getVideo"]["parameters"] == {"video_id": "$response.body#/videos/0/video_id"}
    tested = paths["/api/webhooks/{webhook_id}/test"]["post"]["responses"]["202"]["links"]
    assert tested["redeliverWebhookEvent"]["parameters"] == {
        "event_id": "$response.body#/event_id",
        "webhook_id": "$request.path.webhook_id",
    }
    assert "links" not in paths["/api/videos/{video_id}"]["get"]["responses"]["200"]
