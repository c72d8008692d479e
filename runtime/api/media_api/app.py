"""The application: puts handlers, logic and data access together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response

from media_api import openapi, problems, tracing
from media_api.access import ANYONE, RuledRoute, allow
from media_api.lifecycle import Lifecycle
from media_api.middleware import Envelope
from media_api.playback import PlaybackService
from media_api.routes import health, playback, videos
from media_api.tokens import TokenVerifier
from media_api.videos import Videos
from media_platform import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

MAX_BODY_BYTES = 16 * 1024
"""Largest request body: metadata only, the files go to S3."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The logic behind the handlers.

    Attributes:
        tokens: Tells who makes a request.
        videos: The videos.
        playback: Grants playback.
        lifecycle: Whether the process takes requests.
    """

    tokens: TokenVerifier
    videos: Videos
    playback: PlaybackService
    lifecycle: Lifecycle


def create_app(services: Services, spans: TracerProvider | None = None) -> FastAPI:
    """Return the application.

    Args:
        services: The logic behind the handlers.
        spans: Records spans of requests. Default: nothing does.

    Raises:
        TypeError: If a route has no access rule.
    """
    app = FastAPI(
        title="media-platform",
        version=__version__,
        description="Upload videos, follow their transcoding, and play them.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=tracing.telemetry(spans),
    )
    app.router.route_class = RuledRoute
    app.state.tokens = services.tokens
    app.state.videos = services.videos
    app.state.playback = services.playback
    app.state.lifecycle = services.lifecycle
    app.state.max_body_bytes = MAX_BODY_BYTES
    problems.install(app)
    app.add_middleware(Envelope, lifecycle=services.lifecycle, max_body_bytes=MAX_BODY_BYTES)
    for module in (health, videos, playback):
        # Routes are moved, not included: each request then passes one router instead of two.
        app.router.routes.extend(module.router.routes)

    @app.get(openapi.PATH, include_in_schema=False)
    @allow(ANYONE)
    async def get_description(_request: Request) -> Response:
        return Response(description, media_type="application/json")

    description = json.dumps(openapi.describe(app, openapi.ruled_routes(app)))
    return app
