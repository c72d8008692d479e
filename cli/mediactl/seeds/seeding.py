"""Lets tenants, users and videos be there, and finds those that are.

Each tenant gets an account of its own for this, ``mediactl-seed-<tenant>``, whose password nobody
knows: it makes the users, by the admin service, and owns the videos. So two runs at the same time,
or one after another that was killed, send the same requests with the same keys as the same user,
and nothing comes twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from media_platform.contract.identity import ADMIN_GROUP, EDITOR_GROUP
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES
from media_platform.contract.video import VideoStatus
from mediactl.access import sessions
from mediactl.access.accounts import Accounts, new_password
from mediactl.access.admin import AdminClient, Amounts
from mediactl.client import ApiError, MediaClient, Tokens
from mediactl.errors import REFUSED, CommandError
from mediactl.local.sample import make_sample
from mediactl.videos.outcomes import failure_of, wait_until_done
from mediactl.videos.uploads import Source, content_type_of, send_file

if TYPE_CHECKING:
    from mediactl.client import Upload, UploadInParts
    from mediactl.environment import Environment
    from mediactl.seeds.seed_file import SeedFile, SeedTenant, SeedUser, SeedVideo

ACCOUNT = "mediactl-seed-"
"""Start of the names of the accounts; the tenant follows."""

ATTEMPTS = 10
"""How often a video is made anew of which an earlier request tells that it is gone."""

NEVER_SIGNED_IN = "FORCE_CHANGE_PASSWORD"
_GIVEN_UP = frozenset({"upload_abandoned", "upload_aborted"})
_NOT_FOUND = 404
_CONFLICT = 409

Result = Literal["created", "found", "changed", "failed"]


@dataclass(frozen=True, kw_only=True)
class SeededTenant:
    """A tenant.

    Attributes:
        tenant: Its name.
        result: Whether it, or its quota, was there.
    """

    tenant: str
    result: Result


@dataclass(frozen=True, kw_only=True)
class SeededUser:
    """A user.

    Attributes:
        email: Its address.
        tenant: Its tenant.
        result: Whether it was there.
        first_password: With ``--passwords``, its first password, if it never signed in.
    """

    email: str
    tenant: str
    result: Result
    first_password: str | None = None


@dataclass(frozen=True, kw_only=True)
class SeededVideo:
    """A video.

    Attributes:
        title: Its title.
        tenant: Its tenant.
        result: Whether it was there.
        video_id: The video; ``null`` where ``--dry-run`` found none.
        status: Where it stands; ``null`` likewise.
        error: Why it failed, if it did.
    """

    title: str
    tenant: str
    result: Result
    video_id: str | None = None
    status: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class SeedReport:
    """What is there now, or would be.

    Attributes:
        environment: The environment.
        changed: Whether it was done; ``false`` with ``--dry-run``.
        tenants: The tenants that the file names.
        users: The users.
        videos: The videos.
    """

    environment: str
    changed: bool
    tenants: list[SeededTenant]
    users: list[SeededUser]
    videos: list[SeededVideo]


@dataclass
class Seeding:
    """One run.

    Attributes:
        environment: Where.
        content: What is to be there.
        folder: Folder from which files are named.
        dry_run: Whether nothing is changed.
        passwords: Whether users who never signed in get a first password that is told.
        wait: Whether to wait until videos are READY.
        tell: Called with a line about what is being done.
    """

    environment: Environment
    content: SeedFile
    folder: Path
    dry_run: bool = False
    passwords: bool = False
    wait: bool = True
    tell: Callable[[str], None] = lambda _: None
    _clients: dict[str, MediaClient] = field(default_factory=dict, init=False)

    def run(self) -> SeedReport:
        """Let all be there.

        Raises:
            CommandError: If something cannot be there; what was done by then stays, and another
                run goes on.
        """
        self._accounts = Accounts.of(self.environment)
        # Users first: it is known soon if an address is somebody else's.
        users = [self._user(user) for user in self.content.users]
        tenants = [self._tenant(tenant) for tenant in self.content.tenants]
        with tempfile.TemporaryDirectory(prefix="mediactl-seed-") as scratch:
            videos = [self._video(video, Path(scratch)) for video in self.content.videos]
        return SeedReport(
            environment=self.environment.name,
            changed=not self.dry_run,
            tenants=tenants,
            users=users,
            videos=[self._finished(video) for video in videos],
        )

    def _client(self, tenant: str) -> MediaClient | None:
        """Return a client of the account of a tenant; a dry run makes none."""
        if tenant not in self._clients:
            username = f"{ACCOUNT}{tenant}"
            if self.dry_run:
                known = self._accounts.starting_with(username)
                if all(account.username != username for account in known):
                    return None
            else:
                self._accounts.ensure(username, tenant=tenant, groups=[ADMIN_GROUP, EDITOR_GROUP])
            self._clients[tenant] = MediaClient(
                self.environment.base_url,
                Tokens(lambda: self._accounts.sign_in(username)),
                attempts=sessions.ATTEMPTS,
            )
        return self._clients[tenant]

    def _tenant(self, wanted: SeedTenant) -> SeededTenant:
        populated = wanted.name in self.content.populated
        if wanted.quota is None and populated:
            return SeededTenant(tenant=wanted.name, result="found")
        operator = AdminClient.of(self.environment)
        now = operator.tenant_use_or_new(wanted.name)
        result: Result = "found"
        if wanted.quota is not None:
            quota = Amounts(**wanted.quota.model_dump())
            if now.quota != quota:
                result = "changed" if now.quota else "created"
                if not self.dry_run:
                    operator.put_quota(wanted.name, quota)
        elif now.first_seen_at is None:
            result = "created"
            if not self.dry_run:
                operator.create_tenant(wanted.name)
        return SeededTenant(tenant=wanted.name, result=result)

    def _user(self, wanted: SeedUser) -> SeededUser:
        known = self._accounts.find(wanted.email)
        if known is not None and known.tenant != wanted.tenant:
            raise CommandError(
                f"{wanted.email} is a user of tenant {known.tenant or '(none)'}, not of"
                f" {wanted.tenant}, and an address belongs to one user",
                hint="name another address in the seed file",
                exit_code=REFUSED,
            )
        result: Result = "found" if known else "created"
        done = SeededUser(email=wanted.email, tenant=wanted.tenant, result=result)
        client = self._client(wanted.tenant)
        if self.dry_run or client is None:
            return done
        if known is None:
            self.tell(f"user {wanted.email} of tenant {wanted.tenant}")
            said = wanted.model_dump(mode="json", exclude={"password"})
            user, _ = AdminClient(client).create_user(
                wanted.email,
                groups=sorted(set(wanted.groups)),
                name=wanted.name,
                invite=wanted.invite,
                key=_key("user", said),
            )
            username, new = user.username, True
        else:
            username, new = known.username, known.status == NEVER_SIGNED_IN
        # Also of one that is there: a run that was killed may have made it just before.
        if new and wanted.password is not None:
            self._accounts.set_password(username, wanted.password)
        elif new and self.passwords and not wanted.invite:
            password = new_password()
            self._accounts.set_password(username, password, permanent=False)
            return SeededUser(
                email=done.email, tenant=done.tenant, result=result, first_password=password
            )
        return done

    def _video(self, wanted: SeedVideo, scratch: Path) -> SeededVideo:
        client = self._client(wanted.tenant)
        found = None if client is None else self._found(client, wanted)
        waits_for_file = found is None or found["status"] == VideoStatus.PENDING
        if client is None or self.dry_run or not waits_for_file:
            return _seeded(wanted, found, "created" if found is None else "found")
        self.tell(f"video {wanted.title!r} of tenant {wanted.tenant}")
        path = self._file(wanted, scratch)
        with Source(path) as source:
            result: Result = "found"
            if found is not None:
                how = _upload_of(client, found["video_id"])
            else:
                found, how = self._create(client, wanted, path, source)
                result = "created" if found["title"] == wanted.title else "found"
            if how is not None:
                _send(client, found["video_id"], how, source)
        return _seeded(wanted, found, result)

    def _found(self, client: MediaClient, wanted: SeedVideo) -> dict[str, Any] | None:
        """Return the video that is there, without those that came to nothing."""
        own = client.listed("/api/videos", "videos", {"owner": "me", "limit": 100})
        for video in own:
            if video["title"] != wanted.title:
                continue
            failure = video.get("failure") or {}
            if video.get("duplicate_of"):
                # Large files are compared by the platform once they are there.
                self._drop(client, video)
                return client.video(video["duplicate_of"])
            if failure.get("code") in _GIVEN_UP:
                self._drop(client, video)
                continue
            return video
        return None

    def _drop(self, client: MediaClient, video: dict[str, Any]) -> None:
        if not self.dry_run:
            with contextlib.suppress(ApiError):  # another run may have been faster
                client.call("DELETE", f"/api/videos/{video['video_id']}")

    def _create(
        self, client: MediaClient, wanted: SeedVideo, path: Path, source: Source
    ) -> tuple[dict[str, Any], Upload | UploadInParts | None]:
        """Create a video, or return the one that has the file.

        The API remembers a key for a day, also of a video that somebody has deleted since: then the
        next key is taken, which is the same in all runs.
        """
        body: dict[str, Any] = {
            "title": wanted.title,
            "file_name": Path(wanted.file or "sample.mp4").name,
            "content_type": content_type_of(path),
            "size_bytes": source.size_bytes,
            "visibility": wanted.visibility,
            "description": wanted.description,
            "tags": wanted.tags,
        }
        if source.size_bytes <= SINGLE_PUT_MAX_BYTES:
            body["sha256"] = source.sha256(0, source.size_bytes)
        for attempt in range(ATTEMPTS):
            try:
                video, how = client.create(body, key=_key(f"video {attempt}", body))
            except ApiError as error:
                if error.status != _NOT_FOUND:
                    raise
                continue
            if video["status"] not in {VideoStatus.FAILED, VideoStatus.DELETED}:
                return video, how
        raise CommandError(
            f"video {wanted.title!r} was seeded and removed {ATTEMPTS} times within a day",
            hint="restore it, or wait a day",
        )

    def _file(self, wanted: SeedVideo, scratch: Path) -> Path:
        if wanted.file is not None:
            return self.folder / wanted.file
        sample = wanted.sample
        assert sample is not None  # noqa: S101 - the file was checked
        path = scratch / f"{sample.seconds}-{sample.width}x{sample.height}.mp4"
        if not path.exists():
            make_sample(path, seconds=sample.seconds, width=sample.width, height=sample.height)
        return path

    def _finished(self, video: SeededVideo) -> SeededVideo:
        """Return a video as it stands in the end."""
        client = self._clients.get(video.tenant)
        if video.video_id is None or client is None or self.dry_run:
            return video
        if self.wait:
            now = wait_until_done(client, video.video_id, video.title, None)
        else:
            now = client.video(video.video_id)
        failed = failure_of(now) if now["status"] == VideoStatus.FAILED else None
        return SeededVideo(
            title=video.title,
            tenant=video.tenant,
            result=video.result if failed is None else "failed",
            video_id=video.video_id,
            status=now["status"],
            error=None if failed is None else str(failed),
        )


def _seeded(wanted: SeedVideo, found: dict[str, Any] | None, result: Result) -> SeededVideo:
    return SeededVideo(
        title=wanted.title,
        tenant=wanted.tenant,
        result=result,
        video_id=found["video_id"] if found else None,
        status=found["status"] if found else None,
    )


def _upload_of(client: MediaClient, video_id: str) -> Upload | UploadInParts | None:
    """Return how the file of a video is sent that waits for it, unless it came meanwhile."""
    try:
        return client.upload_of(video_id)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        return None


def _send(client: MediaClient, video_id: str, how: Upload | UploadInParts, source: Source) -> None:
    """Send a file, unless another run does."""
    try:
        send_file(client, video_id, how, source)
    except ApiError as error:
        # Of two that send the same file at the same time, S3 tells one to come again.
        if error.status != _CONFLICT:
            raise


def _key(what: str, said: dict[str, Any]) -> str:
    """Return the idempotency key of a request, which follows from what it says."""
    text = json.dumps([what, said], sort_keys=True)
    return f"seed-{hashlib.sha256(text.encode()).hexdigest()}"
