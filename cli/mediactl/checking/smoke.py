"""The main job on a real environment, with everything that is made for it removed again.

A user of a tenant of its own uploads a small clip, plays it and deletes it, while a queue of its
own waits for the event. Every step is timed. Whatever happens, user, queue and video go in the end;
what a run leaves that is killed, the first run removes after the time of that one was up, by its
name. Nothing else is touched.

``smoke.mp4`` is two seconds of ffmpeg's ``testsrc`` (320 x 180, 15 frames a second, H.264) and
``sine`` (AAC).
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from media_platform.contract.events import EventType
from media_platform.contract.identity import (
    ADMIN_GROUP,
    EDITOR_GROUP,
    GROUPS_CLAIM,
    TENANT_CLAIM,
)
from media_platform.contract.object_keys import RAW_PREFIX, video_prefix
from media_platform.contract.outputs import StoreOutput
from media_platform.contract.times import timestamp
from mediactl.access import sessions
from mediactl.access.accounts import Accounts
from mediactl.checking import journey
from mediactl.client import ApiError, MediaClient, Tokens
from mediactl.errors import CommandError
from mediactl.failures import explain
from mediactl.interrupts import uninterrupted
from mediactl.local import player
from mediactl.local.sample import ffmpeg
from mediactl.temporary import TemporaryName
from mediactl.videos.uploads import content_type_of
from mediactl.watching import event_queues
from mediactl.watching.event_queues import EventQueues

if TYPE_CHECKING:
    from mediactl.environment import Environment

CLIP = Path(__file__).with_name("smoke.mp4")
KIND = "smoke"
TENANT = "smoke"

CLEANING_SECONDS = 120
"""Time that a run has after its own for removing what it made."""

GONE_SECONDS = 15
"""Longest time until nobody sees a video any more that was deleted."""

NEWEST = 500
"""Most videos that are looked at for those of earlier runs."""

_PURGE_POLL_SECONDS = 2.0
_PAGE = 100
_FORBIDDEN = 403
_NOT_FOUND = 404
_CONFLICT = 409

STEPS = (
    "sign in",
    "upload",
    "playable",
    "ready",
    "signed playback",
    "unsigned refused",
    "event received",
    "delete",
    "purge",
)
"""Names of the steps, in order."""

Result = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the way.

    Attributes:
        name: What it is called.
        result: What came of it.
        seconds: How long it took.
        detail: What was seen, or why it failed or was skipped.
        hint: What to look at, if it failed.
    """

    name: str
    result: Result
    seconds: float
    detail: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class SmokeReport:
    """What was seen on the way.

    Attributes:
        environment: The environment.
        passed: Whether no step failed.
        started_at: Time at which it began.
        seconds: How long it took.
        tenant: Tenant of the video.
        video_id: The video; ``null`` if there was none.
        steps: The steps, in order.
        removed: Names of what earlier runs had left and this one removed.
    """

    environment: str
    passed: bool
    started_at: str
    seconds: float
    tenant: str
    video_id: str | None
    steps: list[Step]
    removed: list[str]


class _SkippedError(Exception):
    """A step is not taken; the message says why."""


@dataclass(frozen=True)
class _Caller:
    """Who uploads and plays.

    Attributes:
        client: Client of the API.
        user_id: Its id.
        tenant: Its tenant.
        administers: Whether it may delete for good.
    """

    client: MediaClient
    user_id: str
    tenant: str
    administers: bool


