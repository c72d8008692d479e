"""The audit trail: who did what to the data of a tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from media_api.access import ADMIN, RuledRoute, allow
from media_api.admin.models import AuditEntryBody, AuditPageBody, AuditQuery
from media_api.admin.scope import scope_of
from media_api.answers import json_answer
from media_api.audit import AuditTrail, cause_of
from media_api.cursors import InvalidCursorError
from media_api.openapi import problems
from media_api.problems import Kind, Problem
from media_platform.contract.audit import AuditAction, AuditEntry

router = APIRouter(prefix="/api/admin/audit", tags=["audit"], route_class=RuledRoute)


@router.get(
    "",
    operation_id="searchAudit",
    response_model=AuditPageBody,
    responses=problems(Kind.INVALID_CURSOR, Kind.INVALID),
)
@allow(ADMIN)
async def search_audit(request: Request, query: Annotated[AuditQuery, Query()]) -> Response:
    """Search what was done on a day, newest first.

    Entries stand by tenant and day; what else is asked for is looked for within the page, so that
    pages may be short or empty and not be the last.
    """
    tenant = scope_of(request).tenant(query.tenant)
    audit: AuditTrail = request.app.state.audit
    await audit.put(cause_of(request).entry(AuditAction.AUDIT_READ, tenant=tenant))
    try:
        page = await audit.entries(tenant, query.day.isoformat(), query.cursor, limit=query.limit)
    except InvalidCursorError as error:
        raise Problem(
            Kind.INVALID_CURSOR,
            f"{error}; send next_cursor of the page before, with the same tenant and day, or no "
            "cursor for the first page",
        ) from None
    body = AuditPageBody(
        entries=[_body(entry) for entry in page.entries if _is_meant(entry, query)],
        next_cursor=page.next_cursor,
    )
    return json_answer(body)


def _is_meant(entry: AuditEntry, query: AuditQuery) -> bool:
    return (
        query.actor in {None, entry.actor}
        and query.video in {None, entry.video_id}
        and query.action in {None, entry.action}
    )


def _body(entry: AuditEntry) -> AuditEntryBody:
    return AuditEntryBody(
        entry_id=entry.entry_id,
        at=entry.at,
        tenant=entry.tenant,
        actor=entry.actor,
        actor_tenant=entry.actor_tenant,
        actor_groups=list(entry.actor_groups),
        action=entry.action,
        request_id=entry.request_id,
        video_id=entry.video_id,
        subject=entry.subject,
        changed=list(entry.changed),
    )
