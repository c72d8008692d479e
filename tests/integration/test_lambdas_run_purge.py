"""Old runs and deleted videos go, in two regions, through the deployed function and its role."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulator import (
    ACCOUNT,
    OTHER_REGION,
    REGION,
    Emulator,
    FunctionError,
    allow,
    running_emulator,
)
from waiting import eventually

from media_platform.assets import Service
from media_platform.contract import table
from media_platform.contract.duplicates import guard_keys
from media_platform.contract.environment import RunPurgeEnvironment
from media_platform.contract.events import DomainEvent, EventType
from media_platform.contract.ids import new_id
from media_platform.contract.items import WireItem, to_item
from media_platform.contract.object_keys import REPLICATE_TAGGING, RunKeys
from media_platform.contract.purge import Purge
from media_platform.contract.run import END, SOUND, Part, Run, RunStatus, video_part
from media_platform.contract.times import timestamp
from media_platform.contract.usage import Usage
from media_platform.contract.video import Video, VideoStatus
from purge.aws import Objects, Runs
from purge.purger import Purger

FUNCTION = "purge"
TABLE = "videos"
BUCKETS = {REGION: "media-home", OTHER_REGION: "media-replica"}
RAW_BUCKETS = {REGION: "raw-home", OTHER_REGION: "raw-replica"}
LONG_AGO = timedelta(days=3)
JUST_NOW = timedelta(minutes=1)


def ago(age: timedelta) -> str:
    """Return a time in the past as it is stored."""
    text = (datetime.now(UTC) - age).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(frozen=True)
class Stage:
    """The table and a media bucket in two regions, with a function in each."""

    emulator: Emulator

    def video(self, **changes: Any) -> Video:
        """Create a READY video whose current run has objects and items."""
        now = timestamp()
        values: dict[str, Any] = {
            "video_id": new_id(),
            "tenant": "acme",
            "owner": "ada",
            "home_region": REGION,
            "title": "Title",
            "file_name": "a film.mp4",
            "content_type": "video/mp4",
            "size_bytes": 1,
            "raw_key": "raw/acme/ada/x.mp4",
            "created_at": now,
            "updated_at": now,
            "status": VideoStatus.READY,
            "current_run": new_id(),
        }
        video = Video(**{**values, **changes})
        self.put(video.to_item())
        self.publish(video, video.current_run or "")
        return video

    def put(self, item: WireItem, region: str = REGION) -> None:
        self.emulator.client("dynamodb", region).put_item(TableName=TABLE, Item=item)

    def publish(self, video: Video, run_id: str, *, objects: int = 3, parts: int = 2) -> str:
        """Write objects and items of a run as workers do, and return the prefix."""
        keys = RunKeys(
            region=video.home_region, tenant=video.tenant, video_id=video.video_id, run_id=run_id
        )
        for region, bucket in BUCKETS.items():
            # One region is enough for what is only about numbers.
            for number in range(objects if region == REGION else 3):
                self.object(region, keys.segment("v720", 1, f"{number:06}.m4s"))
            # A playlist has versions, and whoever deleted one left a marker.
            for _ in range(2):
                self.object(region, keys.master_playlist)
            self.s3(region).delete_object(Bucket=bucket, Key=keys.poster)
        run = Run(
            video_id=video.video_id,
            run_id=run_id,
            status=RunStatus.COMPLETE,
            started_at=timestamp(),
        )
        self.put(run.to_item())
        for name in [SOUND, END, *map(video_part, range(parts))]:
            self.put(Part(video_id=video.video_id, run_id=run_id, name=name).to_item())
        return keys.prefix

    def replaced(self, video: Video, *, age: timedelta, **options: int) -> tuple[Purge, str]:
        """Add an older run to a video, with the note that it is to go."""
        run_id = new_id()
        prefix = self.publish(video, run_id, **options)
        note = self.note(video, run_id=run_id, due_at=ago(age))
        return note, prefix

    def note(self, video: Video, **changes: Any) -> Purge:
        """Write a note."""
        values = {
            "video_id": video.video_id,
            "run_id": new_id(),
            "tenant": video.tenant,
            "region": video.home_region,
            "due_at": ago(LONG_AGO),
        }
        note = Purge(**{**values, **changes})
        self.put(note.to_item())
        return note

    def s3(self, region: str) -> Any:
        return self.emulator.client("s3", region)

    def object(self, region: str, key: str) -> None:
        self.s3(region).put_object(
            Bucket=BUCKETS[region], Key=key, Body=b"x", Tagging=REPLICATE_TAGGING
        )

    def versions(self, prefix: str, region: str = REGION) -> int:
        """Return how many versions and delete markers there are below a prefix."""
        pages = self.s3(region).get_paginator("list_object_versions")
        return sum(
            len(page.get("Versions", ())) + len(page.get("DeleteMarkers", ()))
            for page in pages.paginate(Bucket=BUCKETS[region], Prefix=prefix)
        )

    def sort_keys(self, video_id: str, region: str = REGION) -> set[str]:
        """Return the sort keys of everything of a video."""
        pages = self.emulator.client("dynamodb", region).get_paginator("query")
        found = pages.paginate(
            TableName=TABLE,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": table.video_partition(video_id)}},
        )
        return {item["sk"]["S"] for page in found for item in page["Items"]}

    def turn(self, region: str = REGION) -> dict[str, int]:
        """Invoke the function of a region, as its schedule does, once all regions see the same."""
        self.emulator.settle()
        answer: dict[str, int] = self.emulator.invoke(FUNCTION, {"source": "aws.events"}, region)
        return {outcome: count for outcome, count in answer.items() if count}

    def deleted_video(self, **changes: Any) -> Video:
        """Create a DELETED video with everything that one can have, in both regions."""
        video_id = new_id()
        raw_key = f"raw/acme/ada/{video_id}.mp4"
        values: dict[str, Any] = {
            "video_id": video_id,
            "raw_key": raw_key,
            "raw_version_id": "v",
            "size_bytes": 1000,
            "checksum_sha256": f"{video_id}=",
            "status": VideoStatus.DELETED,
            "deleted_from": VideoStatus.READY,
        }
        video = self.video(**{**values, **changes})
        self.publish(video, new_id())
        event = DomainEvent(
            event_id=new_id(),
            event_type=EventType.VIDEO_DELETED,
            video_id=video_id,
            tenant="acme",
            region=REGION,
            sequence=9,
            occurred_at=timestamp(),
        ).to_outbox_item()
        published = {k: v for k, v in event.items() if k != table.UNPUBLISHED.partition_key}
        self.put(published)
        for key in guard_keys("acme", "ada", f"{video_id}=", 1000):
            self.put({**key.to_wire(), "video_id": {"S": video_id}})
        for region, bucket in RAW_BUCKETS.items():
            for _ in range(2):
                self.s3(region).put_object(Bucket=bucket, Key=raw_key, Body=b"x")
            self.s3(region).delete_object(Bucket=bucket, Key=raw_key)
            self.put({**table.view_counter_key(video_id, region, 3).to_wire()}, region)
        return video

    def raw_versions(self, video: Video, region: str = REGION) -> int:
        """Return how many versions and delete markers there are of an upload."""
        found = self.s3(region).list_object_versions(
            Bucket=RAW_BUCKETS[region], Prefix=video.raw_key
        )
        return len(found.get("Versions", ())) + len(found.get("DeleteMarkers", ()))

    def item(self, key: table.Key, region: str = REGION) -> Any:
        answer = self.emulator.client("dynamodb", region).get_item(
            TableName=TABLE, Key=key.to_wire()
        )
        return answer.get("Item")

    def usage(self) -> Usage:
        return Usage.from_item(self.item(table.usage_key("acme", REGION)) or {})

    def forget(self, note: Purge) -> None:
        """Delete a note, so that other tests do not meet it."""
        key = table.purge_key(note.video_id, note.run_id).to_wire()
        self.emulator.client("dynamodb").delete_item(TableName=TABLE, Key=key)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        emulator.table(TABLE, replicas=[OTHER_REGION])
        for region in (REGION, OTHER_REGION):
            s3 = emulator.client("s3", region)
            for bucket in (BUCKETS[region], RAW_BUCKETS[region]):
                s3.create_bucket(
                    Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region}
                )
                s3.put_bucket_versioning(
                    Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
                )
            _make_function(emulator, region)
        yield Stage(emulator)
        assert emulator.denied() == [], "the documented grants are enough"


def _environment(region: str) -> RunPurgeEnvironment:
    return RunPurgeEnvironment(
        home_region=region,
        table_name=TABLE,
        media_bucket=BUCKETS[region],
        raw_bucket=RAW_BUCKETS[region],
    )


def _make_function(emulator: Emulator, region: str) -> None:
    table_arn = f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{TABLE}"
    media, raw = (f"arn:aws:s3:::{names[region]}" for names in (BUCKETS, RAW_BUCKETS))
    emulator.function(
        FUNCTION,
        Service.RUN_PURGE,
        "purge.handler.handle",
        [
            allow(
                [
                    "dynamodb:DeleteItem",
                    "dynamodb:GetItem",
                    "dynamodb:Query",
                    "dynamodb:UpdateItem",
                ],
                table_arn,
            ),
            allow(["dynamodb:Query"], f"{table_arn}/index/{table.DUE.name}"),
            allow(["s3:ListBucketVersions"], media, raw),
            allow(["s3:DeleteObjectVersion"], f"{media}/media/*", f"{raw}/raw/*"),
        ],
        environment=_environment(region).to_variables(),
        region=region,
    )


def run_items(video: Video, run_id: str) -> set[str]:
    names = (SOUND, END, video_part(0), video_part(1))
    return {
        table.run_key(video.video_id, run_id).sk,
        *(table.part_key(video.video_id, run_id, name).sk for name in names),
    }


def test_the_home_region_deletes_the_run_and_nothing_else(stage: Stage) -> None:
    video = stage.video()
    current = RunKeys(
        region=REGION, tenant="acme", video_id=video.video_id, run_id=str(video.current_run)
    ).prefix
    kept = stage.versions(current)
    _, prefix = stage.replaced(video, age=LONG_AGO)
    assert stage.versions(prefix) == 6

    assert stage.turn() == {"purged": 1}
    assert stage.versions(prefix) == 0
    assert stage.versions(current) == kept
    assert stage.sort_keys(video.video_id) == {"META"} | run_items(video, str(video.current_run))
    assert stage.turn() == {}, "a second turn finds nothing"


def test_every_region_deletes_what_it_holds_and_only_home_the_items(stage: Stage) -> None:
    video = stage.video()
    note, prefix = stage.replaced(video, age=JUST_NOW)
    before = stage.sort_keys(video.video_id)

    assert stage.turn() == {"settling": 1}
    assert stage.versions(prefix) == 0
    assert stage.versions(prefix, OTHER_REGION) == 6
    assert stage.sort_keys(video.video_id) == before, "the other region still has to see the note"

    assert stage.turn(OTHER_REGION) == {"settling": 1}
    assert stage.versions(prefix, OTHER_REGION) == 0
    assert stage.turn(OTHER_REGION) == {"settling": 1}, "and finds nothing the next time"
    assert stage.sort_keys(video.video_id) == before

    # Its day is over.
    stage.put(Purge(**{**vars(note), "due_at": ago(LONG_AGO)}).to_item())
    assert stage.turn(OTHER_REGION) == {"settling": 1}
    assert stage.sort_keys(video.video_id) == before, "items are for the home region"
    assert stage.turn() == {"purged": 1}
    assert stage.sort_keys(video.video_id) == before - run_items(video, note.run_id) - {
        table.purge_key(video.video_id, note.run_id).sk
    }
    eventually(
        lambda: stage.sort_keys(video.video_id, OTHER_REGION) == stage.sort_keys(video.video_id),
        "the replica follows",
    )


@pytest.mark.parametrize("role", ["current_run", "next_run"])
def test_a_run_that_is_in_use_stays_and_its_note_goes(stage: Stage, role: str) -> None:
    video = stage.video()
    note, prefix = stage.replaced(video, age=LONG_AGO)
    stage.put(Video(**{**vars(video), role: note.run_id}).to_item())

    assert stage.turn(OTHER_REGION) == {"in_use": 1}
    assert stage.turn() == {"in_use": 1}
    assert stage.versions(prefix) == stage.versions(prefix, OTHER_REGION) == 6
    assert run_items(video, note.run_id) <= stage.sort_keys(video.video_id)
    assert stage.turn() == {}


def test_a_run_that_is_not_due_is_left_alone(stage: Stage) -> None:
    video = stage.video()
    note, prefix = stage.replaced(video, age=timedelta(hours=-1))
    assert stage.turn() == {}
    assert stage.versions(prefix) == 6
    stage.forget(note)


def test_what_is_left_of_a_video_that_is_gone_goes(stage: Stage) -> None:
    video = stage.video()
    note, prefix = stage.replaced(video, age=LONG_AGO)
    stage.emulator.client("dynamodb").delete_item(
        TableName=TABLE, Key=table.video_key(video.video_id).to_wire()
    )
    assert stage.turn() == {"purged": 1}
    assert stage.versions(prefix) == 0
    assert not run_items(video, note.run_id) & stage.sort_keys(video.video_id)


def test_a_region_that_took_a_video_over_deletes_its_items(stage: Stage) -> None:
    video = stage.video()
    note, _ = stage.replaced(video, age=LONG_AGO)
    stage.put(Video(**{**vars(video), "home_region": OTHER_REGION}).to_item())
    assert stage.turn() == {"settling": 1}
    assert run_items(video, note.run_id) <= stage.sort_keys(video.video_id)
    assert stage.turn(OTHER_REGION) == {"purged": 1}
    assert not run_items(video, note.run_id) & stage.sort_keys(video.video_id, OTHER_REGION)


@pytest.mark.parametrize(
    "changes", [{"tenant": ""}, {"run_id": ""}, {"region": ".."}, {"tenant": "umbrella"}]
)
def test_a_note_that_names_no_run_deletes_nothing_and_stops_no_other(
    stage: Stage, changes: dict[str, str]
) -> None:
    video = stage.video()
    everything = stage.versions("media/")
    bad = stage.note(video, **changes)
    _, prefix = stage.replaced(video, age=LONG_AGO)
    with pytest.raises(FunctionError, match="1 of 2 runs could not be purged"):
        stage.turn()
    assert stage.versions(prefix) == 0, "the other one is done all the same"
    assert stage.versions("media/") == everything
    stage.forget(bad)


def test_many_objects_and_items_go_in_one_turn(stage: Stage) -> None:
    video = stage.video()
    note, prefix = stage.replaced(video, age=LONG_AGO, objects=1005, parts=130)
    assert stage.versions(prefix) > 1000
    assert stage.turn() == {"purged": 1}
    assert stage.versions(prefix) == 0
    left = stage.sort_keys(video.video_id)
    assert not [key for key in left if key.startswith(table.run_prefix(note.run_id))]


def test_a_turn_that_is_too_short_is_gone_on_with(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is over at every possible moment; each turn goes on where the last one ended."""
    video = stage.video()
    note, prefix = stage.replaced(video, age=LONG_AGO, objects=2, parts=130)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stage.emulator.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    purger = Purger(
        environment=_environment(REGION),
        runs=Runs(TABLE),
        media=Objects(BUCKETS[REGION]),
        uploads=Objects(RAW_BUCKETS[REGION]),
    )
    seen = []
    for calls in itertools.count():
        budget = iter([True] * calls)
        outcomes = purger.turn(lambda budget=budget: next(budget, False))
        items = len(stage.sort_keys(video.video_id))
        seen.append((stage.versions(prefix), items))
        if not any(outcomes.values()):
            break
        assert outcomes["failed"] == outcomes["in_use"] == 0
    assert seen[0] == (5, max(items for _, items in seen)), "no time, nothing done"
    assert len(set(seen)) >= 4, "in more than one step"
    assert seen == sorted(seen, reverse=True), "and never back"
    assert seen[-1][0] == 0
    left = stage.sort_keys(video.video_id)
    assert table.purge_key(video.video_id, note.run_id).sk not in left


