"""Data access: the users of the user pool.

Source: Amazon Cognito User Pools API Reference. Users are found by their user names, which never
change; ``sub``, by which tokens and videos name a user, is an attribute.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError

from media_api.aws import error_code
from media_platform.contract.identity import GROUPS, TENANT_ATTRIBUTE
from media_platform.contract.times import timestamp

PAGE_MAX_USERS = 60
"""Most users that one call lists."""

_TENANT = f"custom:{TENANT_ATTRIBUTE}"
_SPECIAL = str.maketrans({"\\": r"\\", '"': r"\""})


class UnknownUserError(Exception):
    """There is no such user."""


class UserExistsError(Exception):
    """A user with this user name or e-mail address is there already."""


class RefusedUserError(Exception):
    """The pool refuses what a user should be; the message says why and may be shown."""


class UnknownPageError(Exception):
    """The pool does not know the token of a page."""


class Find(StrEnum):
    """By what users are found; the pool looks for nothing else, tenants included."""

    EMAIL = "email"
    USER_ID = "sub"


@dataclass(frozen=True, kw_only=True)
class User:
    """A user.

    Attributes:
        username: Its name in the pool.
        user_id: Its id in tokens and videos (``sub``).
        tenant: Its tenant; empty if it has none.
        email: Its e-mail address, if it has one.
        name: What people call it, if known.
        status: Where its account stands, as Cognito says it.
        enabled: Whether it may sign in.
        created_at: Time of creation (RFC 3339, UTC).
        updated_at: Time of the last change.
    """

    username: str
    user_id: str
    tenant: str
    email: str | None
    name: str | None
    status: str
    enabled: bool
    created_at: str
    updated_at: str


class UserPool:
    """The user pool, as far as the admin service needs it.

    Args:
        client: A Cognito client of the region of the pool.
        pool_id: The user pool.
    """

    def __init__(self, client: Any, pool_id: str) -> None:
        self._client = client
        self._pool_id = pool_id

    async def page(
        self, *, limit: int, token: str | None, find: tuple[Find, str] | None
    ) -> tuple[list[User], str | None]:
        """Return a page of the users of all tenants, and the token of the next page.

        Args:
            limit: Most users of the page, up to :data:`PAGE_MAX_USERS`.
            token: Token of the page. Default: the first one.
            find: What the users must have.

        Raises:
            UnknownPageError: If the pool does not know the token.
        """
        query: dict[str, Any] = {"UserPoolId": self._pool_id, "Limit": limit}
        if token is not None:
            query["PaginationToken"] = token
        if find is not None:
            attribute, value = find
            query["Filter"] = f'{attribute} = "{value.translate(_SPECIAL)}"'
        try:
            answer = await self._client.list_users(**query)
        except ClientError as error:
            if token is not None and error_code(error) == "InvalidParameterException":
                raise UnknownPageError from error
            raise
        return [_user(entry) for entry in answer["Users"]], answer.get("PaginationToken")

    async def get(self, username: str) -> User:
        """Return a user.

        Raises:
            UnknownUserError: If there is none.
        """
        answer = await self._about("admin_get_user", username)
        return _user({**answer, "Attributes": answer.get("UserAttributes", ())})

    async def groups(self, username: str) -> frozenset[str]:
        """Return the groups of the platform that a user is in.

        Raises:
            UnknownUserError: If there is no such user.
        """
        found: set[str] = set()
        token: dict[str, str] = {}
        while True:
            answer = await self._about("admin_list_groups_for_user", username, **token)
            found.update(group["GroupName"] for group in answer["Groups"])
            if not answer.get("NextToken"):
                return frozenset(found & GROUPS.keys())
            token = {"NextToken": answer["NextToken"]}

    async def members(self, group: str) -> AsyncIterator[User]:
        """Go through the users of a group, of all tenants."""
        token: dict[str, str] = {}
        while True:
            answer = await self._client.list_users_in_group(
                UserPoolId=self._pool_id, GroupName=group, Limit=PAGE_MAX_USERS, **token
            )
            for entry in answer["Users"]:
                yield _user(entry)
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    async def create(
        self,
        username: str,
        *,
        tenant: str,
        email: str,
        name: str | None,
        temporary_password: str | None,
    ) -> User:
        """Create a user.

        Args:
            username: Its name in the pool.
            tenant: Its tenant.
            email: Its e-mail address, which counts as verified.
            name: What people call it, if known.
            temporary_password: Its first password, of which nobody is told. Default: one that the
                pool makes and sends to the address.

        Raises:
            UserExistsError: If there is one with this name or address.
            RefusedUserError: If the pool refuses a value.
        """
        attributes = {"email": email, "email_verified": "true", _TENANT: tenant}
        if name is not None:
            attributes["name"] = name
        how: dict[str, Any] = {"DesiredDeliveryMediums": ["EMAIL"]}
        if temporary_password is not None:
            how = {"MessageAction": "SUPPRESS", "TemporaryPassword": temporary_password}
        try:
            answer = await self._client.admin_create_user(
                UserPoolId=self._pool_id,
                Username=username,
                UserAttributes=[{"Name": n, "Value": v} for n, v in attributes.items()],
                **how,
            )
        except ClientError as error:
            match error_code(error):
                case "UsernameExistsException" | "AliasExistsException":
                    raise UserExistsError from error
                case "InvalidParameterException":
                    raise RefusedUserError(_message(error)) from error
            raise
        return _user(answer["User"])

    async def add_to_groups(self, username: str, groups: Iterable[str]) -> None:
        """Add a user to groups.

        Raises:
            UnknownUserError: If there is no such user.
        """
        for group in sorted(groups):
            await self._about("admin_add_user_to_group", username, GroupName=group)

    async def remove_from_groups(self, username: str, groups: Iterable[str]) -> None:
        """Remove a user from groups.

        Raises:
            UnknownUserError: If there is no such user.
        """
        for group in sorted(groups):
            await self._about("admin_remove_user_from_group", username, GroupName=group)

    async def disable(self, username: str) -> None:
        """Keep a user from signing in, and from refreshing tokens.

        Raises:
            UnknownUserError: If there is no such user.
        """
        await self._about("admin_disable_user", username)

    async def enable(self, username: str) -> None:
        """Let a user sign in again.

        Raises:
            UnknownUserError: If there is no such user.
        """
        await self._about("admin_enable_user", username)

    async def sign_out(self, username: str) -> None:
        """Withdraw all refresh tokens of a user.

        Raises:
            UnknownUserError: If there is no such user.
        """
        await self._about("admin_user_global_sign_out", username)

    async def _about(self, operation: str, username: str, **more: Any) -> dict[str, Any]:
        call = getattr(self._client, operation)
        try:
            answer: dict[str, Any] = await call(UserPoolId=self._pool_id, Username=username, **more)
        except ClientError as error:
            # What cannot be a user name is the name of nobody.
            if error_code(error) in {"UserNotFoundException", "InvalidParameterException"}:
                raise UnknownUserError(username) from error
            raise
        return answer


def _user(entry: Mapping[str, Any]) -> User:
    attributes = {a["Name"]: a.get("Value", "") for a in entry.get("Attributes", ())}
    return User(
        username=entry["Username"],
        user_id=attributes.get("sub", ""),
        tenant=attributes.get(_TENANT, ""),
        email=attributes.get("email"),
        name=attributes.get("name"),
        status=entry.get("UserStatus", "UNKNOWN"),
        enabled=bool(entry.get("Enabled", True)),
        created_at=timestamp(entry["UserCreateDate"]),
        updated_at=timestamp(entry["UserLastModifiedDate"]),
    )


def _message(error: ClientError) -> str:
    text = str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
    return text[:1].lower() + text[1:]
