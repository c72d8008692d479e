"""A plane of two regions, people near either of them, and the cut between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import urllib3
from journey import Person, relay_stopped
from waiting import eventually

from media_platform.contract import table
from media_platform.contract.events import DomainEvent
from media_platform.contract.identity import EDITOR_GROUP
from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput, stack_name
from media_platform.contract.video import Video
from mediactl.access.sessions import UserPool
from mediactl.client import ApiError, MediaClient
from mediactl.environment import LocalEnvironment
from mediactl.local import player
from mediactl.local.aws import root_environment
from mediactl.local.edge.server import VIEWER_REGION
from mediactl.local.gateway import gateway_ports
from mediactl.local.plane import Endpoints, Plane
from mediactl.local.recorded_calls import RecordedCall, read_calls

REPOSITORY = Path(__file__).parents[2]
STAGE = "pair"
HOME, OTHER = "us-east-1", "eu-west-1"

UPLOADS_TO_CATCH = 5
"""Of so many videos, one is still being transcoded when somebody looks."""

LOOK_FOR_WORKERS_SECONDS = 0.1
"""Less than a worker that starts takes until it asks for work."""


class NearClient(MediaClient):
    """A client near a region, whose calls end there if it answers."""

    def __init__(self, base_url: str, token: str, region: str) -> None:
        super().__init__(base_url, token, headers={VIEWER_REGION: region})
        self._http = urllib3.PoolManager(timeout=60, retries=False)


@dataclass(frozen=True)
class Neighbour(Person):
    """A user near a region.

    Attributes:
        region: The region.
        gateway: Its gateway, by which files reach its buckets.
    """

    region: str
    gateway: str

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Call the API of the region near by."""
        headers = {VIEWER_REGION: self.region, **options.pop("headers", {})}
        return super().request(method, path, headers=headers, **options)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Return the content of an answer of the API, which must be one of success."""
        answer = self.request(method, path, **options)
        assert answer.status < 300, (answer.status, answer.data[:500])
        return json.loads(answer.data or b"null")

    def put(self, url: str, content: bytes, headers: dict[str, str]) -> int:
        """Send a file to a bucket of the region; return the status, 0 if it is not reached."""
        proxy = urllib3.ProxyManager(self.gateway, timeout=60, retries=False)
        try:
            return proxy.request("PUT", url, body=content, headers=headers).status
        except urllib3.exceptions.HTTPError:
            return 0

    def upload(self, content: bytes, **changes: Any) -> str:
        """Create a video, send ``content``, and return the id."""
        video, upload = self.create(content, **changes)
        assert self.put(upload.url, content, upload.headers) == 200
        return str(video["video_id"])

    def upload_near(self, other: Neighbour, content: bytes, **changes: Any) -> str:
        """Create a video, which another region answers, and send ``content`` to that."""
        video, upload = self.create(content, **changes)
        assert other.put(upload.url, content, upload.headers) == 200
        return str(video["video_id"])

    def seen(self, video_id: str) -> dict[str, Any] | None:
        """Return the video if the region knows it."""
        with suppress(ApiError):
            return self.client.video(video_id)
        return None

    def titles(self) -> dict[str, str]:
        """Return the titles of all videos that are listed here, by id."""
        listed = self.json("GET", "/api/videos?limit=100")["videos"]
        return {video["video_id"]: video["title"] for video in listed}

    def frames(self, video_id: str) -> dict[int, int]:
        """Play every rendition of a video to its end; return the frames by height."""
        grant = self.client.playback(video_id)
        playlist = player.fetch_playlist(grant["playlist_url"], grant["cookies"])
        return {h: player.decode(u, grant["cookies"]) for h, u in playlist.variants.items()}

    def signed_frames(self, video_id: str) -> int:
        """Play by signed playlists, which the API of the region near by reads and rewrites."""
        return player.decode(self.client.playback(video_id)["signed_playlist_url"], {})


class TwoRegions:
    """The plane.

    Args:
        plane: It, with the stage of two regions.
    """

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.endpoints: Endpoints = plane.up()
        self.environment = LocalEnvironment("local", state_dir=plane.state.root, app=Path())

    def client(self, service: str, region: str, **credentials: str) -> Any:
        """Return a client with every right, which also sees what is cut off."""
        return self.plane.emulator().client(service, region, **credentials)

    def output(self, part: StackPart, name: StoreOutput | MediaOutput, region: str) -> str:
        """Return an output of a stack of a region."""
        stack = stack_name(STAGE, part)
        outputs = self.endpoints.outputs
        return outputs[stack if region == HOME else f"{stack}@{region}"][name]

    def person(self, name: str, *, tenant: str) -> tuple[Neighbour, Neighbour]:
        """Create a user of ``tenant`` and sign in; return him near the one region and the other."""
        token = UserPool.of(self.environment).sign_in_as(name, tenant=tenant, groups=[EDITOR_GROUP])
        return self.near_both(token)

    def near_both(self, token: str) -> tuple[Neighbour, Neighbour]:
        """Return whoever signed in with ``token``, near the one region and near the other."""
        base_url, ports = self.endpoints.edge_url, gateway_ports(self.plane.state)
        here, there = (
            Neighbour(
                NearClient(base_url, token, region),
                token,
                base_url,
                region,
                f"http://127.0.0.1:{ports[region]}",
            )
            for region in (HOME, OTHER)
        )
        return here, there

    @contextmanager
    def cut(self, region: str) -> Iterator[None]:
        """Cut a region off while the block runs."""
        self.on_plane("cut", region)
        try:
            yield
        finally:
            self.on_plane("rejoin", region)

    def on_plane(self, *arguments: str) -> None:
        """Run a command of ``mediactl local``."""
        done = run_mediactl("local", *arguments, "--state-dir", str(self.plane.state.root))
        assert done.returncode == 0, done.stderr

    def settled(self) -> None:
        """Wait until nothing is under way between the regions."""
        emulator = self.plane.emulator()
        eventually(
            lambda: not any(way["parcels"] for way in emulator.control("waiting")) or None,
            "all that was sent between the regions arrives",
        )

    @contextmanager
    def relay_stopped(self, region: str) -> Iterator[None]:
        """Let a region publish nothing while the block runs: its relay is not called."""
        with relay_stopped(self.client("lambda", region)):
            yield

    @contextmanager
    def at_work(
        self, person: Neighbour, content: bytes
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """Upload a video, and let its transcoding stand still in its midst while the block runs.

        Yields:
            Its id, and what lets the workers go on before the block ends.
        """
        client = person.client
        for _ in range(UPLOADS_TO_CATCH):
            video_id = person.upload(content)
            eventually(
                lambda id_=video_id: client.video(id_)["progress"] > 0 or None, "a chunk is done"
            )
            with ExitStack() as held:
                held.enter_context(self.workers_held(person.region))
                # The table knows, the API may show for a moment what was.
                if self.inside(person.region, video_id).status == "PROCESSING":
                    self.settled()
                    yield video_id, held.close
                    return
        raise AssertionError(f"each of {UPLOADS_TO_CATCH} videos was READY before it was looked at")

    @contextmanager
    def workers_held(self, region: str) -> Iterator[None]:
        """Let the workers of a region stand still while the block runs, also those that start."""
        held: set[int] = set()

        def hold() -> None:
            for pid in self.task_fields(region, "Workers", "pid") - {None, *held}:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).suspend()
                held.add(pid)

        def keep_holding() -> None:
            while not ended.wait(LOOK_FOR_WORKERS_SECONDS):
                hold()

        ended = threading.Event()
        keeper = threading.Thread(target=keep_holding)
        hold()
        assert held, f"a worker runs in {region}"
        keeper.start()
        try:
            yield
        finally:
            ended.set()
            keeper.join()
            for pid in held:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).resume()

    def task_fields(self, region: str, service: str, field: str) -> set[Any]:
        """Return what the plane says of the tasks of a service in a region: their pid or port."""
        return {
            task[field]
            for one in self.plane.status().services
            if one["region"] == region and service in one["name"]
            for task in one["tasks"]
        }

    def sweep(self, region: str) -> None:
        """Let a region publish what was left, as it does every few minutes."""
        functions = self.client("lambda", region)
        (sweep,) = [
            one["FunctionName"]
            for one in functions.list_functions()["Functions"]
            if one["Handler"] == "outbox_relay.sweep.handle"
        ]
        answer = functions.invoke(FunctionName=sweep)
        assert "FunctionError" not in answer, answer["Payload"].read()

    def take_over(self, lost: str, *, by: str) -> dict[str, Any]:
        """Do as an operator does whose region is lost; return the report."""
        done = self.operate("takeover", lost, "--by", by, "--yes", "--json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def readmit(self, lost: str, *, by: str) -> None:
        """Do as an operator does whose region is back."""
        done = self.operate("readmit", lost, "--by", by)
        assert done.returncode == 0, done.stderr

    def operate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``mediactl region``."""
        root = root_environment(self.endpoints.emulator_url)
        return run_mediactl("region", *arguments, "-e", STAGE, **root)

    def inside_api(
        self, region: str, person: Neighbour, video_id: str, change: dict[str, Any]
    ) -> dict[str, Any]:
        """Change a video as somebody can who is in a region that is cut off; return it."""
        inside = self.inside_of(region, person)
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"/api/videos/{video_id}"
        changed: dict[str, Any] = inside.json("PATCH", path, json=change, headers=headers)
        return changed

    def inside_of(self, region: str, person: Neighbour) -> Neighbour:
        """Return a person as one who is in a region, cut off or not: he asks its API itself."""
        (port,) = self.task_fields(region, "ApiService", "port")
        base_url = f"http://127.0.0.1:{port}"
        client = NearClient(base_url, person.token, region)
        return replace(person, client=client, base_url=base_url, region=region)

    def upload_anywhere(self, person: Neighbour, content: bytes) -> str:
        """Create a video and send its file to the region that answered, by its gateway."""
        video, upload = person.create(content)
        (region,) = (
            one
            for one in (HOME, OTHER)
            if self.output(StackPart.STORE, StoreOutput.RAW_BUCKET, one) in upload.url
        )
        near = replace(person, gateway=self.gateway(region))
        assert near.put(upload.url, content, upload.headers) == 200, region
        return str(video["video_id"])

    def upload_directly(self, person: Neighbour, content: bytes) -> str:
        """Create a video and send its file as somebody who is in the region himself."""
        return Person.upload(person, content)

    def gateway(self, region: str) -> str:
        """Return the URL of the gateway of a region."""
        return f"http://127.0.0.1:{gateway_ports(self.plane.state)[region]}"

    def inside(self, region: str, video_id: str) -> Video:
        """Return a video as the table of a region has it, cut off or not."""
        (item,) = self.items(region, table.video_partition(video_id), "META")
        return Video.from_item(item)

    def agreed(self, video_id: str, *, home: str) -> Video:
        """Return a video as soon as both regions have it alike, at home in one of them."""

        def look() -> Video | None:
            here, there = (self.inside(region, video_id) for region in (HOME, OTHER))
            return here if here == there and here.home_region == home else None

        return eventually(look, f"both regions agree that video {video_id} is at home in {home}")

    def when_inside(self, region: str, video_id: str, status: str) -> Video:
        """Return a video as soon as the table of a region has it in a status, cut off or not."""

        def look() -> Video | None:
            video = self.inside(region, video_id)
            return video if video.status == status else None

        return eventually(look, f"video {video_id} becomes {status} in {region}")

    def denied(self) -> list[RecordedCall]:
        """Return the calls of roles that their policies did not allow."""
        return [call for call in read_calls(self.plane.state.calls_file) if not call.allowed]

    def items(self, region: str, pk: str, sk: str = "") -> list[dict[str, Any]]:
        """Return the items of a partition as a region has them."""
        answer = self.client("dynamodb", region).query(
            TableName=self.output(StackPart.STORE, StoreOutput.TABLE_NAME, region),
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)" if sk else "pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}, **({":sk": {"S": sk}} if sk else {})},
            ConsistentRead=True,
        )
        found: list[dict[str, Any]] = answer["Items"]
        return found