def test_all_of_a_deleted_video_goes_everywhere(stage: Stage) -> None:
    video, other = stage.deleted_video(), stage.deleted_video()
    stage.put(
        to_item(
            {
                "pk": table.usage_key("acme", REGION).pk,
                "sk": table.usage_key("acme", REGION).sk,
                "videos": 5,
                "stored_bytes": 5000,
                "deleted": 2,
            }
        )
    )
    stage.note(video, run_id=None, due_at=ago(LONG_AGO))
    prefix = f"media/{REGION}/acme/{video.video_id}/"
    before = stage.sort_keys(other.video_id)

    assert stage.turn(OTHER_REGION) == {"settling": 1}
    assert stage.versions(prefix, OTHER_REGION) == 0
    assert stage.raw_versions(video, OTHER_REGION) == 0
    assert stage.raw_versions(video) == 3
    assert stage.turn() == {"purged": 1}
    assert stage.versions(prefix) == stage.raw_versions(video) == 0
    assert stage.sort_keys(video.video_id) == set()
    for key in guard_keys("acme", "ada", f"{video.video_id}=", 1000):
        assert stage.item(key) is None
    for region in BUCKETS:
        assert stage.item(table.view_counter_key(video.video_id, region, 3), region) is None
    assert stage.usage() == Usage(videos=4, stored_bytes=4000, deleted=1)
    assert stage.turn() == {}

    assert stage.sort_keys(other.video_id) == before
    assert stage.raw_versions(other) == stage.raw_versions(other, OTHER_REGION) == 3
    assert stage.versions(f"media/{REGION}/acme/{other.video_id}/") > 0


