"""The edge: signatures, S3 and the load balancer behind one port, as deployed."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from small_plane import SmallPlane
from waiting import eventually

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(scope="module", autouse=True)
def objects(small: SmallPlane) -> None:
    """Objects of two runs, and a site."""
    s3 = small.client("s3")
    for key in ("media/run/a.m4s", "media/other/a.m4s", "media/run/sub/b c+d.m4s"):
        s3.put_object(
            Bucket=small.output("MediaBucket"), Key=key, Body=CONTENT, ContentType="video/mp4"
        )
    s3.put_object(Bucket=small.output("SiteBucket"), Key="index.html", Body=b"<html>")
    s3.put_object(Bucket=small.output("SiteBucket"), Key="media/x", Body=b"not protected")


def run_of(small: SmallPlane) -> str:
    return f"{small.endpoints.edge_url}/media/run/*"


def query(parts: dict[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in parts.items())


def test_a_signed_url_plays_and_an_unsigned_one_does_not(small: SmallPlane) -> None:
    assert small.get("/media/run/a.m4s").status == 403
    answer = small.get(small.sign("/media/run/a.m4s"))
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-type"] == "video/mp4"
    assert b"MissingKey" in small.get("/media/run/a.m4s").body


def test_cookies_open_a_run_and_no_other(small: SmallPlane) -> None:
    parts = small.signature(run_of(small))
    cookie = "; ".join(f"CloudFront-{name}={value}" for name, value in parts.items())
    headers = {"Cookie": f"x=1; {cookie}"}
    assert small.get("/media/run/a.m4s", headers=headers).status == 200
    assert small.get("/media/run/sub/b%20c+d.m4s", headers=headers).body == CONTENT
    assert small.get("/media/other/a.m4s", headers=headers).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/media/run/../other/a.m4s",
        "/media/run/%2e%2e/other/a.m4s",
        "/media/run/..%2Fother/a.m4s",
        "/media/run/%2e%2e%2fother%2fa.m4s",
        "/media/run/..%5Cother/a.m4s",
        "//media/other/a.m4s",
        "/%6dedia/other/a.m4s",
        "/x/../media/other/a.m4s",
        "/media%2Fother%2Fa.m4s",
        "/media/run//../../other/a.m4s",
    ],
)
def test_no_spelling_of_a_path_gets_around_the_policy(small: SmallPlane, path: str) -> None:
    parts = small.signature(run_of(small))
    for target in (path, f"{path}?{query(parts)}"):
        answer = small.get(target)
        assert answer.status == 403, target
        assert CONTENT[:64] not in answer.body


def test_expired_and_tampered_signatures_are_refused(small: SmallPlane) -> None:
    assert small.get(small.sign("/media/run/a.m4s", seconds=-1)).status == 403
    signed = small.sign("/media/run/a.m4s")
    assert small.get(signed.replace("run/a", "other/a")).status == 403
    assert small.get(signed.replace("Key-Pair-Id=K", "Key-Pair-Id=J")).status == 403


def test_ranges_validators_and_head(small: SmallPlane) -> None:
    signed = small.sign("/media/run/a.m4s")
    part = small.get(signed, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, CONTENT[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"
    head = small.get(signed, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(CONTENT))
    same = small.get(signed, headers={"If-None-Match": head.headers["etag"]})
    assert (same.status, same.body) == (304, b"")


def test_cors_is_what_the_response_headers_policy_says(small: SmallPlane) -> None:
    signed = small.sign("/media/run/a.m4s")
    ours = small.get(signed, headers={"Origin": "https://player.example"})
    assert ours.headers["access-control-allow-origin"] == "https://player.example"
    assert ours.headers["access-control-allow-credentials"] == "true"
    theirs = small.get(signed, headers={"Origin": "https://evil.example"})
    assert theirs.headers["access-control-allow-origin"] is None
    refused = small.get("/media/run/a.m4s", headers={"Origin": "https://player.example"})
    assert refused.headers["access-control-allow-origin"] == "https://player.example"


def test_the_default_behaviour_serves_the_site_only(small: SmallPlane) -> None:
    assert small.get("/index.html").body == b"<html>"
    assert small.get("/missing.html").status == 403
    assert small.get("/media/x").status == 403
    assert small.get("/index.html", method="POST", body=b"x").status == 403


def test_the_function_of_the_site_answers_with_its_page_where_a_path_names_no_file(
    small: SmallPlane,
) -> None:
    for path in ("/", "/videos", "/videos/1?tab=2"):
        assert small.get(path).body == b"<html>", path
    assert small.get("/main.js").status == 403
    assert small.get("/api/unknown").body != b"<html>"


def test_the_bucket_policy_decides_what_cloudfront_reads(small: SmallPlane) -> None:
    s3 = small.client("s3")
    bucket = small.output("SiteBucket")
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    without = json.loads(policy)
    without["Statement"] = [s for s in without["Statement"] if s["Effect"] == "Deny"]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(without))
    try:
        small.plane.refresh()
        assert small.get("/index.html").status == 403
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    small.plane.refresh()
    assert small.get("/index.html").status == 200


def test_other_hosts_are_not_served(small: SmallPlane) -> None:
    assert small.get("/index.html", headers={"Host": "evil.example"}).status == 403


def test_api_requests_reach_the_service_as_the_policies_say(small: SmallPlane) -> None:
    answer = small.get(
        "/api/a%2Fb/../c?x=1&Policy=p",
        method="POST",
        body=b"y" * 300_000,
        headers={
            "Authorization": "Bearer t",
            "Cookie": "s=1",
            "X-Forwarded-For": "192.0.2.1",
            "Content-Type": "text/plain",
        },
    )
    seen = answer.json
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert (seen["method"], seen["received"]) == ("POST", 300_000)
    assert seen["path"] == "/api/a%2Fb/../c?x=1&Policy=p"
    assert headers["authorization"] == "Bearer t"
    assert headers["cookie"] == "s=1"
    assert headers["host"].endswith(".elb.amazonaws.com")
    assert headers["x-forwarded-for"] == "192.0.2.1, 127.0.0.1, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert answer.headers.get_all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]


@pytest.mark.parametrize("status", [201, 404, 409, 500])
def test_answers_pass_through(small: SmallPlane, status: int) -> None:
    assert small.get(f"/api/status?{status}").status == status


def test_the_listener_decides_what_is_not_forwarded(small: SmallPlane) -> None:
    assert small.get("/teapot").status == 418


def test_a_slow_service_is_given_up(small: SmallPlane) -> None:
    assert small.get("/api/slow").status == 504


def test_a_body_that_is_too_large_is_refused(small: SmallPlane) -> None:
    answer = small.get("/api/x", method="POST", body=b"x" * (21 * 1024 * 1024))
    assert answer.status == 413


def test_a_task_that_dies_is_replaced_and_meanwhile_nobody_answers(small: SmallPlane) -> None:
    before = small.service("ApiService")["tasks"][0]["pid"]
    assert small.get("/api/die").status == 502
    statuses: set[int] = set()

    def back() -> bool:
        answer = small.get("/api/status?200")
        statuses.add(answer.status)
        return answer.status == 200

    eventually(back, "a new task answers")
    assert statuses <= {200, 502, 503}
    assert small.service("ApiService")["tasks"][0]["pid"] != before


def test_many_viewers_at_once(small: SmallPlane) -> None:
    signed = small.sign("/media/run/a.m4s")
    found: list[Any] = []
    viewers = [
        threading.Thread(target=lambda: found.append(small.get(signed).body == CONTENT))
        for _ in range(20)
    ]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert found == [True] * 20
