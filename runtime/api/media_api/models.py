"""Bodies of requests and answers, as clients see them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from media_api.edits import Description, Title
from media_api.rules import RulesBody
from media_api.tags import Tag, Tags
from media_api.upload_models import Sha256, UploadBody
from media_api.whole import WHOLE
from media_platform.contract.jobs import Profile, Quality
from media_platform.contract.media_types import EXTENSIONS, allowed_types
from media_platform.contract.run import Run
from media_platform.contract.thumbnails import MAX_PICTURE_BYTES, ThumbnailStatus
from media_platform.contract.video import Duplicates, Video, VideoStatus, Visibility

FILE_NAME_MAX_CHARACTERS = 255
PAGE_MAX_VIDEOS = 100
PAGE_DEFAULT_VIDEOS = 50


def _accepted_type(content_type: str) -> str:
    if content_type not in EXTENSIONS:
        raise ValueError(f"{content_type[:80]!r} is not accepted; send one of {allowed_types()}")
    return content_type


class NewVideo(BaseModel):
    """A video to be created.

    Attributes:
        title: Title, shown to people.
        file_name: Name of the file; any characters.
        content_type: Content type of the file.
        size_bytes: Size of the file in bytes. An empty file is taken, and fails with its reason as
            any other file does that is no video.
        visibility: Who may play it. Default: the whole tenant.
        description: Description, shown to people. Default: none.
        tags: Its tags, in lower case; blanks around them and repeats are dropped. Default: none.
        sha256: SHA-256 of the file, which S3 then verifies; only of files that are uploaded with
            one PUT. Default: it is not verified.
        duplicates: What becomes of a file that the tenant has already: ``refuse`` or ``keep``.
        rules: What a playback must satisfy besides. Default: nothing.
    """

    model_config = ConfigDict(extra="forbid")

    title: Title
    file_name: Annotated[
        str, Field(min_length=1, max_length=FILE_NAME_MAX_CHARACTERS, examples=["harbour + 1.mp4"])
    ]
    content_type: Annotated[
        str,
        Field(json_schema_extra={"enum": sorted(EXTENSIONS)}, examples=["video/mp4"]),
        AfterValidator(_accepted_type),
    ]
    size_bytes: Annotated[int, Field(strict=True, ge=0, examples=[104857600]), WHOLE]
    visibility: Visibility = Visibility.TENANT
    description: Description = ""
    tags: Tags = []
    sha256: Sha256 | None = None
    duplicates: Duplicates = Duplicates.REFUSE
    rules: RulesBody | None = None


class TranscodeRequest(BaseModel):
    """How a video is to be transcoded again.

    Attributes:
        profile: Which rungs it gets. Default: as it was asked for last.
        quality: How much is spent on every rung. Default: as it was asked for last.
    """

    model_config = ConfigDict(extra="forbid")

    profile: Profile | None = None
    quality: Quality | None = None


class ListQuery(BaseModel):
    """Which videos to list.

    Attributes:
        limit: Most videos of the page.
        cursor: ``next_cursor`` of the page before. Default: the first page.
        status: Only videos with this status. DELETED needs ``owner=me``.
        owner: ``me`` for one's own videos, also the PRIVATE ones. Default: what the tenant shares.
        tag: Only videos with this tag; not together with ``status``.
        visibility: ``PRIVATE`` for one's own PRIVATE videos with a tag; goes with ``owner=me`` and
            ``tag``.
    """

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX_VIDEOS)] = PAGE_DEFAULT_VIDEOS
    cursor: Annotated[str, Field(max_length=200)] | None = None
    status: VideoStatus | None = None
    owner: Literal["me"] | None = None
    tag: Tag | None = None
    visibility: Literal["PRIVATE"] | None = None


class FailureBody(BaseModel):
    """Why a video failed.

    Attributes:
        code: Stable code for programs.
        message: One sentence for people.
    """

    code: str
    message: str


class RenditionBody(BaseModel):
    """One quality in which a video can be played.

    Attributes:
        height: Lines.
        width: Pixels a line.
        frames: Frames published so far.
        bandwidth: Peak bits per second.
        codecs: RFC 6381 codecs.
    """

    height: int
    width: int
    frames: int
    bandwidth: int
    codecs: str


class NextRunBody(BaseModel):
    """A run that will replace what viewers have.

    Attributes:
        progress: Per cent of the frames that are encoded.
        renditions: The qualities it will have, highest first, once planned.
    """

    progress: Annotated[int, Field(ge=0, le=100)]
    renditions: list[RenditionBody]


class PublicVideoBody(BaseModel):
    """A PUBLIC video, as those see it who are not of its tenant.

    Attributes:
        video_id: Its id.
        status: Where it stands.
        title: Title.
        description: Description.
        tags: Its tags, sorted.
        visibility: Who may play it.
        version: Rises with every change.
        created_at: Time of creation.
        updated_at: Time of the last change.
        duration_seconds: Length, once known.
        width: Width of the source in pixels, once known.
        height: Height of the source in pixels, once known.
        playable: Whether playback is granted; it may be before the video is READY.
        progress: Per cent of the frames that are published.
        renditions: The qualities, highest first, once known.
    """

    video_id: str
    status: VideoStatus
    title: str
    description: str
    tags: list[str]
    visibility: Visibility
    version: int
    created_at: str
    updated_at: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    playable: bool
    progress: Annotated[int, Field(ge=0, le=100)]
    renditions: list[RenditionBody]


class VideoBody(PublicVideoBody):
    """A video, as its tenant sees it: what everyone sees of a PUBLIC one, and more.

    Attributes:
        tenant: Tenant it belongs to.
        owner: User who created it.
        file_name: Name of the file at the uploader's.
        content_type: Content type of the file.
        size_bytes: Size of the file in bytes.
        failure: Why it failed, if it did.
        held_back: Why its transcoding waits: ``daily_budget`` if the tenant spent what it may of
            the day; it begins on the next, or once an operator lets it.
        checksum_sha256: SHA-256 of the file as S3 computed it, once uploaded: base64, or for a
            multipart upload the composite ``<base64>-<parts>``.
        duplicate_of: The video that has the same file, if it was refused for that.
        next_run: The run that replaces what viewers have, while a READY video is transcoded again.
        profile: Ladder of the run that was asked for last.
        quality: Quality of that run.
        deleted_at: Time of deletion; lists of one's own DELETED videos alone have any.
        restorable_until: Time until which it may be restored.
        rules: What a playback must satisfy, for those who may change the video.
    """

    tenant: str
    owner: str
    file_name: str
    content_type: str
    size_bytes: int
    failure: FailureBody | None
    held_back: str | None
    checksum_sha256: str | None
    duplicate_of: str | None
    next_run: NextRunBody | None
    profile: Profile
    quality: Quality
    deleted_at: str | None
    restorable_until: str | None
    rules: RulesBody | None


class CreatedBody(BaseModel):
    """A video and how to upload its file.

    Attributes:
        video: The video.
        upload: The upload; ``null`` if no file is needed any more.
    """

    video: VideoBody
    upload: UploadBody | None


class PageBody(BaseModel):
    """A page of videos.

    Attributes:
        videos: The videos, newest first.
        next_cursor: ``cursor`` of the next page; ``null`` on the last one.
    """

    videos: list[VideoBody]
    next_cursor: str | None


def _either(name: str, kind: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": kind}}}


class NewThumbnail(BaseModel):
    """What is to be the thumbnail: a frame, or a picture that was uploaded.

    Attributes:
        at_seconds: Second of the video whose frame it is.
        upload_id: Id of the picture.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [_either("at_seconds", "number"), _either("upload_id", "string")]
        },
    )

    at_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False, examples=[12.5])] | None = None
    upload_id: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.at_seconds is None) == (self.upload_id is None):
            raise ValueError("exactly one of at_seconds and upload_id is needed")
        return self


