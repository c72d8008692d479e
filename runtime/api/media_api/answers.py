"""Answers with a body of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Response
from pydantic import BaseModel


def json_answer(
    body: BaseModel, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer.

    Args:
        body: Its body.
        status: HTTP status. Default 200.
        headers: Headers beside those that every answer has. Default: none.
    """
    return Response(
        body.model_dump_json(),
        status_code=status,
        headers=dict(headers) if headers else None,
        media_type="application/json",
    )
