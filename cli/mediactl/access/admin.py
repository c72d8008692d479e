"""The admin service, as those who administer use it: users and tenants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from media_platform.contract.identity import TENANT_CLAIM
from mediactl.access import sessions
from mediactl.client import ApiError, MediaClient
from mediactl.errors import NOT_FOUND, CommandError

if TYPE_CHECKING:
    from mediactl.environment import Environment

_USERS = "/api/admin/users"
_TENANTS = "/api/admin/tenants"
_HTTP_NOT_FOUND = 404

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class User:
    """A user.

    Attributes:
        username: Its name in the user pool.
        user_id: Its id in tokens, videos and audit entries.
        tenant: Its tenant.
        email: Its e-mail address.
        name: What people call it.
        groups: Its groups.
        status: Where its account stands, as Cognito says it.
        enabled: Whether it may sign in.
        created_at: Time of creation.
        updated_at: Time of the last change.
    """

    username: str
    user_id: str
    tenant: str
    email: str | None
    name: str | None
    groups: list[str]
    status: str
    enabled: bool
    created_at: str
    updated_at: str


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant as it is listed.

    Attributes:
        tenant: Its name.
        first_seen_at: Time at which it was first met.
    """

    tenant: str
    first_seen_at: str


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much a tenant uses, or may use.

    Attributes:
        videos: Videos that are not purged.
        stored_bytes: Bytes of their files.
        uploads: Videos whose file is still to come.
    """

    videos: int
    stored_bytes: int
    uploads: int


@dataclass(frozen=True, kw_only=True)
class TenantUse:
    """A tenant with what it uses and may use.

    Attributes:
        tenant: Its name.
        first_seen_at: Time at which it was first met; ``null`` if it never was.
        usage: What it uses in all regions.
        regions: What it uses in each region.
        quota: What was set for it; ``null`` if the default of the stage holds.
    """

    tenant: str
    first_seen_at: str | None
    usage: Amounts
    regions: dict[str, Amounts]
    quota: Amounts | None


@dataclass(frozen=True, kw_only=True)
class UserList:
    """Users.

    Attributes:
        users: The users, in no order.
        more: Whether there are others, which ``--limit`` left out.
    """

    users: list[User]
    more: bool


@dataclass(frozen=True, kw_only=True)
class ChangedUser:
    """What was done to a user, or would be.

    Attributes:
        changed: Whether it was done; ``false`` with ``--dry-run``.
        user: The user, as it is now.
    """

    changed: bool
    user: User


@dataclass(frozen=True, kw_only=True)
class TenantList:
    """Tenants.

    Attributes:
        tenants: The tenants, by name.
    """

    tenants: list[Tenant]


@dataclass(frozen=True, kw_only=True)
class ChangedTenant:
    """What was done to a tenant, or would be.

    Attributes:
        changed: Whether it was done; ``false`` with ``--dry-run``.
        tenant: The tenant as it is now, or with ``--dry-run`` as it would be.
    """

    changed: bool
    tenant: TenantUse


class AdminClient:
    """Calls the admin service.

    Args:
        client: A client of somebody who administers.
        tenant: Tenant whose users are meant. Default: that of the caller.
    """

    def __init__(self, client: MediaClient, tenant: str | None = None) -> None:
        self._client = client
        self.tenant = tenant

    @classmethod
    def of(cls, environment: Environment, tenant: str | None = None) -> AdminClient:
        """Return the client of whoever is signed in.

        Args:
            environment: Where.
            tenant: Tenant whose users are meant. Default: that of the caller; where it is the
                operator who is made on the spot on a plane on this machine, that of other commands.

        Raises:
            CommandError: If nobody is signed in.
        """
        tokens = sessions.tokens(environment, operator=True)
        own = sessions.claims(tokens.current()).get(TENANT_CLAIM)
        if tenant is None and environment.is_local and own == sessions.OPERATOR_TENANT:
            tenant = sessions.DEFAULT_TENANT
        client = MediaClient(environment.base_url, tokens, attempts=sessions.ATTEMPTS)
        return cls(client, tenant)

    def users(self, **find: str) -> Iterator[User]:
        """Go through the users of the tenant, in no order.

        Args:
            **find: ``email`` or ``user_id`` that they must have. Default: any.
        """
        for entry in self._client.listed(_USERS, "users", {"tenant": self.tenant, **find}):
            yield _read(User, entry)

    def user(self, name: str) -> User:
        """Return a user.

        Args:
            name: Its e-mail address, its name in the pool, or its id.

        Raises:
            CommandError: If the tenant has none.
        """
        found = None
        if "@" in name:
            found = next(self.users(email=name), None)
        else:
            try:
                found = _read(User, self._client.call("GET", f"{_USERS}/{quote(name, safe='')}"))
            except ApiError as error:
                if error.status != _HTTP_NOT_FOUND:
                    raise
                found = next(self.users(user_id=name), None)
        if found is None:
            where = f"tenant {self.tenant}" if self.tenant else "your tenant"
            raise CommandError(
                f"{where} has no user {name}",
                hint="`mediactl users list` shows those there are; operators name another tenant"
                " with --tenant",
                exit_code=NOT_FOUND,
            )
        return found

    def create_user(
        self,
        email: str,
        *,
        groups: Sequence[str],
        name: str | None = None,
        invite: bool = True,
        key: str | None = None,
    ) -> tuple[User, str | None]:
        """Create a user, and return it with its first password if nobody else is told.

        Args:
            email: Its e-mail address.
            groups: Its groups.
            name: What people call it.
            invite: Whether Cognito sends it its first password.
            key: Idempotency key. Default: a new one.

        Raises:
            ApiError: If the service refuses it, with status 409 if there is one with the address.
        """
        body: dict[str, Any] = {"email": email, "groups": list(groups), "invite": invite}
        body |= {k: v for k, v in (("name", name), ("tenant", self.tenant)) if v is not None}
        headers = {"Idempotency-Key": key} if key else None
        answer = self._client.call("POST", _USERS, body, headers=headers)
        return _read(User, answer["user"]), answer["temporary_password"]

    def put_groups(self, user: User, groups: Sequence[str]) -> User:
        """Let a user be in exactly these groups."""
        path = f"{_USERS}/{user.username}/groups"
        return _read(User, self._client.call("PUT", path, {"groups": list(groups)}))

    def act(self, user: User, action: str) -> User:
        """Disable or enable a user, or sign it out.

        Args:
            user: The user.
            action: ``disable``, ``enable`` or ``sign-out``.
        """
        path = f"{_USERS}/{user.username}/{action}"
        return _read(User, self._client.call("POST", path, repeatable=True))

    def tenants(self) -> Iterator[Tenant]:
        """Go through all tenants, by name."""
        for entry in self._client.listed(_TENANTS, "tenants"):
            yield _read(Tenant, entry)

    def tenant_use(self, tenant: str) -> TenantUse:
        """Return a tenant with what it uses and may use."""
        return _tenant_use(self._client.call("GET", f"{_TENANTS}/{quote(tenant, safe='')}"))

    def tenant_use_or_new(self, tenant: str) -> TenantUse:
        """Return a tenant; one that was never met uses nothing."""
        try:
            return self.tenant_use(tenant)
        except ApiError as error:
            if error.status != _HTTP_NOT_FOUND:
                raise
        nothing = Amounts(videos=0, stored_bytes=0, uploads=0)
        return TenantUse(tenant=tenant, first_seen_at=None, usage=nothing, regions={}, quota=None)

    def create_tenant(self, tenant: str) -> TenantUse:
        """List a tenant before it has a user or a video; once more changes nothing."""
        return _tenant_use(self._client.call("POST", _TENANTS, {"tenant": tenant}, repeatable=True))

    def put_quota(self, tenant: str, quota: Amounts) -> TenantUse:
        """Set how much a tenant may use."""
        path = f"{_TENANTS}/{quote(tenant, safe='')}/quota"
        body = {field.name: getattr(quota, field.name) for field in fields(Amounts)}
        return _tenant_use(self._client.call("PUT", path, body))


def _tenant_use(body: Mapping[str, Any]) -> TenantUse:
    return TenantUse(
        tenant=body["tenant"],
        first_seen_at=body["first_seen_at"],
        usage=_read(Amounts, body["usage"]),
        regions={region: _read(Amounts, one) for region, one in body["regions"].items()},
        quota=_read(Amounts, body["quota"]) if body["quota"] else None,
    )


def _read(kind: type[Kind], body: Mapping[str, Any]) -> Kind:
    """Return the object that an answer describes; fields of later versions are left out."""
    return kind(**{field.name: body[field.name] for field in fields(kind)})  # type: ignore[arg-type]
