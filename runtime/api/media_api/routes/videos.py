"""Videos: create, list, get, delete."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from media_api.access import (
    EDITOR,
    MEMBER,
    MEMBER_OR_PUBLIC,
    RuledRoute,
    allow,
    caller_of,
    viewer_of,
)
from media_api.audit import cause_of
from media_api.idempotency import REPLAYED, Keyed
from media_api.models import (
    CreatedBody,
    ListQuery,
    NewVideo,
    PageBody,
    PublicVideoBody,
    UploadBody,
    VideoBody,
    public_video_body,
    video_body,
)
from media_api.openapi import VideoId, problems
from media_api.problems import Kind
from media_api.videos import Videos, is_of_tenant

router = APIRouter(prefix="/api/videos", tags=["videos"], route_class=RuledRoute)

_JSON = "application/json"
_REVALIDATED = {"Cache-Control": "private, no-cache"}


@router.post(
    "",
    operation_id="createVideo",
    status_code=201,
    response_model=CreatedBody,
    responses=problems(
        Kind.MALFORMED_REQUEST,
        Kind.VIDEO_NOT_FOUND,
        Kind.CHANGED_MEANWHILE,
        Kind.TOO_LARGE,
        Kind.INVALID,
        Kind.KEY_REUSED,
    ),
)
@allow(EDITOR)
async def create_video(request: Request, new: NewVideo, keyed: Keyed) -> Response:
    """Create a video and get the URL to which its file is to be PUT."""
    videos: Videos = request.app.state.videos
    created = await videos.create(cause_of(request), new, keyed)
    view, upload = created.view, created.upload
    body = CreatedBody(
        video=video_body(view.video, view.run),
        upload=UploadBody(
            method="PUT",
            url=upload.url,
            headers=upload.headers,
            expires_at=upload.expires_at,
        ),
    )
    return Response(
        body.model_dump_json(),
        status_code=201,
        headers={
            "Location": f"/api/videos/{view.video.video_id}",
            **(REPLAYED if created.replayed else {}),
        },
        media_type=_JSON,
    )


@router.get(
    "",
    operation_id="listVideos",
    response_model=PageBody,
    responses=problems(Kind.INVALID_CURSOR, Kind.INVALID),
)
@allow(MEMBER)
async def list_videos(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
    """List what the tenant shares, or one's own videos, newest first."""
    videos: Videos = request.app.state.videos
    page = await videos.list(caller_of(request), query)
    body = PageBody(
        videos=[video_body(view.video, view.run) for view in page.views],
        next_cursor=page.next_cursor,
    )
    return Response(body.model_dump_json(), headers=_REVALIDATED, media_type=_JSON)


@router.get(
    "/{video_id}",
    operation_id="getVideo",
    response_model=VideoBody | PublicVideoBody,
    responses={
        304: {"description": "It has not changed since the given ETag"},
        **problems(Kind.VIDEO_NOT_FOUND),
    },
)
@allow(MEMBER_OR_PUBLIC)
async def get_video(request: Request, video_id: VideoId) -> Response:
    """Get a video, with the progress of its transcoding; pollers send If-None-Match.

    A PUBLIC video needs no token. Who is not of its tenant gets less: `PublicVideoBody`.
    """
    videos: Videos = request.app.state.videos
    viewer = viewer_of(request)
    view = await videos.get(viewer, video_id)
    describe = video_body if is_of_tenant(viewer, view.video) else public_video_body
    content = describe(view.video, view.run).model_dump_json().encode()
    # The version alone would hide the progress of the run, which is no change of the video.
    tag = f'"{view.video.version}-{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**_REVALIDATED, "ETag": tag}
    if _matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_JSON)


@router.delete(
    "/{video_id}",
    operation_id="deleteVideo",
    status_code=204,
    response_class=Response,
    responses=problems(Kind.FORBIDDEN, Kind.VIDEO_NOT_FOUND, Kind.CHANGED_MEANWHILE),
)
@allow(MEMBER)
async def delete_video(request: Request, video_id: VideoId) -> Response:
    """Delete a video; deleting it once more changes nothing."""
    videos: Videos = request.app.state.videos
    await videos.delete(cause_of(request), video_id)
    return Response(status_code=204)


def _matches(header: str | None, tag: str) -> bool:
    """Tell whether If-None-Match names an entity tag (RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    given = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in given or tag in given
