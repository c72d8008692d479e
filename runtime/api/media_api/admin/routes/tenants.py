"""Tenants: list, create, what they use, quotas."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from media_api.access import ADMIN, OPERATOR, RuledRoute, allow
from media_api.admin.models import (
    NewTenant,
    QuotaBody,
    TenantBody,
    TenantName,
    TenantPageBody,
    TenantQuery,
    TenantUseBody,
    UsageBody,
)
from media_api.admin.scope import scope_of
from media_api.admin.tenants import Tenants
from media_api.answers import json_answer
from media_api.audit import AuditTrail, cause_of, log_entry
from media_api.openapi import problems
from media_api.problems import Kind, Problem
from media_platform.contract.audit import AuditAction, audit_write
from media_platform.contract.tenant import Tenant
from media_platform.contract.usage import Quota, Usage

router = APIRouter(prefix="/api/admin/tenants", tags=["tenants"], route_class=RuledRoute)

TenantPath = Annotated[TenantName, Path(description="Name of the tenant")]


@router.get(
    "",
    operation_id="listTenants",
    response_model=TenantPageBody,
    responses=problems(Kind.INVALID),
)
@allow(OPERATOR)
async def list_tenants(request: Request, query: Annotated[TenantQuery, Query()]) -> Response:
    """List all tenants, by name."""
    await _audit(request).put(cause_of(request).entry(AuditAction.TENANTS_LISTED))
    page = await _tenants(request).page(limit=query.limit, after=query.cursor)
    body = TenantPageBody(tenants=[_body(t) for t in page.tenants], next_cursor=page.last)
    return json_answer(body)


@router.post(
    "",
    operation_id="createTenant",
    status_code=201,
    response_model=TenantUseBody,
    responses=problems(Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.INVALID),
)
@allow(OPERATOR)
async def create_tenant(request: Request, new: NewTenant) -> Response:
    """List a tenant before it has a user or a video; once more changes nothing."""
    entry = cause_of(request).entry(AuditAction.TENANT_CREATED, tenant=new.tenant)
    await _audit(request).put(entry)
    await _tenants(request).note(new.tenant)
    body = await _use(request, new.tenant)
    return json_answer(body, status=201, headers={"Location": f"/api/admin/tenants/{new.tenant}"})


@router.get(
    "/{tenant}",
    operation_id="getTenant",
    response_model=TenantUseBody,
    responses=problems(Kind.TENANT_NOT_FOUND, Kind.INVALID),
)
@allow(ADMIN)
async def get_tenant(request: Request, tenant: TenantPath) -> Response:
    """Get a tenant with what it uses and may use."""
    scope = scope_of(request)
    if not scope.covers(tenant):
        raise _not_found(tenant)
    body = await _use(request, tenant)
    if body.first_seen_at is None and tenant != scope.caller.tenant:
        raise _not_found(tenant)
    await _audit(request).put(cause_of(request).entry(AuditAction.TENANT_READ, tenant=tenant))
    return json_answer(body)


@router.put(
    "/{tenant}/quota",
    operation_id="putQuota",
    response_model=TenantUseBody,
    responses=problems(Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.INVALID),
)
@allow(OPERATOR)
async def put_quota(request: Request, tenant: TenantPath, given: QuotaBody) -> Response:
    """Set how much a tenant may use; what it has beyond that stays, and nothing is added."""
    quota = Quota(**given.model_dump())
    tenants = _tenants(request)
    entry = cause_of(request).entry(AuditAction.QUOTA_CHANGED, tenant=tenant, changed=("quota",))
    await tenants.put_quota(tenant, quota, audit_write(tenants.table_name, entry))
    log_entry(entry)
    return json_answer(await _use(request, tenant))


def _tenants(request: Request) -> Tenants:
    tenants: Tenants = request.app.state.tenants
    return tenants


def _audit(request: Request) -> AuditTrail:
    audit: AuditTrail = request.app.state.audit
    return audit


async def _use(request: Request, name: str) -> TenantUseBody:
    tenants = _tenants(request)
    tenant, use = await tenants.get(name), await tenants.use(name)
    return TenantUseBody(
        tenant=name,
        first_seen_at=tenant.first_seen_at if tenant else None,
        usage=_usage(use.total),
        regions={region: _usage(usage) for region, usage in sorted(use.usage.items())},
        quota=QuotaBody(**asdict(use.quota)) if use.quota else None,
    )


def _usage(usage: Usage) -> UsageBody:
    return UsageBody(**asdict(usage))


def _body(tenant: Tenant) -> TenantBody:
    return TenantBody(tenant=tenant.name, first_seen_at=tenant.first_seen_at)


def _not_found(tenant: str) -> Problem:
    return Problem(
        Kind.TENANT_NOT_FOUND,
        f"there is no tenant {tenant} that you administer; operators list them at "
        "/api/admin/tenants",
    )
