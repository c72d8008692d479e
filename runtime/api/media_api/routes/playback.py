"""Playback: grants, and playlists for players without cookies."""

from __future__ import annotations

import gzip
from functools import lru_cache
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from media_api.access import (
    MEMBER,
    MEMBER_OR_PUBLIC,
    SIGNED_RUN,
    RuledRoute,
    allow,
    caller_of,
    viewer_of,
)
from media_api.answers import json_answer
from media_api.logs import grant_log
from media_api.models import PlaybackBody, ViewsBody
from media_api.openapi import PlaylistPath, RunId, VideoId, problems, signature_parameters
from media_api.playback import PlaybackService, signed_playlist_url
from media_api.problems import Kind
from media_api.representation import PreparedResponse, json_headers
from media_api.rules import Client
from media_api.signing import Grant, time_of
from media_platform.contract.object_keys import RunKeys
from media_platform.contract.video import Video, VideoStatus

router = APIRouter(prefix="/api/videos", tags=["playback"], route_class=RuledRoute)

HLS_MEDIA_TYPE = "application/vnd.apple.mpegurl"
_WORTH_COMPRESSING_BYTES = 1024
_KEPT_ANSWERS = 2048


@router.get(
    "/{video_id}/playback",
    operation_id="getPlayback",
    response_model=PlaybackBody,
    responses=problems(Kind.PLAYBACK_RESTRICTED, Kind.VIDEO_NOT_FOUND, Kind.NOT_PLAYABLE),
)
@allow(MEMBER_OR_PUBLIC)
async def get_playback(request: Request, video_id: VideoId) -> Response:
    """Get playback URLs and cookies that admit everything of the video's current run.

    A PUBLIC video needs no token.
    """
    service: PlaybackService = request.app.state.playback
    client = Client.of(request.headers)
    playback = await service.grant(viewer_of(request), video_id, client)
    video, grant = playback.video, playback.grant
    log_grant(request, client, "playback", video, grant.keys, grant.expires_at)
    return PreparedResponse(*_written(grant, video.status, playback.poster_url))


def log_grant(  # noqa: PLR0917
    request: Request, client: Client, what: str, video: Video, keys: RunKeys, expires_at: int
) -> None:
    """Write the audit line of what a request was granted.

    Args:
        request: The request, on a route that takes a token.
        client: Where it comes from.
        what: What was granted.
        video: The video.
        keys: The run.
        expires_at: Unix seconds at which it ends.
    """
    viewer = viewer_of(request)
    grant_log.write(
        what,
        user=viewer.user if viewer else "anonymous",
        user_tenant=viewer.tenant if viewer else None,
        tenant=video.tenant,
        video_id=video.video_id,
        run_id=keys.run_id,
        address=client.address,
        referrer=client.referrer,
        expires_at=expires_at,
        request_id=request.scope["request_id"],
        trace_id=request.scope["trace"].trace_id,
    )


@lru_cache(_KEPT_ANSWERS)
def _written(
    grant: Grant, status: VideoStatus, poster_url: str
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return the body of a grant and its headers, which set its cookies; equal ones are kept."""
    keys = grant.keys
    body = PlaybackBody(
        video_id=keys.video_id,
        run_id=keys.run_id,
        status=status,
        playlist_url=f"{grant.base_url}/{keys.master_playlist}",
        cookies=grant.cookies,
        signed_playlist_url=signed_playlist_url(grant),
        poster_url=poster_url,
        expires_at=time_of(grant.expires_at),
    )
    # Session cookies without Domain: only this origin gets them, and they end with the browser.
    secure = "; Secure" if grant.base_url.startswith("https:") else ""
    attributes = f"Path=/{keys.prefix}; HttpOnly; SameSite=Lax{secure}"
    cookies = (f"{name}={value}; {attributes}" for name, value in grant.cookies.items())
    content = body.model_dump_json().encode()
    return content, [*json_headers(content), *((b"set-cookie", c.encode()) for c in cookies)]


@router.get(
    "/{video_id}/views",
    operation_id="getViews",
    response_model=ViewsBody,
    responses=problems(Kind.VIDEO_NOT_FOUND),
)
@allow(MEMBER)
async def get_views(request: Request, video_id: VideoId) -> Response:
    """Get how often playback was granted, in all regions; it follows by a few seconds."""
    service: PlaybackService = request.app.state.playback
    views = await service.views(caller_of(request), video_id)
    body = ViewsBody(video_id=video_id, views=views)
    return json_answer(body)


@router.get(
    "/{video_id}/runs/{run_id}/hls/{path:path}",
    operation_id="getSignedPlaylist",
    response_class=Response,
    responses={
        200: {
            "description": "The playlist, every URI of it signed",
            "content": {HLS_MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **problems(Kind.INVALID_SIGNATURE, Kind.NOT_FOUND, Kind.UNAVAILABLE),
    },
    openapi_extra={"parameters": signature_parameters()},
)
@allow(SIGNED_RUN)
async def get_signed_playlist(
    request: Request, video_id: VideoId, run_id: RunId, path: PlaylistPath
) -> Response:
    """Get a playlist of a run for players without cookies; the signature is the permission."""
    service: PlaybackService = request.app.state.playback
    parameters = parse_qs(request.url.query, keep_blank_values=True)
    playlist = await service.playlist(
        video_id, run_id, path, parameters, address=Client.of(request.headers).address
    )
    caching = f"private, max-age={playlist.cache_seconds}" if playlist.cache_seconds else "no-cache"
    headers = {"Cache-Control": caching, "Vary": "Accept-Encoding"}
    content = playlist.text.encode()
    # A signature stands in every line, so that a long playlist shrinks to a hundredth.
    if len(content) >= _WORTH_COMPRESSING_BYTES and _takes_gzip(request):
        content = gzip.compress(content, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=HLS_MEDIA_TYPE)


def _takes_gzip(request: Request) -> bool:
    codings = request.headers.get("accept-encoding", "").lower().split(",")
    for coding in codings:
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
