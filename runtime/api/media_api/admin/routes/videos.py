"""Videos as administrators see them: any, and how they are deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from media_api.access import ADMIN, RuledRoute, allow
from media_api.admin.models import AdminPageBody, AdminVideoBody, PurgeBody, VideoQuery
from media_api.admin.scope import scope_of
from media_api.admin.videos import AdminVideos, AnyVideo
from media_api.answers import json_answer
from media_api.audit import AuditTrail, cause_of
from media_api.models import video_body
from media_api.openapi import VideoId, problems
from media_api.problems import Kind
from media_platform.contract.audit import AuditAction

router = APIRouter(prefix="/api/admin/videos", tags=["videos"], route_class=RuledRoute)


@router.get(
    "",
    operation_id="listAnyVideos",
    response_model=AdminPageBody,
    responses=problems(Kind.INVALID_CURSOR, Kind.INVALID),
)
@allow(ADMIN)
async def list_videos(request: Request, query: Annotated[VideoQuery, Query()]) -> Response:
    """List the videos of a tenant, PRIVATE ones, too, newest first."""
    tenant = scope_of(request).tenant(query.tenant)
    entry = cause_of(request).entry(AuditAction.VIDEOS_LISTED, tenant=tenant)
    await _audit(request).put(entry)
    page = await _videos(request).list(
        tenant, owner=query.owner, status=query.status, limit=query.limit, cursor=query.cursor
    )
    body = AdminPageBody(
        videos=[_body(found) for found in page.found], next_cursor=page.next_cursor
    )
    return json_answer(body)


@router.get(
    "/{video_id}",
    operation_id="getAnyVideo",
    response_model=AdminVideoBody,
    responses=problems(Kind.VIDEO_NOT_FOUND),
)
@allow(ADMIN)
async def get_video(request: Request, video_id: VideoId) -> Response:
    """Get a video, whoever may see it, deleted or not."""
    found = await _videos(request).get(scope_of(request), video_id)
    entry = cause_of(request).entry(
        AuditAction.VIDEO_READ, tenant=found.video.tenant, video_id=found.video.video_id
    )
    await _audit(request).put(entry)
    return json_answer(_body(found))


@router.delete(
    "/{video_id}",
    operation_id="forceDeleteVideo",
    status_code=202,
    response_model=PurgeBody,
    responses=problems(Kind.VIDEO_NOT_FOUND, Kind.OTHER_REGION, Kind.CHANGED_MEANWHILE),
)
@allow(ADMIN)
async def delete_video(request: Request, video_id: VideoId) -> Response:
    """Delete a video for good, whoever owns it: nobody can restore it, and it is purged at once.

    One that was deleted before is purged now and not at the end of its time; asking once more
    changes nothing.
    """
    times = await _videos(request).purge(cause_of(request), scope_of(request), video_id)
    body = PurgeBody(video_id=video_id, purge_from=times.purge_from, expected_by=times.expected_by)
    return json_answer(body, status=202)


def _videos(request: Request) -> AdminVideos:
    videos: AdminVideos = request.app.state.videos
    return videos


def _audit(request: Request) -> AuditTrail:
    audit: AuditTrail = request.app.state.audit
    return audit


def _body(found: AnyVideo) -> AdminVideoBody:
    video = found.video
    return AdminVideoBody(
        **video_body(video, found.run, with_rules=True).model_dump(),
        home_region=video.home_region,
        raw_key=video.raw_key,
        uploaded_at=video.uploaded_at,
        ready_at=video.ready_at,
        deleted_by=video.deleted_by,
        current_run=video.current_run,
    )
