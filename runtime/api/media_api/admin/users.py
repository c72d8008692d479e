"""What may be done with users."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from media_api.admin.scope import Scope
from media_api.admin.tenants import LEASE_SECONDS, AdminsBusyError, Tenants
from media_api.admin.user_pool import (
    Find,
    RefusedUserError,
    UnknownPageError,
    UnknownUserError,
    User,
    UserExistsError,
    UserPool,
)
from media_api.audit import AuditTrail, Cause, NotWrittenError
from media_api.idempotency import Done, Idempotency, KeyedRequest
from media_api.problems import Kind, Problem, invalid
from media_platform.contract.audit import AuditAction
from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.ids import new_id

MOST_READS = 5
"""Pages of the pool that one page of a list reads at most: the pool cannot look for a tenant."""

_GROUP_READS = 8
"""Users whose groups are read at a time."""

_FINGERPRINT_BYTES = 8
_PASSWORD_BYTES = 18


@dataclass(frozen=True)
class Member:
    """A user with its groups."""

    user: User
    groups: frozenset[str]


@dataclass(frozen=True)
class MemberPage:
    """A page of users.

    Attributes:
        members: The users, in no order.
        next_cursor: Cursor of the next page, if there may be one.
    """

    members: Sequence[Member]
    next_cursor: str | None


@dataclass(frozen=True)
class Invitation:
    """A user that was created.

    Attributes:
        member: The user.
        temporary_password: Its first password, if nobody else is told.
        replayed: Whether an earlier request with the same key began it.
    """

    member: Member
    temporary_password: str | None
    replayed: bool


class Users:
    """The users of all tenants, each administrator seeing its own tenant's.

    Args:
        pool: The user pool.
        tenants: The tenants, which keep the lease under which administrators are taken away.
        audit: Who did what.
        idempotency: Knows what requests with a key did.
    """

    def __init__(
        self, pool: UserPool, tenants: Tenants, audit: AuditTrail, idempotency: Idempotency
    ) -> None:
        self._pool = pool
        self._tenants = tenants
        self._audit = audit
        self._idempotency = idempotency

    async def list(
        self, tenant: str, *, limit: int, cursor: str | None, find: tuple[Find, str] | None
    ) -> MemberPage:
        """Return a page of the users of a tenant.

        The pool lists the users of all tenants and cannot look for one, so a page may have fewer
        users than ``limit``, or none, and still not be the last.

        Args:
            tenant: The tenant.
            limit: Most users of the page.
            cursor: ``next_cursor`` of the page before. Default: the first page.
            find: What the users must have.

        Raises:
            Problem: If the cursor does not belong to the list.
        """
        name = f"users {tenant} {find or ''}"
        token = None if cursor is None else _decode(name, cursor)
        found: list[User] = []
        for _ in range(MOST_READS):
            try:
                # As many as there is room for, so that no user of a page is left behind.
                users, token = await self._pool.page(
                    limit=limit - len(found), token=token, find=find
                )
            except UnknownPageError:
                raise _invalid_cursor() from None
            found += [user for user in users if user.tenant == tenant]
            if token is None or len(found) == limit:
                break
        members = await self._with_groups(found)
        return MemberPage(members, None if token is None else _encode(name, token))

    async def get(self, scope: Scope, username: str) -> Member:
        """Return a user that the caller may see.

        Raises:
            Problem: If there is none.
        """
        try:
            user = await self._pool.get(username)
            if not scope.covers(user.tenant):
                raise _not_found()
            return Member(user, await self._pool.groups(user.username))
        except UnknownUserError:
            raise _not_found() from None

    async def create(
        self,
        cause: Cause,
        tenant: str,
        *,
        email: str,
        name: str | None,
        groups: Iterable[str],
        invite: bool,
        keyed: KeyedRequest | None,
    ) -> Invitation:
        """Create a user.

        Its name in the pool is chosen and recorded before the pool is asked, so that a repeat
        finishes what the first request began, and makes no second user.

        Args:
            cause: The request.
            tenant: Its tenant.
            email: Its e-mail address, by which it signs in.
            name: What people call it, if known.
            groups: Its groups.
            invite: Whether the pool sends it its first password.
            keyed: The request, if it has an ``Idempotency-Key``.

        Raises:
            Problem: If there is a user with the address, or the pool refuses it.
        """
        username, replayed = await self._name_for(cause, tenant, keyed)
        password = None if invite else f"{secrets.token_urlsafe(_PASSWORD_BYTES)}aA1!"
        await self._tenants.note(tenant)
        try:
            user = await self._pool.create(
                username, tenant=tenant, email=email, name=name, temporary_password=password
            )
        except UserExistsError:
            # Either a request with the same key was faster, or the address is taken.
            user, password = await self._made_meanwhile(username, email), None
        except RefusedUserError as error:
            raise invalid("body", f"{error}; correct it") from None
        wanted = frozenset(groups)
        await self._pool.add_to_groups(user.username, wanted)
        return Invitation(Member(user, wanted), password, replayed)

    async def _name_for(
        self, cause: Cause, tenant: str, keyed: KeyedRequest | None
    ) -> tuple[str, bool]:
        """Return the name of the user that a request makes, and whether an earlier one chose it.

        It means nothing: people sign in by their address, which may change.
        """
        done = await self._idempotency.done_by(keyed)
        if done is not None:
            return done.reference, True
        username = new_id()
        record = self._idempotency.record(keyed, Done(reference=username, status=201))
        entry = cause.entry(AuditAction.USER_CREATED, tenant=tenant, subject=username)
        try:
            await self._audit.put(entry, *record)
        except NotWrittenError:
            done = await self._idempotency.done_by(keyed)
            if done is None:
                raise
            return done.reference, True
        return username, False

    async def _made_meanwhile(self, username: str, email: str) -> User:
        try:
            return await self._pool.get(username)
        except UnknownUserError:
            raise Problem(
                Kind.USER_EXISTS,
                f"there is a user with the address {email} already; enable it or change its "
                "groups, or take another address",
            ) from None

    async def put_groups(self, scope: Scope, username: str, groups: Iterable[str]) -> Member:
        """Let a user be in exactly ``groups`` of the platform.

        Raises:
            Problem: If there is no such user, callers would take the group from themselves, or the
                tenant would lose its last administrator.
        """
        wanted = frozenset(groups)
        async with self._losing_admin(scope, username, unless=ADMIN_GROUP in wanted) as member:
            name = member.user.username
            await self._pool.add_to_groups(name, wanted - member.groups)
            await self._pool.remove_from_groups(name, member.groups - wanted)
        return Member(member.user, wanted)

    async def disable(self, scope: Scope, username: str) -> Member:
        """Keep a user from signing in.

        Raises:
            Problem: If there is no such user, callers would disable themselves, or the tenant would
                lose its last administrator.
        """
        async with self._losing_admin(scope, username, disabling=True) as member:
            await self._pool.disable(member.user.username)
        return await self.get(scope, member.user.username)

    async def enable(self, scope: Scope, username: str) -> Member:
        """Let a user sign in again.

        Raises:
            Problem: If there is no such user.
        """
        member = await self.get(scope, username)
        await self._pool.enable(member.user.username)
        return await self.get(scope, member.user.username)

    async def sign_out(self, scope: Scope, username: str) -> Member:
        """Withdraw all refresh tokens of a user.

        Raises:
            Problem: If there is no such user.
        """
        member = await self.get(scope, username)
        await self._pool.sign_out(member.user.username)
        return member

    @asynccontextmanager
    async def _losing_admin(
        self, scope: Scope, username: str, *, unless: bool = False, disabling: bool = False
    ) -> AsyncIterator[Member]:
        """Hold what must be held while a user may stop being an administrator.

        Args:
            scope: Who asks.
            username: The user.
            unless: Whether it stays one.
            disabling: Whether it is to be disabled, which nobody does to himself.

        Raises:
            Problem: If it must not.
        """
        member = await self.get(scope, username)
        own = member.user.user_id == scope.caller.user
        if unless or not (ADMIN_GROUP in member.groups or (disabling and own)):
            yield member
            return
        if own:
            raise Problem(
                Kind.OWN_ACCOUNT,
                "nobody disables himself or leaves the group admin by himself; ask another "
                "administrator of the tenant",
            )
        try:
            async with (
                self._tenants.admins_held(member.user.tenant),
                asyncio.timeout(LEASE_SECONDS / 2),
            ):
                # Read again: another administrator may have been faster.
                member = await self.get(scope, username)
                if not await self._has_other_admin(member.user):
                    raise Problem(
                        Kind.LAST_ADMIN,
                        f"{member.user.email or username} is the last administrator of tenant "
                        f"{member.user.tenant} who may sign in; make another one first",
                    )
                yield member
        except AdminsBusyError:
            raise Problem(
                Kind.ADMINS_CHANGING,
                f"another request takes an administrator from tenant {member.user.tenant} just "
                "now; try again in a few seconds",
            ) from None

    async def _has_other_admin(self, user: User) -> bool:
        async for other in self._pool.members(ADMIN_GROUP):
            if other.tenant != user.tenant or other.username == user.username:
                continue
            # Lists lag behind; the user itself does not.
            known = await self._pool.get(other.username)
            if known.enabled and ADMIN_GROUP in await self._pool.groups(known.username):
                return True
        return False

    async def _with_groups(self, users: Iterable[User]) -> Sequence[Member]:
        room = asyncio.Semaphore(_GROUP_READS)

        async def look(user: User) -> Member | None:
            async with room:
                try:
                    return Member(user, await self._pool.groups(user.username))
                except UnknownUserError:
                    return None

        found = await asyncio.gather(*(look(user) for user in users))
        return [member for member in found if member is not None]


def _not_found() -> Problem:
    """Return one and the same problem, whether a user is unknown or of another tenant."""
    return Problem(
        Kind.USER_NOT_FOUND,
        "there is no user with this user name that you may see; check it, or list the users at "
        "/api/admin/users",
    )


def _invalid_cursor() -> Problem:
    return Problem(
        Kind.INVALID_CURSOR,
        "the cursor is malformed or belongs to another list; send next_cursor of the page before, "
        "with the same parameters, or no cursor for the first page",
    )


def _fingerprint(list_name: str) -> bytes:
    return hashlib.sha256(list_name.encode()).digest()[:_FINGERPRINT_BYTES]


def _encode(list_name: str, token: str) -> str:
    return base64.urlsafe_b64encode(_fingerprint(list_name) + token.encode()).decode()


def _decode(list_name: str, cursor: str) -> str:
    try:
        content = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        token = content[_FINGERPRINT_BYTES:].decode()
    except ValueError:
        raise _invalid_cursor() from None
    if content[:_FINGERPRINT_BYTES] != _fingerprint(list_name) or not token:
        raise _invalid_cursor()
    return token
