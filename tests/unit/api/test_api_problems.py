from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

import pytest
from urllib3 import HTTPHeaderDict

from media_api import problems
from media_api.app import MAX_BODY_BYTES
from media_api.lifecycle import Lifecycle
from media_api.middleware import Envelope
from media_api.models import NewVideo
from media_api.problems import Kind, Problem
from media_platform.contract.ids import is_id, new_id
from media_platform.contract.media_types import EXTENSIONS
from tests.unit.api.api_issuer import Issuer
from tests.unit.api.api_process import SECURITY, Answer, Api

GOOD: dict[str, Any] = {
    "title": "Harbour",
    "file_name": "harbour.mp4",
    "content_type": "video/mp4",
    "size_bytes": 1000,
}


def check(answer: Answer, kind: Kind, path: str) -> str:
    """Check the shape of a problem, its headers too, and return its detail."""
    body = answer.json
    assert answer.status == kind.status, body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert body["type"] == f"urn:media-platform:problem:{kind.slug}"
    assert (body["title"], body["status"], body["instance"]) == (kind.title, kind.status, path)
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return str(body["detail"])


@pytest.fixture
def token(issuer_of_api: Issuer) -> str:
    return issuer_of_api.user("user-1", "acme", "editor")


def test_without_a_token_nothing_is_told(api: Api) -> None:
    for method, path in (
        ("GET", "/api/videos"),
        ("POST", "/api/videos"),
        ("DELETE", f"/api/videos/{new_id()}"),
    ):
        answer = api.call(method, path)
        assert "Authorization: Bearer" in check(answer, Kind.UNAUTHENTICATED, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="media-platform"'


def test_a_refused_token_is_challenged(api: Api, issuer_of_api: Issuer) -> None:
    answer = api.call("GET", "/api/videos", token=issuer_of_api.token(token_use="id"))
    assert "not the id token" in check(answer, Kind.UNAUTHENTICATED, "/api/videos")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("scheme", ["Basic abc", "Bearer", "Bearer ", "Token abc"])
def test_another_scheme_is_no_token(api: Api, scheme: str) -> None:
    answer = api.call("GET", "/api/videos", headers={"Authorization": scheme})
    check(answer, Kind.UNAUTHENTICATED, "/api/videos")


def test_a_user_without_tenant_is_forbidden(api: Api, issuer_of_api: Issuer) -> None:
    answer = api.call("GET", "/api/videos", token=issuer_of_api.token(tenant=""))
    assert "ask an administrator" in check(answer, Kind.NO_TENANT, "/api/videos")


def test_a_viewer_may_not_create(api: Api, issuer_of_api: Issuer) -> None:
    for groups in ((), ("viewer",)):
        token = issuer_of_api.user("user-1", "acme", *groups)
        answer = api.call("POST", "/api/videos", token=token, body=GOOD)
        assert "group admin or editor" in check(answer, Kind.FORBIDDEN, "/api/videos")


def test_the_token_is_judged_before_the_body(api: Api) -> None:
    check(api.call("POST", "/api/videos", body=b"{"), Kind.UNAUTHENTICATED, "/api/videos")


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/nothing", "/api/videos/", "/%00", "/api/vidéos"]
)
def test_an_unknown_path(api: Api, path: str) -> None:
    answer = api.call("GET", path)
    assert "/api/openapi.json" in check(answer, Kind.NOT_FOUND, answer.json["instance"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/videos", "GET, POST"),
        ("POST", "/api/videos/x", "DELETE, GET, PATCH, PUT"),
        ("POST", "/api/videos/x/playback", "GET"),
        ("DELETE", "/health/live", "GET"),
    ],
)
def test_another_method_names_those_there_are(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = api.call(method, path)
    assert f"allowed: {allowed}" in check(answer, Kind.METHOD_NOT_ALLOWED, path)
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("change", "field", "parts"),
    [
        ({"title": ""}, "body.title", ["at least 1 character"]),
        ({"title": " \t"}, "body.title", ["blank", "give the video a title"]),
        ({"title": "x" * 201}, "body.title", ["at most 200 characters", "xxx"]),
        ({"title": None}, "body.title", ["valid string"]),
        ({"title": "\ud800"}, "body.title", ["valid string"]),
        ({"file_name": "x" * 256}, "body.file_name", ["at most 255 characters"]),
        ({"file_name": ""}, "body.file_name", ["at least 1 character"]),
        ({"content_type": "text/plain"}, "body.content_type", ["'text/plain'", *EXTENSIONS]),
        ({"content_type": "Video/MP4"}, "body.content_type", ["'Video/MP4'"]),
        ({"size_bytes": -1}, "body.size_bytes", ["greater than or equal to 0", "not -1"]),
        ({"size_bytes": "5"}, "body.size_bytes", ["valid integer", '"5"']),
        ({"size_bytes": True}, "body.size_bytes", ["valid integer"]),
        ({"size_bytes": 1.5}, "body.size_bytes", ["integer"]),
        ({"size_bytes": 1_000_001}, "body.size_bytes", ["1000001", "1000000", "upload a smaller"]),
        ({"size_bytes": 10**30}, "body.size_bytes", ["1000000"]),
        ({"visibility": "ALL"}, "body.visibility", ["'PUBLIC', 'TENANT' or 'PRIVATE'", "ALL"]),
        ({"owner": "me"}, "body.owner", ["no such field; remove it"]),
        ({"description": "x" * 5001}, "body.description", ["at most 5000 characters"]),
        ({"tags": [f"t{n}" for n in range(21)]}, "body.tags", ["at most 20 items"]),
        ({"tags": ["ok", " "]}, "body.tags.1", ["' '", "1 to 50"]),
        ({"tags": ["x" * 51]}, "body.tags.0", ["51 characters", "1 to 50"]),
        ({"tags": ["#sea"]}, "body.tags.0", ["'#sea'", "without its #"]),
        ({"tags": ["a\nb"]}, "body.tags.0", ["control character", "on one line"]),
    ],
)
def test_an_invalid_value_is_named_with_what_is_allowed(
    api: Api, token: str, change: dict[str, Any], field: str, parts: list[str]
) -> None:
    answer = api.call("POST", "/api/videos", token=token, body={**GOOD, **change})
    detail = check(answer, Kind.INVALID, "/api/videos")
    (error,) = answer.json["errors"]
    assert error["field"] == field
    assert detail == f"{field}: {error['message']}"
    for part in parts:
        assert part in detail


