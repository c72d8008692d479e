"""Errors as clients see them: RFC 9457 problem details with a request id.

``type`` is a stable name for programs; ``detail`` tells a person what was wrong, what is allowed
and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:media-platform:problem:"


class Kind(Enum):
    """The kinds of problem: the last part of ``type``, the status and the title."""

    MALFORMED_REQUEST = ("malformed-request", 400, "The request cannot be read")
    INVALID_CURSOR = ("invalid-cursor", 400, "The cursor does not belong to this list")
    UNAUTHENTICATED = ("unauthenticated", 401, "A valid access token is needed")
    FORBIDDEN = ("forbidden", 403, "This is not allowed")
    NO_TENANT = ("no-tenant", 403, "The user belongs to no tenant")
    INVALID_SIGNATURE = ("invalid-signature", 403, "The playback signature does not admit this")
    PLAYBACK_RESTRICTED = ("playback-restricted", 403, "The video may not be played from here")
    NOT_FOUND = ("not-found", 404, "There is nothing here")
    VIDEO_NOT_FOUND = ("video-not-found", 404, "There is no such video")
    WEBHOOK_NOT_FOUND = ("webhook-not-found", 404, "There is no such webhook")
    DELIVERY_NOT_FOUND = ("delivery-not-found", 404, "There is no such delivery")
    USER_NOT_FOUND = ("user-not-found", 404, "There is no such user")
    TENANT_NOT_FOUND = ("tenant-not-found", 404, "There is no such tenant")
    DEAD_LETTER_NOT_FOUND = ("dead-letter-not-found", 404, "There is no such dead letter")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "This method is not offered here")
    NOT_PLAYABLE = ("not-playable", 409, "The video cannot be played yet")
    OTHER_REGION = ("other-home-region", 409, "Another region is home to the video")
    NOT_RESTORABLE = ("not-restorable", 409, "The video cannot be restored any more")
    NOT_TRANSCODABLE = ("not-transcodable", 409, "The video cannot be transcoded again")
    NOT_DOWNLOADABLE = ("not-downloadable", 409, "There are no files of the video yet")
    NOT_TRANSCODING = ("not-transcoding", 409, "The video is not being transcoded")
    CHANGED_MEANWHILE = ("changed-meanwhile", 409, "It keeps changing")
    WEBHOOK_LIMIT = ("webhook-limit", 409, "The tenant has as many webhooks as it may")
    WEBHOOK_DISABLED = ("webhook-disabled", 409, "The webhook is disabled")
    USER_EXISTS = ("user-exists", 409, "There is such a user already")
    OWN_ACCOUNT = ("own-account", 409, "Nobody takes this from himself")
    LAST_ADMIN = ("last-admin", 409, "A tenant keeps an administrator")
    ADMINS_CHANGING = ("admins-changing", 409, "The administrators are being changed")
    NOT_REDRIVABLE = ("not-redrivable", 409, "The dead letter is no job")
    NOT_UPLOADING = ("not-uploading", 409, "The video waits for no file")
    UPLOAD_INCOMPLETE = ("upload-incomplete", 409, "The file is not complete")
    QUOTA_EXCEEDED = ("quota-exceeded", 409, "The tenant may not have more")
    PRECONDITION_FAILED = ("precondition-failed", 412, "The video was changed since it was read")
    TOO_LARGE = ("request-too-large", 413, "The request body is too large")
    INVALID = ("invalid-request", 422, "The request has invalid values")
    KEY_REUSED = ("idempotency-key-reused", 422, "The key was used for another request")
    INTERNAL = ("internal", 500, "Something went wrong here")
    UNAVAILABLE = ("unavailable", 503, "The service cannot answer just now")
    OVERLOADED = ("overloaded", 503, "The service has enough to do")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


class InvalidValue(BaseModel):
    """One value that was refused.

    Attributes:
        field: Where it stands, e.g. ``body.title`` or ``query.limit``.
        message: What is wrong with it and what is allowed.
    """

    field: str
    message: str


class ExceededLimit(BaseModel):
    """A limit of a tenant that a request would exceed.

    Attributes:
        name: What is limited: ``videos``, ``stored_bytes`` or ``uploads``.
        used: How much is used.
        limit: How much may be used.
    """

    name: str
    used: int
    limit: int


class ProblemBody(BaseModel):
    """Body of every answer with a status of 400 or above (RFC 9457).

    Attributes:
        type: Stable name of the kind of problem.
        title: What the kind is called.
        status: The HTTP status.
        detail: What was wrong, what is allowed, and what to do.
        instance: Path of the request.
        request_id: Id of the request, to be named when asking for help.
        errors: The values that were refused, if any.
        video_status: Where the video stands, if that is the problem.
        missing_parts: Parts of an upload that did not arrive, the first hundred.
        wrong_parts: Parts that arrived with another size than announced, the first hundred.
        exceeded: The limit of the tenant, if that is the problem.
        rule: The rule of playback that forbids it, if one does.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[InvalidValue] | None = Field(default=None)
    video_status: str | None = Field(default=None)
    missing_parts: list[int] | None = Field(default=None)
    wrong_parts: list[int] | None = Field(default=None)
    exceeded: ExceededLimit | None = Field(default=None)
    rule: str | None = Field(default=None)


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """Ends a request with a problem body.

    Args:
        kind: Kind of problem.
        detail: What was wrong, what is allowed, and what to do.
        headers: More headers of the answer.
        **members: More members of the body.
    """

    def __init__(
        self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def invalid(field: str, message: str) -> Problem:
    """Return the problem of one invalid value.

    Args:
        field: Where it stands, e.g. ``body.title``.
        message: What is wrong with it and what is allowed.
    """
    return _invalid([InvalidValue(field=field, message=message)])


def _invalid(errors: list[InvalidValue]) -> Problem:
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
    return Problem(Kind.INVALID, detail, errors=[error.model_dump() for error in errors])


def render(problem: Problem, *, path: str, request_id: str) -> Response:
    """Return the answer to a request that met ``problem``."""
    kind = problem.kind
    body = {
        "type": TYPE_PREFIX + kind.slug,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": path,
        "request_id": request_id,
        **problem.members,
    }
    return Response(
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=kind.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def problem_of(error: Exception, scope: Scope) -> Problem | None:
    """Return the problem of a refusal, also of one by the framework; ``None`` if it is a failure.

    Args:
        error: What ended the request.
        scope: The request.
    """
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _from_validation(error)
        case HTTPException():
            return _from_http(error, scope)
    return None


def _from_validation(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        reason = found[0].get("ctx", {}).get("error", "a syntax error")
        return Problem(
            Kind.MALFORMED_REQUEST,
            f"the body is not JSON: {reason}; send one JSON object in UTF-8 "
            "with Content-Type: application/json",
        )
    return _invalid([InvalidValue(field=_field(e), message=_message(e)) for e in found])


def _field(entry: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in entry["loc"])


_LONGEST_ECHO = 80


def _message(entry: Mapping[str, Any]) -> str:
    text = str(entry["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    if entry["type"] == "missing":
        return "it is missing; send it"
    if entry["type"] == "extra_forbidden":
        return "there is no such field; remove it"
    value = entry.get("input")
    if entry["type"] == "value_error" or not isinstance(value, str | int | float | bool):
        return text
    shown = json.dumps(value)
    shown = shown if len(shown) <= _LONGEST_ECHO else f"{shown[:_LONGEST_ECHO]}…"
    return f"{text}, not {shown}"


def _from_http(error: HTTPException, scope: Scope) -> Problem:
    path, app = scope["path"], scope["app"]
    match error.status_code:
        case 404:
            return Problem(
                Kind.NOT_FOUND,
                f"{path} is no path of this API; {app.state.description_path} lists all of them",
            )
        case 405:
            allowed = ", ".join(_allowed_methods(app, scope))
            return Problem(
                Kind.METHOD_NOT_ALLOWED,
                f"{scope['method']} is not offered at {path}; allowed: {allowed}",
                headers={"Allow": allowed},
            )
        case 413:
            return too_large(app.state.max_body_bytes)
        case status if status < 500:  # noqa: PLR2004 - HTTP
            return Problem(
                Kind.MALFORMED_REQUEST,
                f"the request cannot be read: {error.detail}; "
                "send one JSON object in UTF-8 with Content-Type: application/json",
            )
    return Problem(Kind.INTERNAL, str(error.detail))


def _allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods of all routes of a path; the framework knows only those of the first."""
    return sorted(
        method
        for route in app.routes
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    )


def too_large(limit_bytes: int) -> Problem:
    """Return the problem of a request body that is larger than ``limit_bytes``."""
    return Problem(
        Kind.TOO_LARGE,
        f"the body has more than {limit_bytes} bytes; "
        "send metadata here, and the file itself to the upload URL",
    )


def overloaded(retry_after_seconds: int) -> Problem:
    """Return the problem of a request that was refused before anything of it was looked at.

    Args:
        retry_after_seconds: When to try again, in seconds.
    """
    return Problem(
        Kind.OVERLOADED,
        "there are more requests than can be answered, and nothing of this one was done; "
        f"try again in {retry_after_seconds} s",
        headers={"Retry-After": str(retry_after_seconds)},
    )


def unavailable(detail: str, *, retry_after_seconds: int) -> Problem:
    """Return the problem of something that is expected to work again soon.

    Args:
        detail: What cannot be done.
        retry_after_seconds: When to try again, in seconds.
    """
    return Problem(
        Kind.UNAVAILABLE,
        f"{detail}; try again in {retry_after_seconds} s",
        headers={"Retry-After": str(retry_after_seconds)},
    )
