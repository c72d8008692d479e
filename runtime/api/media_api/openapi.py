"""The published description of the API, and the pieces that routes describe themselves with."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from media_api.access import RuledRoute
from media_api.problems import MEDIA_TYPE, Kind, ProblemBody
from media_platform.contract import playback

PATH = "/api/openapi.json"
"""Where the description is published."""

_BEARER = "accessToken"
_JSON = "application/json"

VideoId = Annotated[str, Path(description="Id of the video")]
RunId = Annotated[str, Path(description="Id of the run")]
PlaylistPath = Annotated[
    str,
    Path(
        description="Path of the playlist below the run",
        examples=["master.m3u8", "v720/playlist.m3u8"],
    ),
]


IfMatch = Annotated[
    str | None,
    Header(
        description="ETag of the video as it was read; what was changed since then is not changed. "
        "Default: the video is changed as it is",
        examples=['"7-0f343b0931126a20"'],
    ),
]


def problems(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that are problems, for its description."""
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = answers.setdefault(kind.status, {"model": ProblemBody, "description": ""})
        known["description"] = "; ".join(filter(None, [known["description"], kind.title]))
    return answers


def signature_parameters() -> list[dict[str, Any]]:
    """Return the query parameters of a signed URL, for the description of a route."""
    names = playback.QUERY
    return [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in (names.policy, names.signature, names.key_pair_id, names.hash_algorithm)
    ]


def also_as(media_type: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return a second media type of a request body, for the description of a route."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {media_type: {"schema": schema}}}}


def describe(app: FastAPI, routes: list[RuledRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``.

    Problems are given their media type, and every operation its security from the rule that
    guards it, together with the answers that the rule gives.
    """
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=routes
    )
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}}}
    document["components"]["securitySchemes"] = {
        _BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Access token of the Cognito user pool, with the tenant of the user",
        }
    }
    for route in routes:
        if not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            answers = operation["responses"]
            if route.rule.takes_token:
                anonymous: list[dict[str, list[str]]] = [] if route.rule.needs_token else [{}]
                operation["security"] = [{_BEARER: []}, *anonymous]
                for kind in (Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.UNAVAILABLE):
                    answers.setdefault(str(kind.status), {"description": kind.title})
            answers.setdefault("500", {"description": Kind.INTERNAL.title})
            if not (_takes_values(route.dependant) or route.body_field):
                answers.pop("422", None)
            for status, answer in answers.items():
                if status >= "400":
                    answer["content"] = problem
            operation["responses"] = dict(sorted(answers.items()))
    _add_links(document)
    return document


def _add_links(document: dict[str, Any]) -> None:
    """Link every answer that tells an id to all operations whose path takes it.

    What the path of an operation names itself, its answer does not tell.
    """
    operations = [each for path in document["paths"].values() for each in path.values()]
    taken = {operation["operationId"]: _path_names(operation) for operation in operations}
    for operation in operations:
        given = taken[operation["operationId"]]
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get(_JSON)
            if content is None or status >= "300":
                continue
            told = _told(content["schema"], document["components"]["schemas"])
            known = {
                **{name: f"$response.body#{pointer}" for name, pointer in told.items()},
                **{name: f"$request.path.{name}" for name in given},
            }
            links = {
                target: {
                    "operationId": target,
                    "parameters": {name: known[name] for name in sorted(names)},
                }
                for target, names in taken.items()
                if names & (told.keys() - given) and names <= known.keys()
            }
            if links:
                answer["links"] = links


def _path_names(operation: dict[str, Any]) -> set[str]:
    parameters = operation.get("parameters", ())
    return {parameter["name"] for parameter in parameters if parameter["in"] == "path"}


def _told(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, str]:
    """Return the JSON pointers of the texts that a body always has, the outermost of each name.

    Of a list it is the first entry.
    """
    told: dict[str, str] = {}
    waiting = deque([("", schema)])
    while waiting:
        pointer, schema = waiting.popleft()
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        if schema.get("type") == "array":
            waiting.append((f"{pointer}/0", schema["items"]))
        for name in schema.get("required", ()):
            value = schema["properties"][name]
            if value.get("type") == "string":
                told.setdefault(name, f"{pointer}/{name}")
            else:
                waiting.append((f"{pointer}/{name}", value))
    return told


def _takes_values(dependant: Dependant) -> bool:
    """Tell whether a request may have values that are refused, beside its body."""
    limited = any(parameter.field_info.metadata for parameter in dependant.path_params)
    return bool(limited or dependant.query_params or dependant.header_params) or any(
        _takes_values(inner) for inner in dependant.dependencies
    )


def ruled_routes(app: FastAPI) -> list[RuledRoute]:
    """Return all routes of ``app``.

    Raises:
        TypeError: If one is not held by a rule.
    """
    found: list[RuledRoute] = []
    for route in app.routes:
        if not isinstance(route, RuledRoute):
            name = route.path if isinstance(route, APIRoute) else repr(route)
            raise TypeError(f"route {name} has no access rule; add it through a RuledRoute")
        found.append(route)
    return found
