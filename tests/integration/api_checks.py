"""Checks that schemathesis makes of every answer, beside its own; it loads them as hooks."""

from __future__ import annotations

import schemathesis

PROBLEM = "application/problem+json"
TYPE_PREFIX = "urn:media-platform:problem:"
SAFE = (
    "cache-control",
    "content-security-policy",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
)


@schemathesis.check
def security_headers(
    _context: schemathesis.CheckContext, response: schemathesis.Response, _case: schemathesis.Case
) -> None:
    """Every answer has the headers that keep browsers from misusing it, and one id."""
    for name in (*SAFE, "x-request-id"):
        assert len(response.headers.get(name, [])) == 1, f"{name} is there not once"


@schemathesis.check
def problem_body(
    _context: schemathesis.CheckContext, response: schemathesis.Response, _case: schemathesis.Case
) -> None:
    """Every refusal is a problem (RFC 9457) that names the request."""
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == [PROBLEM]
    body = response.json()
    assert body["type"].startswith(TYPE_PREFIX)
    assert body["status"] == response.status_code
    assert [body["request_id"]] == response.headers["x-request-id"]