def test_a_deleted_video_stands_until_every_region_had_its_turn(stage: Stage) -> None:
    video = stage.deleted_video()
    note = stage.note(video, run_id=None, due_at=ago(JUST_NOW))
    before = stage.sort_keys(video.video_id)
    assert stage.turn() == {"settling": 1}
    assert stage.raw_versions(video) == 0
    assert stage.sort_keys(video.video_id) == before
    stage.forget(note)


def test_a_video_that_is_purged_at_once_goes_before_its_note(stage: Stage) -> None:
    video = stage.deleted_video()
    raw_key = video.raw_key
    note = stage.note(video, run_id=None, due_at=ago(JUST_NOW), raw_key=raw_key)
    prefix = f"media/{REGION}/acme/{video.video_id}/"
    kept = {table.purge_key(video.video_id).sk}
    assert stage.turn() == {"settling": 1}
    assert stage.versions(prefix) == stage.raw_versions(video) == 0
    assert stage.sort_keys(video.video_id) == kept

    # Another region needs no more than the note, and what comes late goes with the next turn.
    assert stage.turn(OTHER_REGION) == {"settling": 1}
    assert stage.versions(prefix, OTHER_REGION) == stage.raw_versions(video, OTHER_REGION) == 0
    late = Part(video_id=video.video_id, run_id=new_id(), name=END)
    stage.put(late.to_item())
    stage.object(REGION, f"{prefix}late.m4s")
    assert stage.turn() == {"settling": 1}
    assert stage.versions(prefix) == 0
    assert stage.sort_keys(video.video_id) == kept

    stage.note(video, run_id=None, due_at=ago(LONG_AGO), raw_key=raw_key)
    assert stage.turn() == {"purged": 1}
    assert stage.sort_keys(video.video_id) == set()
    assert note.raw_key is not None


