"""Videos: create, list, get, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from media_api import openapi
from media_api.access import (
    EDITOR,
    MEMBER,
    MEMBER_OR_PUBLIC,
    RuledRoute,
    allow,
    caller_of,
    viewer_of,
)
from media_api.answers import json_answer
from media_api.audit import cause_of
from media_api.creation import FOUND, Creation
from media_api.edits import VideoPatch, VideoUpdate
from media_api.idempotency import REPLAYED, Keyed
from media_api.models import (
    CreatedBody,
    ListQuery,
    NewVideo,
    PageBody,
    PublicVideoBody,
    TranscodeRequest,
    VideoBody,
    video_body,
)
from media_api.openapi import IfMatch, VideoId, problems
from media_api.problems import Kind
from media_api.representation import REVALIDATED, PreparedResponse, Representation, is_known
from media_api.videos import Changed, Videos

router = APIRouter(prefix="/api/videos", tags=["videos"], route_class=RuledRoute)

_JSON = "application/json"
_CHANGING = (
    Kind.FORBIDDEN,
    Kind.VIDEO_NOT_FOUND,
    Kind.OTHER_REGION,
    Kind.CHANGED_MEANWHILE,
    Kind.PRECONDITION_FAILED,
)
"""Why a change may be refused."""

_ACTING = (
    Kind.FORBIDDEN,
    Kind.VIDEO_NOT_FOUND,
    Kind.OTHER_REGION,
    Kind.CHANGED_MEANWHILE,
    Kind.KEY_REUSED,
    Kind.INVALID,
)
"""Why something may not be done with a video."""

_REVALIDATED = {"Cache-Control": REVALIDATED}


@router.post(
    "",
    operation_id="createVideo",
    status_code=201,
    response_model=CreatedBody,
    responses={
        FOUND: {
            "model": CreatedBody,
            "description": "The tenant has the file already: the video that has it",
        },
        **problems(
            Kind.MALFORMED_REQUEST,
            Kind.VIDEO_NOT_FOUND,
            Kind.QUOTA_EXCEEDED,
            Kind.TOO_LARGE,
            Kind.INVALID,
            Kind.KEY_REUSED,
        ),
    },
)
@allow(EDITOR)
async def create_video(request: Request, new: NewVideo, keyed: Keyed) -> Response:
    """Create a video and get how its file is to be uploaded: with one PUT, or in parts."""
    creation: Creation = request.app.state.creation
    created = await creation.create(cause_of(request), new, keyed)
    view = created.view
    body = CreatedBody(
        video=video_body(view.video, view.run, view.next_run, with_rules=view.may_change),
        upload=created.upload,
    )
    return json_answer(
        body,
        status=created.status,
        headers={
            "Location": f"/api/videos/{view.video.video_id}",
            **(REPLAYED if created.replayed else {}),
        },
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
        videos=[
            video_body(view.video, view.run, view.next_run, with_rules=view.may_change)
            for view in page.views
        ],
        next_cursor=page.next_cursor,
    )
    return json_answer(body, headers=_REVALIDATED)


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
    representation = (await videos.get(viewer_of(request), video_id)).representation
    if is_known(request.headers.get("if-none-match"), representation.entity_tag):
        headers = {**_REVALIDATED, "ETag": representation.entity_tag}
        return Response(status_code=304, headers=headers)
    return PreparedResponse(representation.content, representation.headers)


@router.put(
    "/{video_id}",
    operation_id="replaceVideo",
    response_model=VideoBody,
    responses=problems(*_CHANGING, Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.INVALID),
)
@allow(MEMBER)
async def replace_video(
    request: Request, video_id: VideoId, update: VideoUpdate, if_match: IfMatch = None
) -> Response:
    """Replace everything that people may change about a video."""
    videos: Videos = request.app.state.videos
    view = await videos.update(cause_of(request), video_id, update, if_match=if_match)
    return PreparedResponse(view.representation.content, view.representation.headers)


@router.patch(
    "/{video_id}",
    operation_id="updateVideo",
    response_model=VideoBody,
    responses=problems(*_CHANGING, Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.INVALID),
    openapi_extra=openapi.also_as("application/merge-patch+json", VideoPatch),
)
@allow(MEMBER)
async def update_video(
    request: Request, video_id: VideoId, patch: VideoPatch, if_match: IfMatch = None
) -> Response:
    """Change some of what people may change about a video, by a JSON merge patch (RFC 7396)."""
    videos: Videos = request.app.state.videos
    view = await videos.update(cause_of(request), video_id, patch, if_match=if_match)
    return PreparedResponse(view.representation.content, view.representation.headers)


@router.delete(
    "/{video_id}",
    operation_id="deleteVideo",
    status_code=204,
    response_class=Response,
    responses=problems(
        Kind.FORBIDDEN, Kind.VIDEO_NOT_FOUND, Kind.OTHER_REGION, Kind.CHANGED_MEANWHILE
    ),
)
@allow(MEMBER)
async def delete_video(request: Request, video_id: VideoId) -> Response:
    """Delete a video; deleting it once more changes nothing."""
    videos: Videos = request.app.state.videos
    await videos.delete(cause_of(request), video_id)
    return Response(status_code=204)


@router.post(
    "/{video_id}/restore",
    operation_id="restoreVideo",
    response_model=VideoBody,
    responses=problems(*_ACTING, Kind.NOT_RESTORABLE),
)
@allow(MEMBER)
async def restore_video(request: Request, video_id: VideoId, keyed: Keyed) -> Response:
    """Restore a deleted video; one that is not deleted stays as it is."""
    videos: Videos = request.app.state.videos
    return _answer_change(await videos.restore(cause_of(request), video_id, keyed))


@router.post(
    "/{video_id}/transcode",
    operation_id="transcodeVideo",
    status_code=202,
    response_model=VideoBody,
    responses=problems(*_ACTING, Kind.NOT_TRANSCODABLE, Kind.MALFORMED_REQUEST, Kind.TOO_LARGE),
)
@allow(EDITOR)
async def transcode_video(
    request: Request, video_id: VideoId, wanted: TranscodeRequest, keyed: Keyed
) -> Response:
    """Transcode a video again; viewers keep what they have until the new run is complete."""
    videos: Videos = request.app.state.videos
    changed = await videos.transcode(cause_of(request), video_id, wanted, keyed)
    return _answer_change(changed, status=202)


@router.post(
    "/{video_id}/transcode/cancel",
    operation_id="cancelTranscoding",
    response_model=VideoBody,
    responses=problems(*_ACTING, Kind.NOT_TRANSCODING),
)
@allow(EDITOR)
async def cancel_transcoding(request: Request, video_id: VideoId, keyed: Keyed) -> Response:
    """End the transcoding of a video: a READY one stays as it is, another becomes FAILED."""
    videos: Videos = request.app.state.videos
    return _answer_change(await videos.cancel(cause_of(request), video_id, keyed))


def _answer_change(changed: Changed, *, status: int = 200) -> Response:
    answer = _answer(changed.view.representation, status=status)
    if changed.replayed:
        answer.headers.update(REPLAYED)
    return answer


def _answer(representation: Representation, *, status: int = 200) -> Response:
    return Response(
        representation.content,
        status_code=status,
        headers={**_REVALIDATED, "ETag": representation.entity_tag},
        media_type=_JSON,
    )