@dataclass
class Smoke:
    """One run.

    Attributes:
        environment: Where.
        clip: The file that is uploaded.
        seconds: Longest time of the run.
        purge: Whether to wait until the files are gone.
        access_token: Access token of who uploads. Default: a user is made.
        tell: Called with what is being done, and with every step that was.
    """

    environment: Environment
    clip: Path = CLIP
    seconds: float = 1800
    purge: bool = True
    access_token: str | None = None
    tell: Callable[[str | Step], None] = lambda _: None
    _steps: list[Step] = field(default_factory=list, init=False)
    _removed: list[str] = field(default_factory=list, init=False)
    _video_id: str | None = field(default=None, init=False)
    _asked_for: dict[str, Any] | None = field(default=None, init=False)
    _deleted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._name = TemporaryName.make(
            KIND, self.environment.stage, seconds=self.seconds + CLEANING_SECONDS
        )
        self._deadline = time.monotonic() + self.seconds
        self._content_type = content_type_of(self.clip)

    def run(self) -> SmokeReport:
        """Go the way, and remove what was made for it.

        Raises:
            CommandError: If the environment cannot be reached at all.
        """
        started, began = timestamp(), time.monotonic()
        # Asked for before anything is made, so that what is not deployed is told as such.
        base_url = self.environment.base_url
        tenant = TENANT
        try:
            with contextlib.ExitStack() as made:
                caller = self._signed_in(base_url, made)
                if caller is not None:
                    tenant = caller.tenant
                    self._go(caller, made)
                for name in STEPS[len(self._steps) :]:
                    self._take(name, str, "", needed=False)
        except CleaningError as error:
            self._add(Step(name="clean up", result="failed", seconds=0, detail=str(error)))
        return SmokeReport(
            environment=self.environment.name,
            passed=all(step.result != "failed" for step in self._steps),
            started_at=started,
            seconds=round(time.monotonic() - began, 3),
            tenant=tenant,
            video_id=self._video_id,
            steps=self._steps,
            removed=sorted(set(self._removed)),
        )

    def _signed_in(self, base_url: str, made: contextlib.ExitStack) -> _Caller | None:
        found: list[_Caller] = []

        def sign_in() -> str:
            tokens = self._tokens(made)
            claims = sessions.claims(tokens.current())
            groups = claims.get(GROUPS_CLAIM) or []
            found.append(
                _Caller(
                    MediaClient(base_url, tokens, attempts=sessions.ATTEMPTS),
                    user_id=str(claims.get("sub")),
                    tenant=str(claims.get(TENANT_CLAIM)),
                    administers=ADMIN_GROUP in groups,
                )
            )
            return f"as a user of tenant {found[0].tenant}, in {', '.join(sorted(groups))}"

        self._take("sign in", sign_in, "the user pool: docs/auth.md")
        return found[0] if found else None

    def _tokens(self, made: contextlib.ExitStack) -> Tokens:
        token = self.access_token
        if token is not None:
            return Tokens(lambda: token)
        accounts, username = Accounts.of(self.environment), str(self._name)
        for left in accounts.starting_with(self._name.prefix):
            if self._name.outlives(left.username):
                accounts.delete(left.username)
                self._removed.append(left.username)
        # Before it is made: a call that is interrupted may have made it.
        made.callback(_cleaning, f"user {username}", lambda: accounts.delete(username))
        accounts.ensure(username, tenant=TENANT, groups=[ADMIN_GROUP, EDITOR_GROUP])
        return Tokens(lambda: accounts.sign_in(username))

    def _go(self, caller: _Caller, made: contextlib.ExitStack) -> None:
        """Go the way from the upload to the purge."""
        logs = f"mediactl logs -e {self.environment.name}"
        queues = self._queues(caller, made)
        made.callback(_cleaning, f"the video {self._name}", lambda: self._remove_video(caller))
        on = self._take("upload", lambda: self._upload(caller), f"{logs} --service api")
        of_video = f"{logs} --video {self._video_id}"
        on = self._take("playable", lambda: self._playable(caller), of_video, needed=on)
        on = self._take("ready", lambda: self._ready(caller), of_video, needed=on)
        grants: list[dict[str, Any]] = []
        segments: list[str] = []
        self._take(
            "signed playback",
            lambda: self._play(caller, grants, segments),
            f"{logs} --service api; docs/api.md#play-it",
            needed=on,
        )
        self._take(
            "unsigned refused",
            lambda: self._refused(grants[0], segments),
            f"the keys of the distribution: mediactl keys list -e {self.environment.name}",
            needed=bool(segments),
        )
        self._take(
            "event received",
            lambda: self._event(queues),
            f"{logs} --service outbox; alarms of the relay: mediactl status",
            needed=on,
        )
        purge: dict[str, Any] = {}
        self._take(
            "delete", lambda: self._delete(caller, purge), of_video, needed=bool(self._video_id)
        )
        # Nobody waits a quarter of an hour to be told of what failed before.
        self._take(
            "purge",
            lambda: self._purged(caller, purge),
            f"{logs} --service purge; mediactl dlq list",
            needed=all(step.result == "passed" for step in self._steps),
        )

    def _queues(self, caller: _Caller, made: contextlib.ExitStack) -> EventQueues | CommandError:
        """Return queues for the events, or why there are none."""
        regions = self.environment.regions
        queues = EventQueues(self.environment, self._name, regions, tenant=caller.tenant)
        try:
            self._removed += event_queues.remove_outlived(self.environment, self._name, regions)
            made.callback(_cleaning, f"the queue {self._name}", queues.remove)
            queues.subscribe()
        except Exception as error:  # noqa: BLE001 - the step that needs them tells it
            return explain(error)
        return queues

    def _upload(self, caller: _Caller) -> str:
        for video in self._own_videos(caller):
            if self._name.outlives(video["title"]):
                self._drop(caller, video["video_id"])
                self._removed.append(video["title"])
        size = self.clip.stat().st_size
        body = {
            "title": str(self._name),
            "file_name": self.clip.name,
            "content_type": self._content_type,
            "size_bytes": size,
            "visibility": "PRIVATE",
            "duplicates": "keep",
        }
        self._asked_for = body
        video = journey.upload(caller.client, self.clip, body, key=str(self._name))
        self._video_id = video["video_id"]
        return f"{size:,} bytes"

    def _followed(self, caller: _Caller, reached: Callable[[Mapping[str, Any]], bool]) -> Any:
        assert self._video_id is not None  # noqa: S101 - the upload passed
        for video in journey.follow(caller.client, self._video_id, deadline=self._deadline):
            if reached(video):
                return video
        raise CommandError("the video is READY, and not playable")

    def _playable(self, caller: _Caller) -> str:
        video = self._followed(caller, lambda seen: bool(seen["playable"]))
        return f"at {video['progress']} %, {video['status']}"

    def _ready(self, caller: _Caller) -> str:
        video = self._followed(caller, lambda seen: seen["status"] == "READY")
        heights = ", ".join(f"{one['height']}p" for one in video["renditions"])
        return f"{heights}, {video['duration_seconds']:g} s"

    def _play(self, caller: _Caller, grants: list[dict[str, Any]], segments: list[str]) -> str:
        assert self._video_id is not None  # noqa: S101 - the upload passed
        grant = caller.client.playback(self._video_id)
        grants.append(grant)
        segments += player.fetch_all(grant["playlist_url"], grant["cookies"])
        player.fetch_all(grant["signed_playlist_url"], {})
        fetched = f"{len(segments)} files with cookies, as many with signed URLs"
        try:
            ffmpeg()
        except CommandError:
            return f"{fetched}; not decoded, since there is no ffmpeg"
        frames = sum(rendition["frames"] for rendition in journey.decode(grant))
        return f"{fetched}; {frames} frames decoded"

    def _refused(self, grant: Mapping[str, Any], segments: list[str]) -> str:
        """Ask for a playlist and a segment without a signature, and with a wrong one."""
        asked = (grant["playlist_url"], segments[-1])
        answers = [player.status_without_grant(url) for url in asked]
        answers += [player.status(url, _forged(grant["cookies"])) for url in asked]
        if any(answer != _FORBIDDEN for answer in answers):
            raise CommandError(
                f"without a signature the playlist answers {answers[0]} and a segment {answers[1]},"
                f" with a wrong one {answers[2]} and {answers[3]}; all should be {_FORBIDDEN}"
            )
        return f"status {_FORBIDDEN}, without a signature and with a wrong one"

    def _event(self, queues: EventQueues | CommandError) -> str:
        if isinstance(queues, CommandError):
            raise queues
        seen: dict[str, None] = {}
        while EventType.VIDEO_READY not in seen:
            if time.monotonic() > self._deadline:
                raise CommandError(
                    f"no {EventType.VIDEO_READY} came, and time is up; "
                    f"what came: {', '.join(seen) or 'nothing'}"
                )
            for event in queues.receive():
                if event.video_id == self._video_id:
                    seen[event.event_type] = None
        return ", ".join(kind for kind in EventType if kind in seen)

    def _delete(self, caller: _Caller, purge: dict[str, Any]) -> str:
        assert self._video_id is not None  # noqa: S101 - there is a video
        purge |= self._drop(caller, self._video_id) or {}
        self._deleted = True
        deadline = time.monotonic() + GONE_SECONDS
        path = f"/api/videos/{self._video_id}"
        for asked in (path, f"{path}/playback"):
            while (status := _status(caller.client, asked)) != _NOT_FOUND:
                if time.monotonic() > deadline:
                    raise CommandError(
                        f"{asked} still answers {status}, {GONE_SECONDS} s after the video was"
                        " deleted"
                    )
                time.sleep(journey.POLL_SECONDS)
        return "for good" if purge else "it can be restored, as by a user"

    def _drop(self, caller: _Caller, video_id: str) -> dict[str, Any] | None:
        """Delete a video for good, or as far as the caller may.

        Returns:
            When it is purged, if that is at once.
        """
        if caller.administers:
            try:
                return caller.client.call("DELETE", f"/api/admin/videos/{video_id}")
            except ApiError as error:
                # It may be at home in a region in which the admin service does not write.
                if error.status != _CONFLICT:
                    raise
        caller.client.call("DELETE", f"/api/videos/{video_id}")
        return None

    def _purged(self, caller: _Caller, purge: Mapping[str, Any]) -> str:
        if not self.purge:
            raise _SkippedError("not waited for: --no-purge")
        if not purge:
            raise _SkippedError(
                "it goes in its time, as what users delete: nobody deletes it for good but an"
                " administrator, and the admin service in its region alone"
            )
        expected = f"expected by {purge['expected_by']}"
        while left := self._left(caller):
            if time.monotonic() > self._deadline:
                raise CommandError(
                    f"{left}, and time is up; {expected}: raise --timeout, or take --no-purge"
                )
            self.tell(f"purge: {left}, {expected}")
            time.sleep(_PURGE_POLL_SECONDS)
        return f"no file and no item is left; {expected}"

    def _left(self, caller: _Caller) -> str | None:
        """Return what there still is of the video."""
        assert self._video_id is not None  # noqa: S101 - there is a video
        if _status(caller.client, f"/api/admin/videos/{self._video_id}") != _NOT_FOUND:
            return "the items are still there"
        regions = self.environment.regions
        raw = f"{RAW_PREFIX}{caller.tenant}/{caller.user_id}/{self._video_id}."
        media = [video_prefix(home, caller.tenant, self._video_id) for home in regions]
        for region in regions:
            s3 = self.environment.client("s3", region)
            for output, prefixes in (
                (StoreOutput.RAW_BUCKET, [raw]),
                (StoreOutput.MEDIA_BUCKET, media),
            ):
                bucket = self.environment.output(output, region)
                for prefix in prefixes:
                    found = s3.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=1)
                    if found.get("Versions") or found.get("DeleteMarkers"):
                        return f"files are still in {bucket}"
        return None

    def _own_videos(self, caller: _Caller) -> Iterator[dict[str, Any]]:
        """Go through the newest videos of the caller, or of the tenant if that is our own."""
        if self.access_token is None:
            # The users of earlier runs are gone.
            listed = caller.client.listed("/api/admin/videos", "videos", {"limit": _PAGE})
        else:
            query = {"owner": "me", "limit": _PAGE}
            listed = caller.client.listed("/api/videos", "videos", query)
        yield from itertools.islice(listed, NEWEST)

    def _remove_video(self, caller: _Caller) -> None:
        """Delete the video if no step did.

        Of one whose creation was interrupted it is not known whether it is there, or will be in a
        moment: asked for again with the same key, it is the same one.
        """
        if self._deleted or self._asked_for is None:
            return
        if self._video_id is None:
            video, _ = caller.client.create(self._asked_for, key=str(self._name))
            self._video_id = video["video_id"]
        self._drop(caller, str(self._video_id))

    def _take(
        self, name: str, action: Callable[[], str], look_at: str, *, needed: bool = True
    ) -> bool:
        """Take a step, and return whether it passed.

        Args:
            name: What it is called.
            action: Does it, and returns what was seen.
            look_at: What to look at if it fails.
            needed: Whether what it builds on was reached. Default: yes.
        """
        began = time.monotonic()
        hint = None
        if not needed:
            self._add(Step(name=name, result="skipped", seconds=0, detail="not reached"))
            return False
        self.tell(name)
        result: Result = "passed"
        try:
            detail = action()
        except _SkippedError as reason:
            result, detail = "skipped", str(reason)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as the step's
            explained = explain(error)
            result, detail = "failed", str(explained)
            hint = "; ".join(filter(None, (explained.hint, f"look at {look_at}")))
        seconds = round(time.monotonic() - began, 3)
        self._add(Step(name=name, result=result, seconds=seconds, detail=detail, hint=hint))
        return result == "passed"

    def _add(self, step: Step) -> None:
        self._steps.append(step)
        self.tell(step)


class CleaningError(Exception):
    """Something that was made for the run could not be removed."""


def _cleaning(what: str, remove: Callable[[], object]) -> None:
    """Remove something, and say what it was if that fails."""
    try:
        with uninterrupted():
            remove()
    except Exception as error:
        raise CleaningError(
            f"{what} could not be removed: {explain(error)}; a later run removes it"
        ) from error


def _forged(cookies: Mapping[str, str]) -> dict[str, str]:
    """Return cookies whose signature is of something else."""

    def other(value: str) -> str:
        return value[:10] + ("A" if value[10] != "A" else "B") + value[11:]

    return {n: other(v) if n.endswith("Signature") else v for n, v in cookies.items()}


def _status(client: MediaClient, path: str) -> int:
    try:
        client.call("GET", path)
    except ApiError as error:
        return error.status
    return 200
