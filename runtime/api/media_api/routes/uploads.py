"""Uploads under way: their state, URLs of parts, complete, abort; and what a tenant uses."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from media_api.access import EDITOR, MEMBER, RuledRoute, allow, caller_of
from media_api.answers import json_answer
from media_api.audit import cause_of
from media_api.models import VideoBody
from media_api.openapi import VideoId, problems
from media_api.problems import Kind
from media_api.quotas import Quotas
from media_api.upload_models import (
    LimitBody,
    PartsToSign,
    PartUploadsBody,
    UploadBody,
    UsageBody,
)
from media_api.upload_sessions import UploadSessions

router = APIRouter(prefix="/api", tags=["uploads"], route_class=RuledRoute)

_JSON = "application/json"
_UPLOAD: TypeAdapter[UploadBody] = TypeAdapter(UploadBody)
_ANSWERS = (Kind.FORBIDDEN, Kind.VIDEO_NOT_FOUND, Kind.OTHER_REGION, Kind.NOT_UPLOADING)


@router.get(
    "/videos/{video_id}/upload",
    operation_id="getUpload",
    response_model=UploadBody,
    responses=problems(*_ANSWERS),
)
@allow(EDITOR)
async def get_upload(request: Request, video_id: VideoId) -> Response:
    """Get how the file of a video is uploaded, and which parts arrived."""
    uploads: UploadSessions = request.app.state.uploads
    body = await uploads.state(caller_of(request), video_id)
    return Response(_UPLOAD.dump_json(body), media_type=_JSON)


@router.post(
    "/videos/{video_id}/upload/parts",
    operation_id="signParts",
    response_model=PartUploadsBody,
    responses=problems(*_ANSWERS, Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.INVALID),
)
@allow(EDITOR)
async def sign_parts(request: Request, video_id: VideoId, wanted: PartsToSign) -> Response:
    """Get the URLs to which parts of the file are to be PUT, each with its SHA-256."""
    uploads: UploadSessions = request.app.state.uploads
    body = await uploads.sign_parts(caller_of(request), video_id, wanted)
    return json_answer(body)


@router.post(
    "/videos/{video_id}/upload/complete",
    operation_id="completeUpload",
    response_model=VideoBody,
    responses=problems(*_ANSWERS, Kind.UPLOAD_INCOMPLETE),
)
@allow(EDITOR)
async def complete_upload(request: Request, video_id: VideoId) -> Response:
    """Make the file of the parts that arrived; completing it once more changes nothing."""
    uploads: UploadSessions = request.app.state.uploads
    view = await uploads.complete(caller_of(request), video_id)
    return Response(view.representation.content, media_type=_JSON)


@router.post(
    "/videos/{video_id}/upload/abort",
    operation_id="abortUpload",
    response_model=VideoBody,
    responses=problems(*_ANSWERS, Kind.CHANGED_MEANWHILE),
)
@allow(EDITOR)
async def abort_upload(request: Request, video_id: VideoId) -> Response:
    """Give the upload up, which makes the video FAILED; doing it once more changes nothing."""
    uploads: UploadSessions = request.app.state.uploads
    view = await uploads.abort(cause_of(request), video_id)
    return Response(view.representation.content, media_type=_JSON)


@router.get("/usage", operation_id="getUsage", response_model=UsageBody)
@allow(MEMBER)
async def get_usage(request: Request) -> Response:
    """Get what the tenant uses, and what it may use."""
    quotas: Quotas = request.app.state.quotas
    usage = await quotas.of(caller_of(request).tenant)
    used, quota = usage.used, usage.quota
    body = UsageBody(
        tenant=usage.tenant,
        videos=LimitBody(used=used.videos, limit=quota.videos),
        stored_bytes=LimitBody(used=used.stored_bytes, limit=quota.stored_bytes),
        uploads=LimitBody(used=used.uploads, limit=quota.uploads),
    )
    return json_answer(body)
