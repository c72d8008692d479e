"""Playback through the running API: grants, cookies, and playlists for players without cookies."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import anyio
import pytest
from api_stage import BASE_URL, STAGE, Person, Stage, put_delivery, running_stage
from emulator import REGION, Emulator, running_emulator
from structlog.testing import capture_logs
from waiting import eventually

from media_api.aws import Clients, open_clients
from media_api.delivery import RETRY_SECONDS, Delivery, DeliveryUnavailableError
from media_api.signing import PlaybackSigner, SignatureRefusedError, expiry
from media_platform.contract import playback, table
from media_platform.contract.delivery import (
    FRESH_SECONDS,
    SigningKeyPair,
    delivery_parameter_name,
)
from media_platform.contract.events import EventType
from media_platform.contract.ids import new_id
from media_platform.contract.jobs import REQUESTED_PART
from media_platform.contract.object_keys import RunKeys
from media_platform.contract.run import Part, download_part
from media_platform.contract.video import Failure, PlaybackRules, VideoStatus, Visibility
from media_platform.contract.views import view_update
from tests.unit.api.api_keys import new_pair
from tests.unit.api.api_process import Answer

MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",DEFAULT=YES,URI="audio/playlist.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720,AUDIO="audio"
v720/playlist.m3u8
"""
MEDIA = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:4
#EXT-X-PLAYLIST-TYPE:EVENT
#EXT-X-MAP:URI="1/init.mp4"
#EXTINF:4.000000,
1/000000.m4s
#EXTINF:4.000000,
2/000001.m4s
"""
VIDEO = {"title": "A", "file_name": "a.mp4", "content_type": "video/mp4", "size_bytes": 5}
PAIR = new_pair()


@dataclass(frozen=True)
class Film:
    """A video that can be played."""

    owner: Person
    keys: RunKeys

    @property
    def path(self) -> str:
        return f"/api/videos/{self.keys.video_id}/playback"

    def playlist_path(self, name: str) -> str:
        return f"/api/videos/{self.keys.video_id}/runs/{self.keys.run_id}/hls/{name}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("api-playback")) as stage:
        before_the_edge_is_deployed(stage)
        stage.deliver(PAIR)
        yield stage
        assert stage.emulator.denied() == []


def before_the_edge_is_deployed(stage: Stage) -> None:
    """See that the API lives without the Edge stack, and says what is missing."""
    ada = stage.person("ada", "early")
    video_id = ada.new_video()
    stage.start_run(video_id, playable_at="2026-01-01T00:00:00.000Z")
    answer = ada.call("GET", f"/api/videos/{video_id}/playback")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "the distribution is not deployed yet" in answer.json["detail"]
    assert stage.api.call("GET", "/health/ready").status == 200


@pytest.fixture
def ada(stage: Stage) -> Person:
    return stage.person("ada", f"tenant-{new_id()}")


@pytest.fixture
def film(stage: Stage, ada: Person) -> Film:
    video_id = ada.new_video()
    keys = stage.start_run(video_id, playable_at="2026-01-01T00:00:00.000Z")
    stage.publish(keys.master_playlist, MASTER)
    stage.publish(keys.playlist("v720"), MEDIA)
    stage.publish(keys.playlist("audio"), MEDIA + "#EXT-X-ENDLIST\n")
    made = Film(ada, keys)
    eventually(lambda: ada.call("GET", made.path).status == 200, "playback is granted")
    return made


def change(stage: Stage, film: Film, **changes: Any) -> None:
    """Change a film past the API, which may show for a moment what was before."""
    version = stage.change(film.keys.video_id, **changes).version
    path = f"/api/videos/{film.keys.video_id}"
    eventually(
        lambda: film.owner.call("GET", path).json["version"] == version, "the change is shown"
    )


def get(stage: Stage, url: str, **headers: str) -> Answer:
    """Get what a player without cookies gets at an address of the one origin."""
    split = urlsplit(url)
    return stage.api.call("GET", f"{split.path}?{split.query}", headers=headers)


def test_a_grant_names_everything_that_players_need(film: Film) -> None:
    answer = film.owner.call("GET", film.path)
    body, keys = answer.json, film.keys
    assert (body["video_id"], body["run_id"]) == (keys.video_id, keys.run_id)
    assert body["status"] == "PROCESSING"
    assert body["playlist_url"] == f"{BASE_URL}/{keys.master_playlist}"
    assert body["signed_playlist_url"].startswith(BASE_URL + film.playlist_path("master.m3u8"))
    assert body["poster_url"].startswith(f"{BASE_URL}/{keys.poster}?Policy=")
    signer = PlaybackSigner(PAIR, key_pair_id="KA", base_url=BASE_URL)
    for url in (body["signed_playlist_url"], body["poster_url"]):
        query = parse_qs(urlsplit(url).query)
        grant = signer.verify(query["Policy"][0], query["Signature"][0], now=0)
        assert (grant.keys, grant.cookies) == (keys, body["cookies"])
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_cookies_belong_to_the_run_and_the_origin_alone(film: Film) -> None:
    answer = film.owner.call("GET", film.path)
    found = {}
    for line in answer.headers.getlist("Set-Cookie"):
        pair, *attributes = line.split("; ")
        assert attributes == [
            f"Path=/{film.keys.prefix}",
            "HttpOnly",
            "SameSite=Lax",
            "Secure",
        ]
        name, _, value = pair.partition("=")
        found[name] = value
    assert found == answer.json["cookies"]
    assert found["CloudFront-Hash-Algorithm"] == "SHA256"


def test_equal_requests_get_equal_answers_within_a_slot(film: Film) -> None:
    first, second = (film.owner.call("GET", film.path) for _ in range(2))
    # Two requests may lie on both sides of the border of a slot; a third then settles it.
    third = film.owner.call("GET", film.path)
    assert second.content in (first.content, third.content)
    assert expiry(1000.5, 600) == expiry(1049.5, 600)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (VideoStatus.PENDING, "upload its file"),
        (VideoStatus.UPLOADED, "wait until its first seconds"),
        (VideoStatus.FAILED, "create a new video"),
    ],
)
def test_a_video_that_cannot_be_played_says_why(
    stage: Stage, ada: Person, status: VideoStatus, remedy: str
) -> None:
    video_id = ada.new_video()
    if status is not VideoStatus.PENDING:
        stage.change(video_id, status=status)
    answer = ada.call("GET", f"/api/videos/{video_id}/playback")
    assert (answer.status, answer.json["video_status"]) == (409, status.value)
    assert status.value in answer.json["detail"]
    assert remedy in answer.json["detail"]


def test_a_run_that_is_not_playable_yet(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    stage.start_run(video_id)
    answer = ada.call("GET", f"/api/videos/{video_id}/playback")
    assert (answer.status, answer.json["video_status"]) == (409, "PROCESSING")


def test_only_who_may_see_a_video_may_play_it(stage: Stage, film: Film) -> None:
    viewer = stage.person("bob", film.owner.tenant, "viewer")
    assert viewer.call("GET", film.path).status == 200
    stranger = stage.person("eve", "elsewhere", "admin")
    assert stranger.call("GET", film.path).status == 404


def test_a_public_video_is_played_by_anyone(stage: Stage, film: Film) -> None:
    assert stage.api.call("GET", film.path).status == 404
    change(stage, film, visibility=Visibility.PUBLIC)
    stranger = stage.person("eve", "elsewhere", "viewer")
    known = film.owner.call("GET", film.path).json
    for answer in (stage.api.call("GET", film.path), stranger.call("GET", film.path)):
        assert answer.status == 200
        assert answer.json.keys() == known.keys()
        assert get(stage, answer.json["signed_playlist_url"]).status == 200


def views_of(person: Person, film: Film) -> int:
    answer = person.call("GET", f"/api/videos/{film.keys.video_id}/views")
    assert (answer.status, answer.json["video_id"]) == (200, film.keys.video_id)
    return int(answer.json["views"])


def test_every_grant_is_a_view_and_refusals_are_none(stage: Stage, film: Film) -> None:
    # The film was granted until it was playable once: at least one view is there, or will be.
    eventually(lambda: views_of(film.owner, film) >= 1, "the first view is added")
    before = views_of(film.owner, film)
    bob = stage.person("bob", film.owner.tenant, "viewer")
    eve = stage.person("eve", "elsewhere", "admin")
    for person in (film.owner, bob, bob):
        assert person.call("GET", film.path).status == 200
    assert eve.call("GET", film.path).status == 404
    eventually(lambda: views_of(bob, film) == before + 3, "the views are added")
    path = f"/api/videos/{film.keys.video_id}/views"
    assert eve.call("GET", path).status == 404
    assert stage.api.call("GET", path).status == 401


def test_views_of_all_regions_and_shards_are_one_sum(stage: Stage, ada: Person) -> None:
    video_id = ada.new_video()
    client = stage.emulator.client("dynamodb")
    for region in stage.environment.region_names:
        for number in (0, table.SHARDS - 1):
            client.transact_write_items(
                TransactItems=[
                    view_update(
                        stage.environment.table_name,
                        video_id,
                        region=region,
                        number=number,
                        views=10 + number,
                    )
                ]
            )
    answer = ada.call("GET", f"/api/videos/{video_id}/views")
    assert answer.json == {"video_id": video_id, "views": 2 * (10 + 10 + table.SHARDS - 1)}


def test_every_grant_has_one_audit_line(stage: Stage, film: Film) -> None:
    change(stage, film, visibility=Visibility.PUBLIC)
    headers = {**HOPS, "Referer": "https://www.example.com/a?secret=1"}
    for user, call in (("ada", film.owner.call), ("anonymous", stage.api.call)):
        request_id = f"grant-{new_id()}"
        answer = call("GET", film.path, headers={**headers, "X-Request-Id": request_id})
        line = stage.api.log_message("playback", request_id=request_id)
        assert (line["logger"], line["user"]) == ("audit", user)
        assert line["user_tenant"] == (film.owner.tenant if user == "ada" else None)
        assert (line["tenant"], line["video_id"], line["run_id"]) == (
            film.owner.tenant,
            film.keys.video_id,
            film.keys.run_id,
        )
        assert (line["address"], line["referrer"]) == (VIEWER, "www.example.com")
        ends = datetime.fromisoformat(answer.json["expires_at"]).timestamp()
        assert line["expires_at"] == ends
    assert "secret" not in stage.api.log_file.read_text()


VIEWER = "192.0.2.7"
HOPS = {"X-Forwarded-For": f"{VIEWER}, 10.0.0.1"}
"""What CloudFront and the load balancer add to a request of the viewer."""


@pytest.fixture
def restricted(stage: Stage, film: Film) -> Callable[..., Film]:
    """Give a film that can be played rules."""

    def restrict(**rules: Any) -> Film:
        change(stage, film, rules=PlaybackRules(**rules))
        return film

    return restrict


def test_rules_are_set_at_creation_and_told_to_who_may_change_them(
    stage: Stage, ada: Person
) -> None:
    rules = {"referrers": ["*.example.com"], "ipv4_ranges": ["192.0.2.0/24"], "max_seconds": 90}
    video = ada.create(rules=rules, visibility="PUBLIC")["video"]
    assert video["rules"] == rules
    assert stage.video(video["video_id"]).rules == PlaybackRules(
        referrers=("*.example.com",), ipv4_ranges=("192.0.2.0/24",), max_seconds=90
    )
    assert ada.create(rules={})["video"]["rules"] is None
    assert "rules" not in stage.api.call("GET", f"/api/videos/{video['video_id']}").json
    wrong = {**VIDEO, "rules": {"ipv4_ranges": ["192.0.2.7/24"]}}
    answer = ada.call("POST", "/api/videos", body=wrong)
    assert answer.status == 422
    (error,) = answer.json["errors"]
    assert error["field"] == "body.rules.ipv4_ranges.0"
    assert "write 192.0.2.0/24" in error["message"]


def test_a_range_of_addresses_is_held_and_signed(
    stage: Stage, restricted: Callable[..., Film]
) -> None:
    film = restricted(ipv4_ranges=("198.51.100.0/24", "192.0.2.0/25"))
    answer = film.owner.call("GET", film.path, headers=HOPS)
    assert answer.status == 200
    url = answer.json["signed_playlist_url"]
    (statement,) = json.loads(playback.decode(parse_qs(urlsplit(url).query)["Policy"][0]))[
        "Statement"
    ]
    assert statement["Condition"]["IpAddress"] == {"AWS:SourceIp": "192.0.2.0/25"}
    assert get(stage, url, **HOPS).status == 200

    for hops in (
        {"X-Forwarded-For": f"{VIEWER}, 203.0.113.9, 10.0.0.1"},
        {"X-Forwarded-For": "2001:db8::7, 10.0.0.1"},
        {"X-Forwarded-For": VIEWER},
        {},
    ):
        refused = film.owner.call("GET", film.path, headers=hops)
        assert (refused.status, refused.json["type"][-19:]) == (403, "playback-restricted")
        assert refused.json["rule"] == "ipv4_ranges"
        assert "192.0.2.0" not in refused.json["detail"]
        playlist = get(stage, url, **hops)
        assert (playlist.status, playlist.json["type"][-17:]) == (403, "invalid-signature")


def test_the_page_that_asks_must_be_allowed(restricted: Callable[..., Film]) -> None:
    film = restricted(referrers=("*.example.com",))
    for allowed in ({"Origin": "https://www.example.com"}, {"Referer": "https://a.example.com/x"}):
        assert film.owner.call("GET", film.path, headers=allowed).status == 200
    for other in (
        {"Origin": "https://example.org"},
        {"Origin": "null", "Referer": "https://a.example.com/x"},
        {},
    ):
        refused = film.owner.call("GET", film.path, headers=other)
        assert (refused.status, refused.json["rule"]) == (403, "referrers")
        assert "example.com" not in refused.json["detail"]


def test_a_signature_ends_as_early_as_a_rule_says(restricted: Callable[..., Film]) -> None:
    film = restricted(max_seconds=60)
    before = time.time()
    ends = film.owner.call("GET", film.path).json["expires_at"]
    assert datetime.fromisoformat(ends).timestamp() <= time.time() + 60
    assert datetime.fromisoformat(ends).timestamp() >= before + 48


@pytest.fixture
def finished(stage: Stage, film: Film) -> Film:
    """A film that is READY."""
    change(stage, film, status=VideoStatus.READY)
    return film


def downloads_path(film: Film) -> str:
    return f"/api/videos/{film.keys.video_id}/downloads"


def download_of(stage: Stage, film: Film) -> Part | None:
    """Return the download with 720 lines as the table holds it."""
    key = table.part_key(film.keys.video_id, film.keys.run_id, download_part(720))
    answer = stage.emulator.client("dynamodb").get_item(
        TableName=stage.environment.table_name, Key=key.to_wire(), ConsistentRead=True
    )
    return Part.from_item(answer["Item"]) if "Item" in answer else None


def put_download(stage: Stage, part: Part) -> None:
    """Let a worker have changed a download."""
    stage.emulator.client("dynamodb").put_item(
        TableName=stage.environment.table_name, Item=part.to_item()
    )


def test_a_download_is_asked_of_the_workers_once(stage: Stage, finished: Film) -> None:
    path, before = downloads_path(finished), stage.video(finished.keys.video_id)
    assert finished.owner.call("GET", path).json["downloads"] == []
    key = {"Idempotency-Key": new_id()}
    answers = [
        finished.owner.call("POST", path, body={"height": 720}, headers=headers)
        for headers in (key, key, {})
    ]
    assert [answer.status for answer in answers] == [202] * 3
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [
        None,
        "true",
        None,
    ]
    state = answers[0].json
    assert (state["height"], state["status"], state["failure"]) == (720, "WAITING", None)
    assert [answer.json for answer in answers] == [state] * 3
    waiting = {**state, "url": None, "expires_at": None}
    assert finished.owner.call("GET", path).json == {
        "video_id": finished.keys.video_id,
        "run_id": finished.keys.run_id,
        "downloads": [waiting],
    }
    part = download_of(stage, finished)
    assert part is not None
    assert (part.attempt, part.requested_at) == (0, state["requested_at"])
    event = stage.events(finished.keys.video_id)[-1]
    assert (event.event_type, event.sequence) == (EventType.VIDEO_UPDATED, before.version + 1)
    assert event.data == {"updated_by": "ada", "changed": {}, REQUESTED_PART: download_part(720)}


def test_a_download_is_told_as_workers_get_on_and_signed_for_itself(
    stage: Stage, finished: Film
) -> None:
    path, ada = downloads_path(finished), finished.owner
    ada.call("POST", path, body={"height": 720})
    asked = download_of(stage, finished)
    assert asked is not None

    def told() -> dict[str, Any]:
        (found,) = ada.call("GET", path).json["downloads"]
        return dict(found)

    failure = Failure(code="processing_failed", message="It could not be made.")
    put_download(stage, replace(asked, attempt=3, lease_until=int(time.time()) + 60))
    assert told()["status"] == "RUNNING"
    assert ada.call("POST", path, body={"height": 720}).json["status"] == "RUNNING"
    put_download(stage, replace(asked, attempt=3, failures=2, failure=failure))
    assert (told()["status"], told()["failure"]) == ("FAILED", vars(failure))
    assert ada.call("POST", path, body={"height": 720}).json["status"] == "WAITING"
    again = download_of(stage, finished)
    assert again is not None
    # Whoever still works on the first request may not write any more to the second.
    assert (again.attempt, again.failures, again.failure) == (3, 0, None)
    # Nobody took it for long, as when the video was deleted and restored meanwhile.
    long_ago = "2026-01-01T00:00:00.000Z"
    put_download(stage, replace(again, requested_at=long_ago))
    assert ada.call("POST", path, body={"height": 720}).json["requested_at"] > long_ago
    put_download(stage, replace(again, done=True))
    assert ada.call("POST", path, body={"height": 720}).status == 200

    request_id = f"grant-{new_id()}"
    answer = ada.call("GET", path, headers={**HOPS, "X-Request-Id": request_id})
    (found,) = answer.json["downloads"]
    key = finished.keys.download(720)
    assert found["url"].startswith(f"{BASE_URL}/{key}?")
    (policy,) = parse_qs(urlsplit(found["url"]).query)[playback.QUERY.policy]
    assert json.loads(playback.decode(policy))["Statement"][0]["Resource"] == f"{BASE_URL}/{key}"
    line = stage.api.log_message("downloads", request_id=request_id)
    ends = datetime.fromisoformat(found["expires_at"]).timestamp()
    assert (line["user"], line["run_id"], line["expires_at"]) == (
        "ada",
        finished.keys.run_id,
        ends,
    )


def test_what_has_no_such_file_is_not_asked_for(stage: Stage, film: Film) -> None:
    path = downloads_path(film)
    answer = film.owner.call("POST", path, body={"height": 720})
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (409, "not-downloadable")
    assert answer.json["video_status"] == "PROCESSING"
    change(stage, film, status=VideoStatus.READY)
    answer = film.owner.call("POST", path, body={"height": 1080})
    assert answer.status == 422
    (error,) = answer.json["errors"]
    assert error["message"] == "the video has no rendition with 1080 lines; choose one of 720"
    assert download_of(stage, film) is None


def test_who_may_play_a_video_may_load_it_down_and_who_may_change_it_may_ask(
    stage: Stage, finished: Film
) -> None:
    path, tenant = downloads_path(finished), finished.owner.tenant

    def statuses(person: Person) -> tuple[int, int]:
        asked = person.call("POST", path, body={"height": 720}).status
        return person.call("GET", path).status, asked

    assert statuses(stage.person("vera", tenant, "viewer")) == (200, 403)
    assert statuses(stage.person("bob", tenant)) == (200, 403)
    assert statuses(stage.person("root", tenant, "admin")) == (200, 202)
    assert statuses(stage.person("eve", "another", "admin")) == (404, 404)
    change(stage, finished, visibility=Visibility.PUBLIC)
    assert statuses(stage.person("eve", "another", "admin")) == (200, 404)
    assert stage.api.call("GET", path).status == 200
    change(stage, finished, rules=PlaybackRules(referrers=("example.com",)))
    refused = stage.api.call("GET", path)
    assert (refused.status, refused.json["rule"]) == (403, "referrers")


def test_everyone_gets_the_same_answer(stage: Stage, film: Film) -> None:
    change(stage, film, visibility=Visibility.PUBLIC)
    bob = stage.person("bob", film.owner.tenant, "viewer")
    eve = stage.person("eve", "elsewhere", "admin")

    def contents() -> set[bytes]:
        people = [person.call("GET", film.path) for person in (film.owner, bob, eve)]
        return {answer.content for answer in (*people, stage.api.call("GET", film.path))}

    # The four may lie on both sides of the border of a slot; four others then settle it.
    assert len(contents()) == 1 or len(contents()) == 1


def test_a_player_without_cookies_finds_every_uri_signed(stage: Stage, film: Film) -> None:
    url = film.owner.call("GET", film.path).json["signed_playlist_url"]
    query = urlsplit(url).query
    master = get(stage, url)
    assert master.status == 200
    assert master.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert master.headers["Cache-Control"].startswith("private, max-age=")
    lines = master.content.decode().splitlines()
    assert lines[-1] == f"{film.playlist_path('v720/playlist.m3u8')}?{query}"
    assert f'URI="{film.playlist_path("audio/playlist.m3u8")}?{query}"' in lines[2]

    growing = get(stage, urljoin(url, lines[-1]))
    assert growing.headers["Cache-Control"] == "no-cache"
    media = growing.content.decode().splitlines()
    folder = f"/{film.keys.prefix}v720/"
    assert media[4] == f'#EXT-X-MAP:URI="{folder}1/init.mp4?{query}"'
    assert [line for line in media if not line.startswith("#")] == [
        f"{folder}1/000000.m4s?{query}",
        f"{folder}2/000001.m4s?{query}",
    ]

    complete = get(stage, urljoin(url, lines[2].split('URI="')[1].rstrip('"')))
    assert complete.headers["Cache-Control"].startswith("private, max-age=")
    assert complete.content.decode().endswith("#EXT-X-ENDLIST\n")


def test_a_long_playlist_is_compressed_for_those_who_ask(stage: Stage, film: Film) -> None:
    url = film.owner.call("GET", film.path).json["signed_playlist_url"]
    plain = get(stage, url, **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Vary"] == "Accept-Encoding"
    refused = get(stage, url, **{"Accept-Encoding": "gzip;q=0"})
    assert refused.content == plain.content
    split = urlsplit(url)
    answer = film.owner.api.call_raw(
        "GET", f"{split.path}?{split.query}", headers={"Accept-Encoding": "br, gzip"}
    )
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.content) == plain.content


def test_a_signature_admits_its_own_run_only(stage: Stage, film: Film, ada: Person) -> None:
    query = urlsplit(film.owner.call("GET", film.path).json["signed_playlist_url"]).query
    other = stage.start_run(ada.new_video(), playable_at="2026-01-01T00:00:00.000Z")
    stage.publish(other.master_playlist, MASTER)
    for video_id, run_id in (
        (other.video_id, other.run_id),
        (film.keys.video_id, other.run_id),
        (other.video_id, film.keys.run_id),
    ):
        path = f"/api/videos/{video_id}/runs/{run_id}/hls/master.m3u8?{query}"
        answer = stage.api.call("GET", path)
        assert (answer.status, answer.json["type"][-17:]) == (403, "invalid-signature")
        assert "another video or run" in answer.json["detail"]


def test_a_tampered_expired_or_foreign_signature_is_refused(stage: Stage, film: Film) -> None:
    own = PlaybackSigner(PAIR, key_pair_id="KA", base_url=BASE_URL)
    good = own.grant(film.keys, 4_000_000_000)
    foreign = PlaybackSigner(new_pair(), key_pair_id="KA", base_url=BASE_URL)
    unknown = PlaybackSigner(PAIR, key_pair_id="KX", base_url=BASE_URL)
    elsewhere = PlaybackSigner(PAIR, key_pair_id="KA", base_url="https://other.example")
    queries = {
        "has expired": own.grant(film.keys, 1_000_000_000).query,
        "signature is wrong": foreign.grant(film.keys, 4_000_000_000).query,
        "a key that is not in use": unknown.grant(film.keys, 4_000_000_000).query,
        "not one of this platform": elsewhere.grant(film.keys, 4_000_000_000).query,
        "Policy is given 2 times": f"{good.query}&Policy={good.policy}",
        "Signature is given 0 times": good.query.replace("Signature=", "Signatur="),
        "is not SHA256": good.query.replace("SHA256", "SHA1"),
    }
    path = film.playlist_path("master.m3u8")
    for reason, query in queries.items():
        answer = stage.api.call("GET", f"{path}?{query}")
        assert (answer.status, answer.json["type"][-17:]) == (403, "invalid-signature"), reason
        assert reason in answer.json["detail"]
    assert stage.api.call("GET", f"{path}?{good.query}").status == 200
    assert stage.api.call("GET", path, token=film.owner.token).status == 403


@pytest.mark.parametrize(
    "name",
    [
        "poster.jpg",
        "v720/1/000000.m4s",
        "v360/playlist.m3u8",
        "../master.m3u8",
        "%2e%2e/master.m3u8",
        "v720/..%2f..%2fmaster.m3u8",
        "..%5cmaster.m3u8",
        "v720//playlist.m3u8",
        "master.m3u8%00",
        "",
    ],
)
def test_nothing_but_playlists_of_the_run_is_served(stage: Stage, film: Film, name: str) -> None:
    query = urlsplit(film.owner.call("GET", film.path).json["signed_playlist_url"]).query
    assert stage.api.call("GET", f"{film.playlist_path(name)}?{query}").status == 404


def test_a_playlist_of_another_region_that_cannot_be_had_is_not_found(
    stage: Stage, film: Film
) -> None:
    keys = film.keys._replace(region="eu-west-1")
    grant = PlaybackSigner(PAIR, key_pair_id="KA", base_url=BASE_URL).grant(keys, 4_000_000_000)
    answer = stage.api.call("GET", f"{film.playlist_path('master.m3u8')}?{grant.query}")
    assert (answer.status, answer.json["type"][-9:]) == (404, "not-found")


def test_a_stored_playlist_that_leads_elsewhere_is_not_passed_on(stage: Stage, film: Film) -> None:
    url = film.owner.call("GET", film.path).json["signed_playlist_url"]
    stage.publish(film.keys.master_playlist, "#EXTM3U\nhttps://evil.example/playlist.m3u8\n")
    answer = get(stage, url)
    assert answer.status == 500
    assert b"evil" not in answer.content


def test_signatures_and_tokens_stay_out_of_the_log(stage: Stage, film: Film) -> None:
    url = film.owner.call("GET", film.path).json["signed_playlist_url"]
    assert get(stage, url, **{"X-Request-Id": "log-of-playlist"}).status == 200
    assert stage.api.log_line("log-of-playlist")["path"] == film.playlist_path("master.m3u8")
    text = stage.api.log_file.read_text()
    for secret in ("Signature=", "X-Amz-Signature", "Bearer ", PAIR.private_key[40:80]):
        assert secret not in text


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def bare_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder: Path = tmp_path_factory.mktemp("delivery")
    with running_emulator(folder) as emulator:
        yield emulator


@pytest.fixture
async def clients(
    bare_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Clients]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bare_emulator.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with open_clients(REGION) as clients:
        yield clients


@pytest.mark.anyio
async def test_a_process_that_nobody_asks_reads_the_document_as_well(
    bare_emulator: Emulator, clients: Clients
) -> None:
    parameter = delivery_parameter_name(STAGE)
    put_delivery(bare_emulator, PAIR, slot="idle", key_pair_id="KI")
    delivery = Delivery(clients.ssm, clients.secrets, parameter=parameter)
    with capture_logs() as lines:
        async with delivery.reading():
            await anyio.to_thread.run_sync(eventually, lambda: lines, "the document is read")
    assert (lines[0]["event"], lines[0]["key_pair_ids"]) == ("delivery_read", ["KI"])
    bare_emulator.client("ssm").delete_parameter(Name=parameter)


@pytest.mark.anyio
async def test_keys_change_without_a_restart_and_survive_an_outage(
    bare_emulator: Emulator, clients: Clients
) -> None:
    clock = Clock()
    parameter = delivery_parameter_name(STAGE)
    delivery = Delivery(clients.ssm, clients.secrets, parameter=parameter, clock=clock)
    keys = RunKeys(REGION, "acme", new_id(), new_id())
    with pytest.raises(DeliveryUnavailableError):
        await delivery.signer()

    put_delivery(bare_emulator, PAIR, slot="a", key_pair_id="KA")
    with pytest.raises(DeliveryUnavailableError):
        await delivery.signer()
    clock.now += RETRY_SECONDS
    old = (await delivery.signer()).grant(keys, 4_000_000_000)
    assert old.key_pair_id == "KA"

    put_delivery(bare_emulator, new_pair(), slot="b", key_pair_id="KB", others={"KA": "a"})
    assert (await delivery.signer()).key_pair_id == "KA"
    clock.now += FRESH_SECONDS
    assert (await delivery.signer()).key_pair_id == "KB"
    # A task that starts after the rotation accepts what was signed before it.
    later = Delivery(clients.ssm, clients.secrets, parameter=parameter, clock=clock)
    for task in (delivery, later):
        before = await task.signer_of("KA")
        assert before.verify(old.policy, old.signature, now=0).keys == keys
        with pytest.raises(SignatureRefusedError):
            await task.signer_of("KC")

    ssm = bare_emulator.client("ssm")
    for broken in ("not json", "{}", SigningKeyPair(private_key="a", public_key="b").to_json()):
        ssm.put_parameter(Name=parameter, Value=broken, Type="String", Overwrite=True)
        clock.now += FRESH_SECONDS
        assert (await delivery.signer()).key_pair_id == "KB"
    put_delivery(bare_emulator, new_pair(), slot="c", key_pair_id="KC", others={"KB": "b"})
    clock.now += FRESH_SECONDS
    assert (await delivery.signer_of("KB")).key_pair_id == "KB"
    with pytest.raises(SignatureRefusedError, match="not in use"):
        await delivery.signer_of("KA")
    ssm.delete_parameter(Name=parameter)
    clock.now += FRESH_SECONDS
    assert (await delivery.signer()).key_pair_id == "KC"
