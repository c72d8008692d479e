"""The application of the admin service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI

from media_api.admin.jobs import Jobs
from media_api.admin.routes import audit, jobs, stats, tenants, users, videos
from media_api.admin.tenants import Tenants
from media_api.admin.users import Users
from media_api.admin.videos import AdminVideos
from media_api.app import Guarded, assemble
from media_api.audit import AuditTrail
from media_api.routes import health

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

DESCRIPTION_PATH = "/api/admin/openapi.json"
"""Where the description is published."""


@dataclass(frozen=True, kw_only=True)
class AdminServices(Guarded):
    """The logic behind the handlers of the admin service.

    Attributes:
        operator_tenant: Tenant whose administrators are operators, or ``identity.NOBODY``.
        users: The users.
        tenants: The tenants.
        videos: The videos.
        jobs: The queues of jobs.
        audit: Who did what.
    """

    operator_tenant: str
    users: Users
    tenants: Tenants
    videos: AdminVideos
    jobs: Jobs
    audit: AuditTrail


def create_app(services: AdminServices, spans: TracerProvider | None = None) -> FastAPI:
    """Return the application.

    Args:
        services: The logic behind the handlers.
        spans: Records spans of requests. Default: nothing does.

    Raises:
        TypeError: If a route has no access rule.
    """
    return assemble(
        title="media-platform admin",
        description="Administer the users, tenants, videos and jobs of a stage.",
        description_path=DESCRIPTION_PATH,
        routers=[
            health.router,
            users.router,
            tenants.router,
            stats.router,
            videos.router,
            jobs.router,
            audit.router,
        ],
        services=services,
        spans=spans,
    )