@pytest.mark.parametrize("text", ["1000", "1000.0", "1e3"])
def test_a_whole_number_may_be_written_as_json_has_it(text: str) -> None:
    new = NewVideo.model_validate({**GOOD, "size_bytes": json.loads(text)})
    assert repr(new.size_bytes) == "1000"


def test_everything_that_is_missing_is_named_at_once(api: Api, token: str) -> None:
    answer = api.call("POST", "/api/videos", token=token, body={})
    check(answer, Kind.INVALID, "/api/videos")
    missing = {error["field"] for error in answer.json["errors"]}
    assert missing == {f"body.{name}" for name in GOOD}


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b"[1,", b"[" * 5000, b"1" * 6000])
def test_a_body_that_is_not_json(api: Api, token: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.call("POST", "/api/videos", token=token, body=body, headers=headers)
    assert answer.status in {400, 422}
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["detail"]


@pytest.mark.parametrize("body", [[], "text", 5, None])
def test_json_that_is_no_object(api: Api, token: str, body: object) -> None:
    sent = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answer = api.call("POST", "/api/videos", token=token, body=sent, headers=headers)
    check(answer, Kind.INVALID, "/api/videos")


@pytest.mark.parametrize(
    ("query", "field", "part"),
    [
        ("limit=0", "query.limit", "greater than or equal to 1"),
        ("limit=101", "query.limit", "less than or equal to 100"),
        ("limit=ten", "query.limit", "valid integer"),
        ("status=DONE", "query.status", "'READY'"),
        ("status=DELETED", "query.status", "add owner=me"),
        ("owner=you", "query.owner", "'me'"),
        ("stauts=READY", "query.stauts", "no such field"),
        ("cursor=" + "x" * 201, "query.cursor", "at most 200"),
        ("tag=%23a", "query.tag", "without its #"),
        ("tag=", "query.tag", "1 to 50"),
        ("tag=a&status=READY", "query.status", "remove one of them"),
        ("tag=a&owner=me", "query.tag", "owner=me and visibility=PRIVATE"),
        ("tag=a&visibility=PRIVATE", "query.tag", "owner=me and visibility=PRIVATE"),
        ("visibility=PRIVATE", "query.visibility", "owner=me and a tag"),
        ("owner=me&visibility=PRIVATE", "query.visibility", "owner=me and a tag"),
    ],
)
def test_an_invalid_query(api: Api, token: str, query: str, field: str, part: str) -> None:
    answer = api.call("GET", f"/api/videos?{query}", token=token)
    assert part in check(answer, Kind.INVALID, "/api/videos")
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "é", "=", ""])
def test_an_invalid_cursor(api: Api, token: str, cursor: str) -> None:
    answer = api.call("GET", f"/api/videos?cursor={cursor}", token=token)
    assert "no cursor for the first page" in check(answer, Kind.INVALID_CURSOR, "/api/videos")


