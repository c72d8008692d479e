"""Bad input gets a clear answer, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from journey import Person, send, sign_in
from waiting import eventually

from media_platform.contract import playback
from media_platform.contract.delivery import SigningKeyPair, signing_secret_name
from mediactl.local.sample import ffmpeg


@pytest.mark.parametrize(
    ("path", "token"),
    [
        ("", None),
        *(
            (p, t)
            for p in ("", "/{id}", "/{id}/playback")
            for t in ("Bearer nonsense", "Basic YTpi")
        ),
    ],
)
def test_without_a_valid_token_nothing_opens(
    ada: Person, mine: str, path: str, token: str | None
) -> None:
    url = ada.base_url + "/api/videos" + path.format(id=mine)
    answer = send("GET", url, headers={"Authorization": token} if token else {})
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("path", ["", "/playback"])
def test_to_strangers_a_video_that_is_not_public_does_not_exist(
    ada: Person, mine: str, path: str
) -> None:
    answers = [
        send("GET", f"{ada.base_url}/api/videos/{video_id}{path}", headers={})
        for video_id in (mine, "01900000-0000-7000-8000-000000000000")
    ]
    assert [answer.status for answer in answers] == [404, 404]
    assert without_ids(answers[0].data) == without_ids(answers[1].data)


def test_another_tenant_sees_no_video(eve: Person, mine: str) -> None:
    unknown = "01900000-0000-7000-8000-000000000000"
    for method, path in (("GET", ""), ("GET", "/playback"), ("DELETE", "")):
        theirs = eve.request(method, f"/api/videos/{mine}{path}")
        nobodys = eve.request(method, f"/api/videos/{unknown}{path}")
        assert theirs.status == nobodys.status == 404
        assert without_ids(theirs.data) == without_ids(nobodys.data)
    assert mine not in eve.request("GET", "/api/videos").data.decode()


def test_s3_refuses_another_content_type(ada: Person, film: bytes) -> None:
    _, upload = ada.create(film)
    headers = {**upload.headers, "Content-Type": "text/html"}
    assert send("PUT", upload.url, body=film, headers=headers).status == 403


def test_s3_refuses_another_length(ada: Person, film: bytes) -> None:
    _, upload = ada.create(film)
    headers = {n: v for n, v in upload.headers.items() if n.lower() != "content-length"}
    assert send("PUT", upload.url, body=film + b"x", headers=headers).status in (400, 403)


def test_s3_refuses_a_second_upload_on_the_same_url(ada: Person, film: bytes) -> None:
    video, upload = ada.create(film)
    assert send("PUT", upload.url, body=film, headers=upload.headers).status == 200
    assert send("PUT", upload.url, body=film, headers=upload.headers).status == 412
    ada.when(video["video_id"], "READY")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"content_type": "text/html"}, ["text/html", "video/mp4"]),
        ({"size_bytes": 10**15}, [str(10**15)]),
        ({"size_bytes": -1}, ["-1"]),
        ({"title": ""}, ["title"]),
        ({"visibility": "SECRET"}, ["SECRET", "PRIVATE"]),
        ({"colour": "blue"}, ["colour"]),
    ],
)
def test_the_api_names_value_and_limit(
    ada: Person, changes: dict[str, Any], words: list[str]
) -> None:
    body = {
        "title": "t",
        "file_name": "f.mp4",
        "content_type": "video/mp4",
        "size_bytes": 1,
        **changes,
    }
    answer = ada.request("POST", "/api/videos", json=body)
    assert answer.status in (400, 413, 415, 422), answer.data
    assert answer.headers["Content-Type"] == "application/problem+json"
    for word in words:
        assert word in answer.data.decode()


def bad_files(folder: Path, film: bytes) -> dict[str, bytes]:
    """Return files that are no videos, by name."""
    sound = folder / "sound.mp4"
    command = [ffmpeg(), "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", "sine=duration=2"]
    subprocess.run([*command, "-c:a", "aac", str(sound)], check=True)
    return {
        "text": b"once upon a time " * 500,
        "empty": b"",
        "truncated": film[: len(film) // 2],
        "audio only": sound.read_bytes(),
        "playlist": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    }


@pytest.mark.parametrize("name", ["text", "empty", "truncated", "audio only", "playlist"])
def test_what_is_no_video_fails_with_a_reason(
    ada: Person, plane: Any, outputs: dict[str, str], tmp_path: Path, film: bytes, name: str
) -> None:
    video_id = ada.upload(bad_files(tmp_path, film)[name])
    failed = ada.when(video_id, "FAILED")
    assert failed["failure"]["code"]
    assert len(failed["failure"]["message"].split()) >= 4
    assert "Traceback" not in failed["failure"]["message"]
    refused = ada.request("GET", f"/api/videos/{video_id}/playback")
    assert refused.status == 409
    sqs = plane.client("sqs")
    attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def empty(output: str) -> bool:
        got = sqs.get_queue_attributes(QueueUrl=outputs[output], AttributeNames=attributes)
        return all(int(got["Attributes"][a]) == 0 for a in attributes)

    eventually(lambda: empty("JobQueueUrl") or None, "the job is gone")
    assert empty("DeadLetterQueueUrl")


@pytest.mark.parametrize("name", ["my holiday film.mp4", "a+b&c=d.mp4", "Ærø 夏.mp4", "x'\"<>.mp4"])
def test_any_file_name_works(ada: Person, film: bytes, name: str) -> None:
    video = ada.when(ada.upload(film, file_name=name, title=name), "READY")
    assert (video["file_name"], video["title"]) == (name, name)


def test_expired_and_foreign_signatures_are_refused(ada: Person, plane: Any, mine: str) -> None:
    ada.when(mine, "READY")
    grant = ada.client.playback(mine)
    url, cookies = grant["playlist_url"], grant["cookies"]
    secret = plane.client("secretsmanager").get_secret_value(
        SecretId=signing_secret_name("local", "a")
    )
    pair = SigningKeyPair.from_json(secret["SecretString"])
    real = serialization.load_pem_private_key(pair.private_key.encode(), None)
    foreign = ec.generate_private_key(ec.SECP256R1())
    key_id = cookies["CloudFront-Key-Pair-Id"]

    def status(key: Any, resource: str, expires: float) -> int:
        policy = playback.policy_text(resource, int(expires)).encode()
        signature = key.sign(policy, ec.ECDSA(hashes.SHA256()))
        query = (
            f"?Policy={playback.encode(policy)}&Signature={playback.encode(signature)}"
            f"&Key-Pair-Id={key_id}&Hash-Algorithm=SHA256"
        )
        return send("GET", url + query).status

    tomorrow = time.time() + 86400
    assert status(real, url, tomorrow) == 200
    assert status(real, url, time.time() - 1) == 403
    assert status(foreign, url, tomorrow) == 403
    assert status(real, url.replace(mine, mine[::-1]), tomorrow) == 403
    assert status(real, url + "x", tomorrow) == 403


def test_playback_before_the_upload_says_where_the_video_stands(ada: Person) -> None:
    video, _ = ada.create(b"never sent")
    answer = ada.request("GET", f"/api/videos/{video['video_id']}/playback")
    assert answer.status == 409
    assert "PENDING" in answer.data.decode()


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/media/", "/media/us-east-1/x", "/", "/api/videos/not-an-id"]
)
def test_unknown_paths_are_refused_without_a_stack_trace(ada: Person, path: str) -> None:
    answer = ada.request("GET", path)
    assert answer.status in (403, 404, 422)
    assert "Traceback" not in answer.data.decode()


def without_ids(body: bytes) -> dict[str, Any]:
    """Return a problem document without what differs from request to request."""
    problem = json.loads(body)
    return {n: v for n, v in problem.items() if n in ("type", "title", "status", "detail")}


@pytest.fixture(scope="module")
def ada(platform: Any) -> Person:
    """A user of the tenant acme."""
    return sign_in(platform, "ada.bad", tenant="acme")


@pytest.fixture(scope="module")
def eve(platform: Any) -> Person:
    """A user of another tenant."""
    return sign_in(platform, "eve", tenant="globex")


@pytest.fixture(scope="module")
def mine(ada: Person, film: bytes) -> str:
    """A video of ada."""
    return ada.upload(film)
