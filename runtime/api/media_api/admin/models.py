"""Bodies of requests and answers of the admin service, as clients see them."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from media_api.admin.jobs import PEEK_MAX_LETTERS
from media_api.admin.user_pool import PAGE_MAX_USERS
from media_api.models import PAGE_DEFAULT_VIDEOS, PAGE_MAX_VIDEOS, VideoBody
from media_api.whole import WHOLE
from media_platform.contract.audit import AuditAction
from media_platform.contract.identity import TENANT_CHARACTERS
from media_platform.contract.jobs import JOBS
from media_platform.contract.object_keys import KEY_SEGMENT, is_key_segment
from media_platform.contract.video import VideoStatus

_CURSOR_CHARACTERS = 4096
_MOST = 2**53 - 1
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _tenant(name: str) -> str:
    if not is_key_segment(name):
        raise ValueError(
            f"{name[:80]!r} is no name of a tenant; it starts with a letter or digit and goes on "
            "with letters, digits, '_', '.', ':' or '-'"
        )
    return name


TenantName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=TENANT_CHARACTERS,
        examples=["acme"],
        json_schema_extra={"pattern": KEY_SEGMENT},
    ),
    AfterValidator(_tenant),
]


def _day(text: object) -> object:
    """Refuse what else is taken for a date: seconds since 1970, times."""
    if isinstance(text, str) and not _DAY.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no day; write one as 2026-11-25")
    return text


Day = Annotated[date, BeforeValidator(_day)]
Cursor = Annotated[str, Field(max_length=_CURSOR_CHARACTERS)]
Group = Literal["admin", "editor", "viewer"]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Email = Annotated[
    str,
    Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", examples=["ada@example.com"]),
]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewUser(_Given):
    """A user to be created.

    Attributes:
        email: Its e-mail address, by which it signs in.
        name: What people call it.
        groups: Its groups. Default: viewer.
        tenant: Its tenant. Default: that of the caller; another one takes an operator.
        invite: Whether Cognito sends it a first password. Default: yes; if not, the answer has it.
    """

    email: Email
    name: Name | None = None
    groups: Annotated[list[Group], Field(max_length=3)] = ["viewer"]
    tenant: TenantName | None = None
    invite: bool = True


class Groups(_Given):
    """The groups that a user is to be in, and no others of the platform.

    Attributes:
        groups: The groups.
    """

    groups: Annotated[list[Group], Field(max_length=3)]


class UserQuery(_Given):
    """Which users to list.

    Attributes:
        tenant: Those of a tenant. Default: that of the caller; another one takes an operator.
        limit: Most users of the page.
        cursor: ``next_cursor`` of the page before. Default: the first page.
        email: Only the one with this address.
        user_id: Only the one with this id, as videos and audit entries name it.
    """

    tenant: TenantName | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX_USERS)] = PAGE_MAX_USERS
    cursor: Cursor | None = None
    email: Annotated[str, Field(min_length=1, max_length=254)] | None = None
    user_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class UserBody(BaseModel):
    """A user.

    Attributes:
        username: Its name in the pool, which paths name it by.
        user_id: Its id in tokens, videos and audit entries.
        tenant: Its tenant.
        email: Its e-mail address.
        name: What people call it.
        groups: Its groups.
        status: Where its account stands, as Cognito says it.
        enabled: Whether it may sign in.
        created_at: Time of creation.
        updated_at: Time of the last change.
    """

    username: str
    user_id: str
    tenant: str
    email: str | None
    name: str | None
    groups: list[Group]
    status: str
    enabled: bool
    created_at: str
    updated_at: str


class InvitedBody(BaseModel):
    """A user that was created.

    Attributes:
        user: The user.
        temporary_password: Its first password, if Cognito did not send it; nobody can read it
            again.
    """

    user: UserBody
    temporary_password: str | None


class UserPageBody(BaseModel):
    """A page of users, in no order.

    Attributes:
        users: The users; a page may be short or empty and not be the last.
        next_cursor: ``cursor`` of the next page; ``null`` on the last one.
    """

    users: list[UserBody]
    next_cursor: str | None


class TenantQuery(_Given):
    """Which tenants to list.

    Attributes:
        limit: Most tenants of the page.
        cursor: ``next_cursor`` of the page before. Default: the first page.
    """

    limit: Annotated[int, Field(ge=1, le=100)] = 100
    cursor: TenantName | None = None


class NewTenant(_Given):
    """A tenant to be listed before it has a user or a video.

    Attributes:
        tenant: Its name.
    """

    tenant: TenantName


class TenantBody(BaseModel):
    """A tenant.

    Attributes:
        tenant: Its name.
        first_seen_at: Time at which it was first met.
    """

    tenant: str
    first_seen_at: str


class TenantPageBody(BaseModel):
    """A page of tenants, by name.

    Attributes:
        tenants: The tenants.
        next_cursor: ``cursor`` of the next page; ``null`` on the last one.
    """

    tenants: list[TenantBody]
    next_cursor: str | None


class UsageBody(BaseModel):
    """What a tenant uses.

    Attributes:
        videos: Videos that are not purged.
        stored_bytes: Bytes of their files.
        uploads: Videos whose file is still to come.
    """

    videos: int
    stored_bytes: int
    uploads: int


class QuotaBody(_Given):
    """How much a tenant may use.

    Attributes:
        videos: Most videos.
        stored_bytes: Most bytes of their files.
        uploads: Most uploads at a time.
    """

    videos: Annotated[int, Field(strict=True, ge=0, le=_MOST), WHOLE]
    stored_bytes: Annotated[int, Field(strict=True, ge=0, le=_MOST), WHOLE]
    uploads: Annotated[int, Field(strict=True, ge=0, le=_MOST), WHOLE]


class TenantUseBody(BaseModel):
    """A tenant with what it uses and may use.

    Attributes:
        tenant: Its name.
        first_seen_at: Time at which it was first met; ``null`` if it never was.
        usage: What it uses in all regions.
        regions: What it uses in each region.
        quota: What was set for it; ``null`` if the default of the stage holds.
    """

    tenant: str
    first_seen_at: str | None
    usage: UsageBody
    regions: dict[str, UsageBody]
    quota: QuotaBody | None


class StatsQuery(_Given):
    """Whose numbers to get.

    Attributes:
        tenant: Those of a tenant; another one takes an operator. Default: all tenants for an
            operator, one's own for others.
    """

    tenant: TenantName | None = None


class VideoCountsBody(BaseModel):
    """How many videos there are.

    Attributes:
        total: All that are not purged.
        pending: Those whose file is still to come.
        in_flight: Those that are UPLOADED or PROCESSING.
        ready: Those that are READY.
        failed: Those that are FAILED.
        deleted: Those that are DELETED.
    """

    total: int
    pending: int
    in_flight: int
    ready: int
    failed: int
    deleted: int


class StatsBody(BaseModel):
    """Numbers of a tenant, or of all.

    Attributes:
        tenant: The tenant; ``null`` for all.
        tenants: How many tenants were counted.
        videos: How many videos there are.
        stored_bytes: Bytes of their files, as declared.
        views: How often playback was granted, of purged videos, too.
    """

    tenant: str | None
    tenants: int
    videos: VideoCountsBody
    stored_bytes: int
    views: int


class VideoQuery(_Given):
    """Which videos to list.

    Attributes:
        tenant: Those of a tenant. Default: that of the caller; another one takes an operator.
        owner: Only those of a user.
        status: Only those with a status. Default: all but DELETED ones.
        limit: Most videos of the page.
        cursor: ``next_cursor`` of the page before. Default: the first page.
    """

    tenant: TenantName | None = None
    owner: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    status: VideoStatus | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX_VIDEOS)] = PAGE_DEFAULT_VIDEOS
    cursor: Annotated[str, Field(max_length=200)] | None = None


class AdminVideoBody(VideoBody):
    """A video as administrators see it.

    Attributes:
        home_region: Region that is home to it.
        raw_key: Key of its file in the raw bucket.
        uploaded_at: Time at which its file was taken in.
        ready_at: Time at which it became READY.
        deleted_by: User who deleted it.
        current_run: The run that is, or becomes, what viewers see.
    """

    home_region: str
    raw_key: str
    uploaded_at: str | None
    ready_at: str | None
    deleted_by: str | None
    current_run: str | None


class AdminPageBody(BaseModel):
    """A page of videos.

    Attributes:
        videos: The videos, newest first.
        next_cursor: ``cursor`` of the next page; ``null`` on the last one.
    """

    videos: list[AdminVideoBody]
    next_cursor: str | None


class PurgeBody(BaseModel):
    """When a video goes that is deleted for good.

    Attributes:
        video_id: The video.
        purge_from: Time from which on every region deletes what it holds.
        expected_by: Time by which each had a whole turn for it.
    """

    video_id: str
    purge_from: str
    expected_by: str


class QueueBody(BaseModel):
    """How much is in a queue, as SQS estimates it.

    Attributes:
        name: What the queue is for.
        visible: Messages that wait.
        in_flight: Messages that are worked on.
        delayed: Messages that are not to be seen yet.
    """

    name: str
    visible: int
    in_flight: int
    delayed: int


class WorkBody(BaseModel):
    """What is being done in this region.

    Attributes:
        queues: The queues of work: jobs, requests to scanners and their verdicts, webhooks.
        dead_letters: What failed for good, by where.
        videos_in_flight: Videos that wait for a worker or are transcoded.
        events_unpublished: Events that were not published yet.
    """

    queues: list[QueueBody]
    dead_letters: list[QueueBody]
    videos_in_flight: int
    events_unpublished: int


class DeadLetterQuery(_Given):
    """Which dead letters to look at.

    Attributes:
        queue: What their queue is called, as one of `dead_letters` of the jobs.
        limit: Most of them.
    """

    queue: Annotated[str, Field(min_length=1, max_length=64, examples=[JOBS])] = JOBS

    limit: Annotated[int, Field(ge=1, le=PEEK_MAX_LETTERS)] = 20


class JobBody(BaseModel):
    """A transcode job.

    Attributes:
        video_id: The video.
        run_id: The run.
        tenant: Tenant of the video.
        part: What was to be done.
        queued_at: Time at which the first job of the run was sent.
    """

    video_id: str
    run_id: str
    tenant: str
    part: str
    queued_at: str


class DeadLetterBody(BaseModel):
    """A message that failed for good.

    Attributes:
        message_id: Its id.
        reason: Why it failed, if a worker said so.
        sent_at: Time at which it came here.
        looks: How often it was looked at.
        job: The job; ``null`` if it is none.
        body: What it says, if it is no job: the first 1000 characters.
    """

    message_id: str
    reason: str | None
    sent_at: str
    looks: int
    job: JobBody | None
    body: str | None


class DeadLettersBody(BaseModel):
    """Dead letters, oldest first.

    Attributes:
        dead_letters: The dead letters.
    """

    dead_letters: list[DeadLetterBody]


class AuditQuery(_Given):
    """Which entries of the audit trail to list.

    Attributes:
        day: Those of a day, UTC.
        tenant: Those of a tenant's data. Default: that of the caller; another one takes an
            operator.
        actor: Only those of a user.
        video: Only those of a video.
        action: Only those of an action.
        limit: Most entries that are looked at for the page.
        cursor: ``next_cursor`` of the page before. Default: the first page.
    """

    day: Day
    tenant: TenantName | None = None
    actor: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    video: Annotated[str, Field(min_length=1, max_length=36)] | None = None
    action: AuditAction | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
    cursor: Annotated[str, Field(max_length=200)] | None = None


class AuditEntryBody(BaseModel):
    """One thing that somebody did.

    Attributes:
        entry_id: Its id; entries sort by it.
        at: Time.
        tenant: Tenant whose data it was done to.
        actor: User who did it.
        actor_tenant: Tenant of the user.
        actor_groups: Groups of the user at the time.
        action: What was done.
        request_id: Id of the request, as log lines carry it.
        video_id: The video it was done to, if it was one.
        subject: What else it was done to.
        changed: Names of the fields that were changed.
    """

    entry_id: str
    at: str
    tenant: str
    actor: str
    actor_tenant: str
    actor_groups: list[str]
    action: AuditAction
    request_id: str
    video_id: str | None
    subject: str | None
    changed: list[str]


class AuditPageBody(BaseModel):
    """A page of entries, newest first.

    Attributes:
        entries: The entries; with filters a page may be short or empty and not be the last.
        next_cursor: ``cursor`` of the next page; ``null`` on the last one.
    """

    entries: list[AuditEntryBody]
    next_cursor: str | None
