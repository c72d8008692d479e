"""Users: list, create, groups, disable, enable, sign out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from media_api.access import ADMIN, RuledRoute, allow
from media_api.admin.models import (
    Groups,
    InvitedBody,
    NewUser,
    UserBody,
    UserPageBody,
    UserQuery,
)
from media_api.admin.scope import scope_of
from media_api.admin.user_pool import Find
from media_api.admin.users import Member, Users
from media_api.answers import json_answer
from media_api.audit import AuditTrail, cause_of
from media_api.idempotency import REPLAYED, Keyed
from media_api.openapi import problems
from media_api.problems import Kind, invalid
from media_platform.contract.audit import AuditAction

router = APIRouter(prefix="/api/admin/users", tags=["users"], route_class=RuledRoute)

_BODY_PROBLEMS = (Kind.MALFORMED_REQUEST, Kind.TOO_LARGE, Kind.INVALID)
Username = Annotated[str, Path(max_length=128, description="Name of the user in the pool")]


@router.get(
    "",
    operation_id="listUsers",
    response_model=UserPageBody,
    responses=problems(Kind.INVALID_CURSOR, Kind.INVALID),
)
@allow(ADMIN)
async def list_users(request: Request, query: Annotated[UserQuery, Query()]) -> Response:
    """List the users of a tenant, or find one by its address or id."""
    tenant = scope_of(request).tenant(query.tenant)
    if query.email is not None and query.user_id is not None:
        raise invalid("query.user_id", "users are found by email or by user_id; send one of them")
    find = None
    if query.email is not None:
        find = (Find.EMAIL, query.email)
    elif query.user_id is not None:
        find = (Find.USER_ID, query.user_id)
    await _note(request, AuditAction.USERS_LISTED, tenant)
    page = await _users(request).list(tenant, limit=query.limit, cursor=query.cursor, find=find)
    body = UserPageBody(
        users=[_body(member) for member in page.members], next_cursor=page.next_cursor
    )
    return json_answer(body)


@router.post(
    "",
    operation_id="createUser",
    status_code=201,
    response_model=InvitedBody,
    responses=problems(*_BODY_PROBLEMS, Kind.USER_EXISTS, Kind.KEY_REUSED),
)
@allow(ADMIN)
async def create_user(request: Request, new: NewUser, keyed: Keyed) -> Response:
    """Create a user; Cognito sends it a first password, which it changes when it signs in."""
    made = await _users(request).create(
        cause_of(request),
        scope_of(request).tenant(new.tenant),
        email=new.email,
        name=new.name,
        groups=new.groups,
        invite=new.invite,
        keyed=keyed,
    )
    body = InvitedBody(user=_body(made.member), temporary_password=made.temporary_password)
    return json_answer(
        body,
        status=201,
        headers={
            "Location": f"/api/admin/users/{made.member.user.username}",
            **(REPLAYED if made.replayed else {}),
        },
    )


@router.get(
    "/{username}",
    operation_id="getUser",
    response_model=UserBody,
    responses=problems(Kind.USER_NOT_FOUND, Kind.INVALID),
)
@allow(ADMIN)
async def get_user(request: Request, username: Username) -> Response:
    """Get a user with its groups."""
    member = await _users(request).get(scope_of(request), username)
    await _note(request, AuditAction.USER_READ, member.user.tenant, member.user.username)
    return _answer(member)


@router.put(
    "/{username}/groups",
    operation_id="putUserGroups",
    response_model=UserBody,
    responses=problems(
        *_BODY_PROBLEMS,
        Kind.USER_NOT_FOUND,
        Kind.OWN_ACCOUNT,
        Kind.LAST_ADMIN,
        Kind.ADMINS_CHANGING,
    ),
)
@allow(ADMIN)
async def put_user_groups(request: Request, username: Username, given: Groups) -> Response:
    """Let a user be in exactly these groups; its tokens have them from the next refresh on."""
    scope = scope_of(request)
    member = await _users(request).get(scope, username)
    await _note(request, AuditAction.USER_GROUPS_CHANGED, member.user.tenant, username, "groups")
    return _answer(await _users(request).put_groups(scope, username, given.groups))


@router.post(
    "/{username}/disable",
    operation_id="disableUser",
    response_model=UserBody,
    responses=problems(
        Kind.USER_NOT_FOUND,
        Kind.OWN_ACCOUNT,
        Kind.LAST_ADMIN,
        Kind.ADMINS_CHANGING,
        Kind.INVALID,
    ),
)
@allow(ADMIN)
async def disable_user(request: Request, username: Username) -> Response:
    """Keep a user from signing in and refreshing; a token that it has holds until it ends."""
    scope = scope_of(request)
    member = await _users(request).get(scope, username)
    await _note(request, AuditAction.USER_DISABLED, member.user.tenant, username, "enabled")
    return _answer(await _users(request).disable(scope, username))


@router.post(
    "/{username}/enable",
    operation_id="enableUser",
    response_model=UserBody,
    responses=problems(Kind.USER_NOT_FOUND, Kind.INVALID),
)
@allow(ADMIN)
async def enable_user(request: Request, username: Username) -> Response:
    """Let a user sign in again."""
    scope = scope_of(request)
    member = await _users(request).get(scope, username)
    await _note(request, AuditAction.USER_ENABLED, member.user.tenant, username, "enabled")
    return _answer(await _users(request).enable(scope, username))


@router.post(
    "/{username}/sign-out",
    operation_id="signOutUser",
    response_model=UserBody,
    responses=problems(Kind.USER_NOT_FOUND, Kind.INVALID),
)
@allow(ADMIN)
async def sign_out_user(request: Request, username: Username) -> Response:
    """Withdraw all refresh tokens of a user; an access token that it has holds until it ends."""
    scope = scope_of(request)
    member = await _users(request).get(scope, username)
    await _note(request, AuditAction.USER_SIGNED_OUT, member.user.tenant, username)
    return _answer(await _users(request).sign_out(scope, username))


def _users(request: Request) -> Users:
    users: Users = request.app.state.users
    return users


async def _note(
    request: Request,
    action: AuditAction,
    tenant: str,
    subject: str | None = None,
    *changed: str,
) -> None:
    """Write the audit entry of what is about to be done.

    The pool takes part in no transaction. Written before, the entry may tell of something that
    failed then; written after, something could be done of which none tells.
    """
    audit: AuditTrail = request.app.state.audit
    entry = cause_of(request).entry(action, tenant=tenant, subject=subject, changed=changed)
    await audit.put(entry)


def _answer(member: Member) -> Response:
    return json_answer(_body(member))


def _body(member: Member) -> UserBody:
    user = member.user
    return UserBody.model_validate(
        {
            "username": user.username,
            "user_id": user.user_id,
            "tenant": user.tenant,
            "email": user.email,
            "name": user.name,
            "groups": sorted(member.groups),
            "status": user.status,
            "enabled": user.enabled,
            "created_at": user.created_at,
            "updated_at": user.updated_at,
        }
    )