class NewPicture(BaseModel):
    """What a client says of a picture that it wants to upload.

    Attributes:
        content_type: Content type of the picture.
        size_bytes: Size of the picture.
    """

    model_config = ConfigDict(extra="forbid")

    content_type: Literal["image/jpeg", "image/png", "image/webp"]
    size_bytes: Annotated[int, Field(strict=True, ge=1, le=MAX_PICTURE_BYTES), WHOLE]


class ThumbnailBody(BaseModel):
    """Where the last request for a thumbnail stands, and the picture that is shown at present.

    Attributes:
        video_id: The video.
        thumbnail_id: Id of the request.
        status: Where it stands. NONE: nothing was asked for, or the poster.
        at_seconds: Second of the video whose frame was asked for.
        upload_id: Id of the picture that was asked for.
        requested_at: Time of the request.
        failure: Why it was given up, if it was.
        chosen: Whether a thumbnail is shown, and not the poster.
        url: The picture that is shown, signed for itself alone, if there is one yet.
        expires_at: Time after which the URL is not accepted.
    """

    video_id: str
    thumbnail_id: str | None
    status: ThumbnailStatus
    at_seconds: float | None
    upload_id: str | None
    requested_at: str | None
    failure: FailureBody | None
    chosen: bool
    url: str | None
    expires_at: str | None


