"""Downloads: ask for a file of a rendition, and get its URL."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from media_api.access import EDITOR, MEMBER_OR_PUBLIC, RuledRoute, allow, viewer_of
from media_api.answers import json_answer
from media_api.audit import cause_of
from media_api.download_models import (
    DownloadBody,
    DownloadsBody,
    DownloadStateBody,
    DownloadStatus,
    NewDownload,
)
from media_api.downloads import Downloads
from media_api.idempotency import REPLAYED, Keyed
from media_api.openapi import VideoId, problems
from media_api.problems import Kind
from media_api.routes.playback import log_grant
from media_api.rules import Client

router = APIRouter(prefix="/api/videos", tags=["downloads"], route_class=RuledRoute)


@router.get(
    "/{video_id}/downloads",
    operation_id="listDownloads",
    response_model=DownloadsBody,
    responses=problems(Kind.PLAYBACK_RESTRICTED, Kind.VIDEO_NOT_FOUND, Kind.NOT_PLAYABLE),
)
@allow(MEMBER_OR_PUBLIC)
async def list_downloads(request: Request, video_id: VideoId) -> Response:
    """List the files that were asked for, with the URL of those that are there.

    Who may play the video may load them down; a PUBLIC video needs no token.
    """
    service: Downloads = request.app.state.downloads
    client = Client.of(request.headers)
    found = await service.list(viewer_of(request), video_id, client)
    admission = found.admission
    if any(url is not None for _, url in found.downloads):
        log_grant(
            request, client, "downloads", admission.video, admission.keys, admission.expires_at
        )
    body = DownloadsBody(
        video_id=video_id,
        run_id=admission.keys.run_id,
        downloads=[
            DownloadBody(
                **dict(state),
                url=url,
                expires_at=None if url is None else admission.expires,
            )
            for state, url in found.downloads
        ],
    )
    return json_answer(body)


@router.post(
    "/{video_id}/downloads",
    operation_id="requestDownload",
    status_code=202,
    response_model=DownloadStateBody,
    responses={
        200: {"description": "The file is there", "model": DownloadStateBody},
        **problems(
            Kind.MALFORMED_REQUEST,
            Kind.FORBIDDEN,
            Kind.VIDEO_NOT_FOUND,
            Kind.NOT_DOWNLOADABLE,
            Kind.OTHER_REGION,
            Kind.CHANGED_MEANWHILE,
            Kind.TOO_LARGE,
            Kind.KEY_REUSED,
            Kind.INVALID,
        ),
    },
)
@allow(EDITOR)
async def request_download(
    request: Request, video_id: VideoId, wanted: NewDownload, keyed: Keyed
) -> Response:
    """Ask for one file with the picture of a rendition and the first sound track.

    Asking again changes nothing, unless it was given up.
    """
    service: Downloads = request.app.state.downloads
    made = await service.request(cause_of(request), video_id, wanted, keyed)
    return json_answer(
        made.state,
        status=200 if made.state.status is DownloadStatus.READY else 202,
        headers=REPLAYED if made.replayed else None,
    )
