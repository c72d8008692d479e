"""Applications: put handlers, logic and data access together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.types import ASGIApp

from media_api import openapi, tracing
from media_api.access import ANYONE, RuledRoute, allow
from media_api.creation import Creation
from media_api.downloads import Downloads
from media_api.lifecycle import Lifecycle
from media_api.metrics import Metrics
from media_api.middleware import Envelope
from media_api.playback import PlaybackService
from media_api.quotas import Quotas
from media_api.routes import downloads, health, playback, thumbnails, uploads, videos, webhooks
from media_api.thumbnails import Thumbnails
from media_api.tokens import TokenVerifier
from media_api.upload_sessions import UploadSessions
from media_api.videos import Videos
from media_api.webhooks import Webhooks
from media_platform import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_BUSY = frozenset({"getVideo", "getPlayback"})
"""Operations that are called far more often than all others."""

MAX_BODY_BYTES = 64 * 1024
"""Largest request body: metadata only, the files go to S3. A longest description takes 20 KB in
UTF-8, and three times that in escapes."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What every application needs.

    Attributes:
        tokens: Tells who makes a request.
        lifecycle: Whether the process takes requests.
        metrics: Adds up what requests took. Default: nothing does.
    """

    tokens: TokenVerifier
    lifecycle: Lifecycle
    metrics: Metrics | None = None


@dataclass(frozen=True, kw_only=True)
class Services(Guarded):
    """The logic behind the handlers of the API.

    Attributes:
        videos: The videos.
        creation: Creates them.
        uploads: The uploads of their files.
        quotas: What tenants use and may use.
        playback: Grants playback.
        webhooks: The webhooks of tenants.
        thumbnails: The thumbnails.
        downloads: The downloads.
    """

    videos: Videos
    creation: Creation
    uploads: UploadSessions
    quotas: Quotas
    playback: PlaybackService
    webhooks: Webhooks
    thumbnails: Thumbnails
    downloads: Downloads


class _Application(FastAPI):
    """FastAPI with the envelope for its middlewares, which does what they would have done."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return what requests pass before they are routed."""
        state = self.state
        return Envelope(
            self.router,
            lifecycle=state.lifecycle,
            max_body_bytes=state.max_body_bytes,
            metrics=state.metrics,
        )


def create_app(services: Services, spans: TracerProvider | None = None) -> FastAPI:
    """Return the application.

    Args:
        services: The logic behind the handlers.
        spans: Records spans of requests. Default: nothing does.

    Raises:
        TypeError: If a route has no access rule.
    """
    return assemble(
        title="media-platform",
        description="Upload videos, follow their transcoding, and play them.",
        description_path=openapi.PATH,
        routers=[
            health.router,
            videos.router,
            uploads.router,
            playback.router,
            thumbnails.router,
            downloads.router,
            webhooks.router,
        ],
        services=services,
        spans=spans,
    )


def assemble(
    *,
    title: str,
    description: str,
    description_path: str,
    routers: Iterable[APIRouter],
    services: Guarded,
    spans: TracerProvider | None,
) -> FastAPI:
    """Return an application with what every one has: rules, problems, envelope, description.

    Args:
        title: Its title.
        description: What it is for.
        description_path: Where its OpenAPI document is published.
        routers: Its routes.
        services: The logic behind the handlers, which find each part under its name.
        spans: Records spans of requests, if anything does.

    Raises:
        TypeError: If a route has no access rule.
    """
    app = _Application(
        title=title,
        version=__version__,
        description=description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=tracing.telemetry(spans),
    )
    app.router.route_class = RuledRoute
    for part in fields(services):
        setattr(app.state, part.name, getattr(services, part.name))
    app.state.max_body_bytes = MAX_BODY_BYTES
    app.state.description_path = description_path
    for router in routers:
        # Routes are moved, not included: each request then passes one router instead of two.
        app.router.routes.extend(router.routes)
    # They are tried one after the other; no two have a method and a path in common.
    app.router.routes.sort(key=lambda route: getattr(route, "operation_id", None) not in _BUSY)

    @app.get(description_path, include_in_schema=False)
    @allow(ANYONE)
    async def get_description(_request: Request) -> Response:
        return Response(content, media_type="application/json")

    content = json.dumps(openapi.describe(app, openapi.ruled_routes(app)))
    return app
