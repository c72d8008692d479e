"""Thumbnails: choose a frame or a picture, follow it, go back to the poster."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from media_api.access import MEMBER, RuledRoute, allow, caller_of
from media_api.answers import json_answer
from media_api.audit import cause_of
from media_api.idempotency import Keyed
from media_api.models import (
    FailureBody,
    NewPicture,
    NewThumbnail,
    PictureUploadBody,
    ThumbnailBody,
)
from media_api.openapi import VideoId, problems
from media_api.problems import Kind
from media_api.signing import time_of
from media_api.thumbnails import Thumbnails, ThumbnailView
from media_platform.contract.thumbnails import ThumbnailStatus

router = APIRouter(prefix="/api/videos", tags=["thumbnails"], route_class=RuledRoute)


@router.get(
    "/{video_id}/thumbnail",
    operation_id="getThumbnail",
    response_model=ThumbnailBody,
    responses=problems(Kind.VIDEO_NOT_FOUND),
)
@allow(MEMBER)
async def get_thumbnail(request: Request, video_id: VideoId) -> Response:
    """Get where the last request for a thumbnail stands, and the picture that is shown now."""
    thumbnails: Thumbnails = request.app.state.thumbnails
    view = await thumbnails.get(caller_of(request), video_id)
    return json_answer(_body(view))


@router.put(
    "/{video_id}/thumbnail",
    operation_id="chooseThumbnail",
    status_code=202,
    response_model=ThumbnailBody,
    responses=problems(
        Kind.MALFORMED_REQUEST,
        Kind.VIDEO_NOT_FOUND,
        Kind.NOT_PLAYABLE,
        Kind.OTHER_REGION,
        Kind.CHANGED_MEANWHILE,
        Kind.TOO_LARGE,
        Kind.INVALID,
    ),
)
@allow(MEMBER)
async def choose_thumbnail(request: Request, video_id: VideoId, new: NewThumbnail) -> Response:
    """Let a frame of the video, or a picture that was uploaded, be its thumbnail.

    It is made within seconds where workers run; the picture before is shown until then.
    """
    thumbnails: Thumbnails = request.app.state.thumbnails
    view = await thumbnails.choose(cause_of(request), video_id, new)
    return json_answer(_body(view), status=202)


@router.delete(
    "/{video_id}/thumbnail",
    operation_id="removeThumbnail",
    status_code=204,
    response_class=Response,
    responses=problems(Kind.VIDEO_NOT_FOUND, Kind.OTHER_REGION, Kind.CHANGED_MEANWHILE),
)
@allow(MEMBER)
async def remove_thumbnail(request: Request, video_id: VideoId) -> Response:
    """Show the poster again; repeating it changes nothing."""
    thumbnails: Thumbnails = request.app.state.thumbnails
    await thumbnails.remove(cause_of(request), video_id)
    return Response(status_code=204)


@router.post(
    "/{video_id}/thumbnail/upload",
    operation_id="uploadThumbnail",
    response_model=PictureUploadBody,
    responses=problems(
        Kind.MALFORMED_REQUEST,
        Kind.VIDEO_NOT_FOUND,
        Kind.OTHER_REGION,
        Kind.TOO_LARGE,
        Kind.INVALID,
    ),
)
@allow(MEMBER)
async def upload_thumbnail(
    request: Request,
    video_id: VideoId,
    new: NewPicture,
    _keyed: Keyed,
) -> Response:
    """Get the URL to which a picture is to be PUT, and the id by which it is chosen then.

    Nothing is written, so that a repeated request gets another URL, whatever its key.
    """
    thumbnails: Thumbnails = request.app.state.thumbnails
    made = await thumbnails.upload(caller_of(request), video_id, new)
    body = PictureUploadBody(
        upload_id=made.upload_id,
        method="PUT",
        url=made.upload.url,
        headers=made.upload.headers,
        expires_at=made.expires_at,
    )
    return json_answer(body)


def _body(view: ThumbnailView) -> ThumbnailBody:
    asked, url = view.request, view.url
    failure = asked.failure if asked else None
    return ThumbnailBody(
        video_id=view.video.video_id,
        thumbnail_id=asked.thumbnail_id if asked else None,
        status=asked.status if asked else ThumbnailStatus.NONE,
        at_seconds=asked.at_seconds if asked else None,
        upload_id=asked.upload_id if asked else None,
        requested_at=asked.requested_at if asked else None,
        failure=FailureBody(code=failure.code, message=failure.message) if failure else None,
        chosen=view.video.thumbnail is not None,
        url=None if url is None else url.url,
        expires_at=None if url is None else time_of(url.expires_at),
    )