class Subscriber:
    """A queue in each region that gets all that the region publishes.

    Args:
        pair: The plane.
    """

    def __init__(self, pair: TwoRegions) -> None:
        self._pair = pair
        self._queues = {region: self._subscribe(region) for region in (HOME, OTHER)}
        self._received: dict[str, list[DomainEvent]] = defaultdict(list)

    def told_of(
        self, video_id: str, *, count: int, meanwhile: Callable[[], None] = lambda: None
    ) -> list[DomainEvent]:
        """Return what was published of a video in any region, in order, when it is enough.

        Args:
            video_id: The video.
            count: How many events are enough.
            meanwhile: Called between looks.
        """

        def look() -> list[DomainEvent] | None:
            meanwhile()
            self._receive()
            found = self._received[video_id]
            return found if len(found) >= count else None

        found = eventually(look, f"{count} events of video {video_id}")
        return sorted(found, key=lambda event: event.sequence)

    def _receive(self) -> None:
        for region, url in self._queues.items():
            sqs = self._pair.client("sqs", region)
            while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
                "Messages", []
            ):
                for message in messages:
                    event = DomainEvent.from_json(message["Body"])
                    self._received[event.video_id].append(event)
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def _subscribe(self, region: str) -> str:
        sqs, sns = (self._pair.client(service, region) for service in ("sqs", "sns"))
        topic = self._pair.output(StackPart.MEDIA, MediaOutput.TOPIC_ARN, region)
        url = str(sqs.create_queue(QueueName="two-regions-subscriber")["QueueUrl"])
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        raw = {"RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
        return url


def run_mediactl(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the folder of the app."""
    return subprocess.run(
        [sys.executable, "-m", "mediactl.main", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