def test_an_announced_large_body_is_refused_unread(api: Api, token: str) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    answer = api.call("POST", "/api/videos", token=token, body=body)
    assert f"more than {MAX_BODY_BYTES} bytes" in check(answer, Kind.TOO_LARGE, "/api/videos")


def test_a_large_body_in_chunks_is_refused(api: Api, token: str) -> None:
    connection = HTTPConnection("127.0.0.1", api.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    chunks = (b" " * 1024 for _ in range(MAX_BODY_BYTES // 1024 + 1))
    connection.request("POST", "/api/videos", chunks, headers, encode_chunked=True)
    answer = connection.getresponse()
    headers = HTTPHeaderDict(answer.getheaders())
    check(Answer(answer.status, headers, answer.read()), Kind.TOO_LARGE, "/api/videos")


def test_a_malformed_id_is_a_video_that_is_not_there(api: Api, token: str) -> None:
    for video_id in ("x", "..", "%2e%2e", "é", new_id().upper()):
        answer = api.call("GET", f"/api/videos/{video_id}", token=token)
        assert answer.status == 404
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_playlist_without_signature_is_refused_before_anything_is_asked(api: Api) -> None:
    path = f"/api/videos/{new_id()}/runs/{new_id()}/hls/master.m3u8"
    detail = check(api.call("GET", path), Kind.INVALID_SIGNATURE, path)
    assert "Policy is given 0 times" in detail
    assert "/playback" in detail


def test_a_table_that_does_not_answer(api: Api, token: str) -> None:
    path = f"/api/videos/{new_id()}"
    answer = api.call("GET", path, token=token)
    assert "try again in" in check(answer, Kind.UNAVAILABLE, path)
    assert int(answer.headers["Retry-After"]) > 0


def test_ready_is_not_live(api: Api) -> None:
    assert api.call("GET", "/health/live").status == 200
    answer = api.call("GET", "/health/ready")
    assert "the table does not answer" in check(answer, Kind.UNAVAILABLE, "/health/ready")


def test_the_request_id_of_the_caller_is_kept(api: Api) -> None:
    answer = api.call("GET", "/health/live", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"


def test_the_request_id_of_the_load_balancer_is_kept(api: Api) -> None:
    trace = "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678"
    answer = api.call("GET", "/health/live", headers={"X-Amzn-Trace-Id": trace})
    assert answer.headers["X-Request-Id"] == "1-67891233-abcdef012345678912345678"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", '"'])
def test_an_unusable_request_id_is_replaced(api: Api, given: str) -> None:
    answer = api.call("GET", "/health/live", headers={"X-Request-Id": given})
    assert is_id(answer.headers["X-Request-Id"])


def test_answers_carry_the_security_headers(api: Api) -> None:
    headers = api.call("GET", "/api/openapi.json").headers
    assert {name: headers.get(name) for name in SECURITY} == SECURITY


def test_the_access_log_names_the_caller_and_no_secret(api: Api, issuer_of_api: Issuer) -> None:
    token = issuer_of_api.user("user-of-log", "acme")
    asked = {"X-Request-Id": "log-1"}
    api.call("GET", "/api/videos?cursor=secret-cursor", token=token, headers=asked)
    line = api.log_line("log-1")
    assert line["level"] == "INFO"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/videos", 400)
    assert (line["user"], line["tenant"]) == ("user-of-log", "acme")
    text = api.log_file.read_text()
    assert "secret-cursor" not in text
    assert token not in text


@pytest.mark.anyio
async def test_an_unexpected_error_tells_nothing_of_itself() -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the secret")

    async def check_nothing() -> None: ...

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    lifecycle = Lifecycle(check_nothing)
    scope = {"type": "http", "method": "GET", "path": "/api/videos", "headers": []}
    await Envelope(fail, lifecycle=lifecycle, max_body_bytes=10)(scope, receive, send)
    headers = HTTPHeaderDict({name.decode(): value.decode() for name, value in sent[0]["headers"]})
    answer = Answer(sent[0]["status"], headers, sent[1]["body"])
    assert "secret" not in check(answer, Kind.INTERNAL, "/api/videos")
    assert b"secret" not in answer.content
    assert await lifecycle.drain(1)


def test_a_problem_of_several_values_lists_them_all() -> None:
    problem = problems.invalid("body.title", "it is blank")
    assert isinstance(problem, Problem)
    assert problem.members["errors"] == [{"field": "body.title", "message": "it is blank"}]