class PictureUploadBody(BaseModel):
    """How to upload a picture, and how to name it then.

    Attributes:
        upload_id: Id by which it is chosen.
        method: HTTP method.
        url: Where to send it.
        headers: Headers to send exactly so.
        expires_at: Time after which the URL is refused.
    """

    upload_id: str
    method: Literal["PUT"]
    url: str
    headers: dict[str, str]
    expires_at: str


class PlaybackBody(BaseModel):
    """How to play a video.

    Attributes:
        video_id: The video.
        run_id: The run that is played.
        status: Where the video stands.
        playlist_url: HLS multivariant playlist; needs the cookies.
        cookies: The cookies, which the answer also sets.
        signed_playlist_url: The same playlist for players without cookies.
        poster_url: Poster image, signed.
        expires_at: Time after which none of it is accepted.
    """

    video_id: str
    run_id: str
    status: VideoStatus
    playlist_url: str
    cookies: dict[str, str]
    signed_playlist_url: str
    poster_url: str
    expires_at: str


class ViewsBody(BaseModel):
    """How often a video was viewed.

    Attributes:
        video_id: The video.
        views: How often playback was granted.
    """

    video_id: str
    views: int


class HealthBody(BaseModel):
    """A sign of life.

    Attributes:
        status: Always ``ok``.
    """

    status: Literal["ok"] = "ok"


def is_playable(video: Video, run: Run | None) -> bool:
    """Tell whether a video can be played: it is READY, or its run says that enough is there."""
    if video.current_run is None:
        return False
    if video.status is VideoStatus.READY:
        return True
    return video.status is VideoStatus.PROCESSING and bool(run and run.playable_at)


def _waits(video: Video) -> bool:
    """Tell whether a run was asked for that no worker took."""
    return video.status is VideoStatus.UPLOADED or video.next_run is not None


def video_body(
    video: Video, run: Run | None, next_run: Run | None = None, *, with_rules: bool
) -> VideoBody:
    """Return a video as its tenant sees it.

    Args:
        video: The video.
        run: Its current run, if a worker took it.
        next_run: The run that will replace it, if a worker took it.
        with_rules: Whether its rules are told.
    """
    failure = video.failure
    return VideoBody(
        video_id=video.video_id,
        status=video.status,
        title=video.title,
        description=video.description,
        tags=list(video.tags),
        file_name=video.file_name,
        content_type=video.content_type,
        size_bytes=video.size_bytes,
        visibility=video.visibility,
        owner=video.owner,
        tenant=video.tenant,
        version=video.version,
        created_at=video.created_at,
        updated_at=video.updated_at,
        duration_seconds=video.duration_seconds,
        width=video.width,
        height=video.height,
        failure=FailureBody(code=failure.code, message=failure.message) if failure else None,
        held_back=video.held_back if _waits(video) else None,
        playable=is_playable(video, run),
        progress=_progress(video, run),
        renditions=_renditions(run),
        checksum_sha256=video.checksum_sha256,
        duplicate_of=video.duplicate_of,
        next_run=(
            NextRunBody(
                progress=next_run.progress if next_run else 0, renditions=_renditions(next_run)
            )
            if video.next_run
            else None
        ),
        profile=video.profile,
        quality=video.quality,
        deleted_at=video.deleted_at,
        restorable_until=video.restorable_until,
        rules=RulesBody.of(video.rules) if with_rules else None,
    )


def public_video_body(video: Video, run: Run | None) -> PublicVideoBody:
    """Return a PUBLIC video as those see it who are not of its tenant.

    Args:
        video: The video.
        run: Its current run, if a worker took it.
    """
    known = video_body(video, run, with_rules=False)
    return PublicVideoBody(**known.model_dump(include=set(PublicVideoBody.model_fields)))


def _renditions(run: Run | None) -> list[RenditionBody]:
    return [
        RenditionBody(
            height=rendition.height,
            width=rendition.width,
            frames=rendition.frames,
            bandwidth=rendition.bandwidth,
            codecs=rendition.codecs,
        )
        for rendition in (run.renditions if run else ())
    ]


def _progress(video: Video, run: Run | None) -> int:
    if video.status is VideoStatus.READY:
        return 100
    return run.progress if run else 0
