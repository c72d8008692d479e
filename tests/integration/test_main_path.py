"""The main path: from a presigned upload to signed playback, on the deployed local stage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from journey import Person, send, sign_in
from waiting import eventually

from media_platform.contract import table
from media_platform.contract.environment import AdminEnvironment, ApiEnvironment, WorkerEnvironment
from media_platform.contract.events import OUTBOX_BODY, DomainEvent
from media_platform.contract.items import from_item
from media_platform.contract.object_keys import RawKey
from mediactl.local import player

BY_ECS = {
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_REGION",
    "ECS_AGENT_URI",
    "ECS_CONTAINER_METADATA_URI_V4",
    "HOME",
    "PATH",
}
BY_THE_IMAGE = {"LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
LOCALLY = {"AWS_ENDPOINT_URL", "TMPDIR"}
INJECTED = {
    "media_api": BY_ECS | BY_THE_IMAGE | LOCALLY | {"LISTEN_ADDRESS"},
    "media_api.admin": BY_ECS | BY_THE_IMAGE | LOCALLY | {"LISTEN_ADDRESS"},
    "media_worker": BY_ECS | BY_THE_IMAGE | LOCALLY,
}
"""What a process finds beside the environment of its task definition, and nothing else."""


def test_a_video_plays_in_every_rendition(ada: Person, ready: dict[str, Any]) -> None:
    grant = ada.client.playback(ready["video_id"])
    playlist = player.fetch_playlist(grant["playlist_url"], grant["cookies"])
    frames = {h: player.decode(u, grant["cookies"]) for h, u in playlist.variants.items()}
    assert frames == {360: 180}
    assert [(r["height"], r["frames"]) for r in ready["renditions"]] == [(360, 180)]
    assert playlist.audio is not None
    assert player.decode(playlist.audio, grant["cookies"], track="a") > 250
    assert (ready["width"], ready["height"], ready["progress"]) == (640, 360, 100)
    assert ready["duration_seconds"] == pytest.approx(6, abs=0.05)


def test_players_without_cookies_get_signed_playlists(ada: Person, ready: dict[str, Any]) -> None:
    grant = ada.client.playback(ready["video_id"])
    assert player.decode(grant["signed_playlist_url"], {}) == 180
    assert send("GET", grant["poster_url"]).data[:2] == b"\xff\xd8"


def test_equal_requests_get_equal_urls(ada: Person, ready: dict[str, Any]) -> None:
    first, second = (ada.client.playback(ready["video_id"]) for _ in range(2))
    if first["expires_at"] == second["expires_at"]:  # not across the edge of a slot
        assert first == second


def test_a_page_of_the_site_is_for_everybody_beside_media_and_api(
    plane: Any, outputs: dict[str, str], ready: dict[str, Any]
) -> None:
    page = b"<html>watch</html>"
    plane.client("s3").put_object(
        Bucket=outputs["SiteBucket"], Key="index.html", Body=page, ContentType="text/html"
    )
    for path in ("/", f"/watch/{ready['video_id']}"):
        answer = send("GET", f"{plane.endpoints.edge_url}{path}")
        assert (answer.status, answer.data) == (200, page)
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert send("GET", f"{plane.endpoints.edge_url}/api/videos").status == 401
    assert send("GET", f"{plane.endpoints.edge_url}/main.js").status == 403


def test_nothing_plays_without_a_signature(ada: Person, ready: dict[str, Any]) -> None:
    grant = ada.client.playback(ready["video_id"])
    bare = grant["playlist_url"]
    assert player.status_without_grant(bare) == 403
    assert player.status_without_grant(bare.replace("master.m3u8", "v360/playlist.m3u8")) == 403
    for name in grant["cookies"]:
        others = {n: v for n, v in grant["cookies"].items() if n != name}
        assert send("GET", bare, headers={"Cookie": player.cookie_header(others)}).status == 403
    signature = grant["cookies"]["CloudFront-Signature"]
    flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    tampered = {**grant["cookies"], "CloudFront-Signature": flipped}
    assert send("GET", bare, headers={"Cookie": player.cookie_header(tampered)}).status == 403


def test_a_grant_opens_its_own_run_only(ada: Person, ready: dict[str, Any], film: bytes) -> None:
    other = ada.when(ada.upload(film), "READY")
    cookies = player.cookie_header(ada.client.playback(ready["video_id"])["cookies"])
    url = ada.client.playback(other["video_id"])["playlist_url"]
    assert send("GET", url, headers={"Cookie": cookies}).status == 403


def test_subscribers_receive_every_event_of_a_video(
    ada: Person, subscriber: Any, film: bytes
) -> None:
    video_id = ada.upload(film, title="Told of")
    ada.when(video_id, "READY")
    received: dict[str, DomainEvent] = {}

    def complete() -> list[DomainEvent] | None:
        for message in subscriber():
            event = DomainEvent.from_json(message["Body"])
            attributes = {n: a["StringValue"] for n, a in message["MessageAttributes"].items()}
            assert attributes == {"event_type": event.event_type.value, "tenant": event.tenant}
            if event.video_id == video_id:
                received[event.event_id] = event
        events = sorted(received.values(), key=lambda event: event.sequence)
        return events if len(events) == 3 else None

    created, uploaded, done = eventually(complete, "three events")
    assert [e.event_type.value for e in (created, uploaded, done)] == [
        "VideoCreated",
        "VideoUploaded",
        "VideoReady",
    ]
    assert created.sequence == 1
    assert uploaded.sequence == 2
    assert done.sequence == ada.client.video(video_id)["version"]
    assert {e.tenant for e in (created, uploaded, done)} == {"acme"}
    assert created.data["title"] == "Told of"


def test_an_event_delivered_three_times_makes_one_result(
    ada: Person, plane: Any, outputs: dict[str, str], film: bytes
) -> None:
    video_id = ada.upload(film)
    s3 = plane.client("s3")
    owner = ada.client.video(video_id)["owner"]
    key = str(RawKey(tenant="acme", user=owner, video_id=video_id, extension="mp4"))
    head = s3.head_object(Bucket=outputs["RawBucket"], Key=key)
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "region": plane.region,
        "detail": {
            "bucket": {"name": outputs["RawBucket"]},
            "object": {"key": key, "size": len(film), "version-id": head["VersionId"]},
        },
    }
    functions = plane.client("lambda")
    (intake,) = [
        f["FunctionName"]
        for f in functions.list_functions()["Functions"]
        if f["Handler"] == "upload_intake.handler.handle"
    ]

    def deliver(_: int) -> Any:
        answer = functions.invoke(FunctionName=intake, Payload=json.dumps(event))
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.loads(answer["Payload"].read())

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(deliver, range(3)))
    ready = ada.when(video_id, "READY")
    assert deliver(0) == {"outcome": "already_taken"}
    events = outbox(plane, outputs["TableName"], video_id)
    assert [e.event_type.value for e in events] == ["VideoCreated", "VideoUploaded", "VideoReady"]
    runs = s3.list_objects_v2(
        Bucket=outputs["MediaBucket"],
        Prefix=f"media/{plane.region}/acme/{video_id}/",
        Delimiter="/",
    )
    assert len(runs["CommonPrefixes"]) == 1
    assert ada.client.video(video_id)["version"] == ready["version"]


def test_a_video_becomes_ready_although_its_worker_is_killed(
    ada: Person, plane: Any, long_film: bytes
) -> None:
    video_id = ada.upload(long_film)
    eventually(
        lambda: ada.client.video(video_id)["progress"] > 0 or None, "the worker has published"
    )
    assert ada.client.video(video_id)["status"] == "PROCESSING"
    victims = [p for p in processes(plane) if "media_worker" in " ".join(p.cmdline())]
    assert victims
    for victim in victims:
        victim.kill()
    ready = ada.when(video_id, "READY")
    grant = ada.client.playback(video_id)
    playlist = player.fetch_playlist(grant["playlist_url"], grant["cookies"])
    assert {h: player.decode(u, grant["cookies"]) for h, u in playlist.variants.items()} == {
        r["height"]: 450 for r in ready["renditions"]
    }


def test_services_run_with_the_environment_of_their_deployed_task_definitions(
    ada: Person, plane: Any, outputs: dict[str, str], film: bytes
) -> None:
    ada.when(ada.upload(film), "READY")  # a worker stays awake for a while
    ecs = plane.client("ecs")
    for module, output, contract in (
        ("media_api", "ApiServiceName", ApiEnvironment),
        ("media_api.admin", "AdminServiceName", AdminEnvironment),
        ("media_worker", "WorkerServiceName", WorkerEnvironment),
    ):
        (service,) = ecs.describe_services(
            cluster=outputs["ClusterName"], services=[outputs[output]]
        )["services"]
        task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
        container = next(
            c for c in task["taskDefinition"]["containerDefinitions"] if module in str(c["command"])
        )
        deployed = {pair["name"]: pair["value"] for pair in container["environment"]}
        assert set(deployed) == contract.variable_names()
        running = [p for p in processes(plane) if p.cmdline()[1:] == container["command"][1:]]
        assert running
        for process in running:
            try:
                environment = process.environ()
            except psutil.AccessDenied:
                # A worker hides its memory from other processes of its user; root sees it.
                assert module == "media_worker"
                continue
            assert {name: environment.get(name) for name in deployed} == deployed
            assert set(environment) - set(deployed) == INJECTED[module]


def test_a_file_of_a_rendition_is_made_and_loaded_down(
    ada: Person, ready: dict[str, Any], tmp_path: Path
) -> None:
    path = f"/api/videos/{ready['video_id']}/downloads"
    asked = ada.request("POST", path, json={"height": 360})
    assert asked.status == 202, asked.data

    def made() -> dict[str, Any] | None:
        (found,) = json.loads(ada.request("GET", path).data)["downloads"]
        assert found["status"] != "FAILED", found
        return dict(found) if found["status"] == "READY" else None

    found = eventually(made, "the download is made")
    assert send("GET", found["url"].partition("?")[0]).status == 403
    answer = send("GET", found["url"])
    assert (answer.status, answer.headers["Content-Type"]) == (200, "video/mp4")
    assert answer.headers["Content-Disposition"].endswith("''film-360p.mp4")
    file = tmp_path / "film.mp4"
    file.write_bytes(answer.data)
    with av.open(file) as container:
        assert sum(1 for _ in container.decode(video=0)) == 180


def test_a_deleted_video_is_gone_for_everyone_and_told_of(
    ada: Person, plane: Any, outputs: dict[str, str], film: bytes
) -> None:
    video_id = ada.when(ada.upload(film), "READY")["video_id"]
    assert ada.request("DELETE", f"/api/videos/{video_id}").status == 204
    assert ada.request("GET", f"/api/videos/{video_id}").status == 404
    assert ada.request("GET", f"/api/videos/{video_id}/playback").status == 404
    listed = json.loads(ada.request("GET", "/api/videos?limit=100").data)
    assert video_id not in json.dumps(listed)
    kinds = [e.event_type.value for e in outbox(plane, outputs["TableName"], video_id)]
    assert kinds[-1] == "VideoDeleted"


def outbox(plane: Any, table_name: str, video_id: str) -> list[DomainEvent]:
    """Return the events of a video, in order."""
    answer = plane.client("dynamodb").query(
        TableName=table_name,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={
            ":pk": {"S": table.video_partition(video_id)},
            ":sk": {"S": table.EVENT_SORT_PREFIX},
        },
    )
    events = [DomainEvent.from_json(from_item(i)[OUTBOX_BODY]) for i in answer["Items"]]
    return sorted(events, key=lambda event: event.sequence)


def processes(plane: Any) -> list[psutil.Process]:
    """Return the processes of services that the runner of this plane started."""
    return [
        process
        for process in psutil.Process(plane.runner_pid).children(recursive=True)
        if "-m" in words_of(process)
    ]


def words_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, which has none when it has ended meanwhile."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@pytest.fixture(scope="module")
def ready(ada: Person, film: bytes) -> dict[str, Any]:
    """A video that went the whole way."""
    return ada.when(ada.upload(film), "READY")


@pytest.fixture(scope="module")
def subscriber(plane: Any, outputs: dict[str, str]) -> Iterator[Any]:
    """Receives what a queue gets that subscribed to the topic."""
    sqs, sns = plane.client("sqs"), plane.client("sns")
    url = sqs.create_queue(QueueName="main-path-subscriber")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": outputs["TopicArn"]}},
            }
        ],
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    subscription = sns.subscribe(
        TopicArn=outputs["TopicArn"],
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]

    def receive() -> list[Any]:
        messages = sqs.receive_message(
            QueueUrl=url,
            WaitTimeSeconds=1,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return list(messages)

    yield receive
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture(scope="module")
def ada(platform: Any) -> Person:
    """A user of the tenant acme."""
    return sign_in(platform, "ada", tenant="acme")
