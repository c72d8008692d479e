from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from media_api import openapi
from media_api.access import ANYONE, EDITOR, MEMBER, MEMBER_OR_PUBLIC, SIGNED_RUN, Rule, allow
from media_api.app import Services, create_app
from media_api.openapi import ruled_routes

RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/health/live"): ANYONE,
    ("GET", "/health/ready"): ANYONE,
    ("GET", "/api/openapi.json"): ANYONE,
    ("POST", "/api/videos"): EDITOR,
    ("GET", "/api/videos"): MEMBER,
    ("GET", "/api/videos/{video_id}"): MEMBER_OR_PUBLIC,
    ("DELETE", "/api/videos/{video_id}"): MEMBER,
    ("GET", "/api/videos/{video_id}/playback"): MEMBER_OR_PUBLIC,
    ("GET", "/api/videos/{video_id}/runs/{run_id}/hls/{path:path}"): SIGNED_RUN,
}
"""What every route demands. Whoever adds a route writes down here who may call it."""


@pytest.fixture
def app() -> FastAPI:
    nothing: Any = None
    return create_app(Services(tokens=nothing, videos=nothing, playback=nothing, lifecycle=nothing))


def test_every_route_has_the_rule_that_was_agreed(app: FastAPI) -> None:
    found = {
        (method, route.path): route.rule
        for route in ruled_routes(app)
        for method in route.methods or ()
    }
    assert found == RULES


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
