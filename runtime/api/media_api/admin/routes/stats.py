"""Numbers: videos by status, bytes and views, of a tenant or of all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from media_api.access import ADMIN, RuledRoute, allow
from media_api.admin.models import StatsBody, StatsQuery, VideoCountsBody
from media_api.admin.scope import scope_of
from media_api.admin.tenants import Tenants
from media_api.answers import json_answer
from media_api.audit import AuditTrail, cause_of
from media_api.openapi import problems
from media_api.problems import Kind
from media_platform.contract.audit import AuditAction
from media_platform.contract.usage import Usage

router = APIRouter(prefix="/api/admin/stats", tags=["stats"], route_class=RuledRoute)


@router.get("", operation_id="getStats", response_model=StatsBody, responses=problems(Kind.INVALID))
@allow(ADMIN)
async def get_stats(request: Request, query: Annotated[StatsQuery, Query()]) -> Response:
    """Get how much there is of what, from counters that every change keeps.

    A tenant is read by one query, so that all of them take as many as there are tenants.
    """
    tenants: Tenants = request.app.state.tenants
    audit: AuditTrail = request.app.state.audit
    scope = scope_of(request)
    of_all = scope.everywhere and query.tenant is None
    tenant = None if of_all else scope.tenant(query.tenant)
    await audit.put(cause_of(request).entry(AuditAction.STATS_READ, tenant=tenant))
    if tenant is None:
        number, usage = await tenants.total()
    else:
        number, usage = 1, sum((await tenants.usage(tenant)).values(), Usage())
    body = StatsBody(
        tenant=tenant,
        tenants=number,
        videos=VideoCountsBody(
            total=usage.videos,
            pending=usage.uploads,
            in_flight=usage.in_flight,
            ready=usage.ready,
            failed=usage.failed,
            deleted=usage.deleted,
        ),
        stored_bytes=usage.stored_bytes,
        views=usage.views,
    )
    return json_answer(body)