def test_a_video_that_was_restored_stays(stage: Stage) -> None:
    video = stage.deleted_video(status=VideoStatus.READY, deleted_from=None)
    stage.note(video, run_id=None, due_at=ago(LONG_AGO))
    before = stage.sort_keys(video.video_id)
    assert stage.turn(OTHER_REGION) == {"in_use": 1}
    assert stage.turn() == {"in_use": 1}
    assert stage.sort_keys(video.video_id) == before - {table.purge_key(video.video_id).sk}
    assert stage.raw_versions(video) == stage.raw_versions(video, OTHER_REGION) == 3


def test_a_guard_of_another_video_stays(stage: Stage) -> None:
    video = stage.deleted_video()
    shared, own = guard_keys("acme", "ada", f"{video.video_id}=", 1000)
    stage.put({**shared.to_wire(), "video_id": {"S": new_id()}})
    stage.note(video, run_id=None, due_at=ago(LONG_AGO))
    assert stage.turn() == {"purged": 1}
    assert stage.item(shared) is not None
    assert stage.item(own) is None


def test_an_event_that_waits_is_not_lost(stage: Stage) -> None:
    video = stage.deleted_video()
    waiting = DomainEvent(
        event_id=new_id(),
        event_type=EventType.VIDEO_DELETED,
        video_id=video.video_id,
        tenant="acme",
        region=REGION,
        sequence=10,
        occurred_at=timestamp(),
    )
    stage.put(waiting.to_outbox_item())
    stage.note(video, run_id=None, due_at=ago(LONG_AGO))
    before = stage.sort_keys(video.video_id)
    assert stage.turn() == {"settling": 1}
    assert stage.sort_keys(video.video_id) == before
    stage.emulator.client("dynamodb").delete_item(
        TableName=TABLE, Key=table.event_key(video.video_id, waiting.event_id).to_wire()
    )
    assert stage.turn() == {"purged": 1}
    assert stage.sort_keys(video.video_id) == set()


def test_turns_at_the_same_time_do_no_harm(stage: Stage) -> None:
    video = stage.video()
    _, prefix = stage.replaced(video, age=LONG_AGO)
    client = stage.emulator.client("lambda")
    for _ in range(3):
        client.invoke(FunctionName=FUNCTION, InvocationType="Event", Payload=b"{}")
    eventually(lambda: stage.versions(prefix) == 0, "objects are gone")
    expected = {"META"} | run_items(video, str(video.current_run))
    eventually(lambda: stage.sort_keys(video.video_id) == expected, "items are gone")
    assert stage.turn() == {}
