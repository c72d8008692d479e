"""Accounts in the user pool, made straight in Cognito with AWS credentials.

Administrators make users with the admin service, whose audit trail tells of it. What stands here
is for those who have to be there before anybody can sign in: the first administrator of a tenant,
and the users of programs, whose passwords nobody knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from media_platform.contract.identity import TENANT_ATTRIBUTE
from mediactl.access.sessions import UserPool
from mediactl.errors import CommandError

if TYPE_CHECKING:
    from mediactl.environment import Environment

SIGN_IN_ATTEMPTS = 5
"""Attempts to sign in, since another program may set the password of the same account meanwhile."""

_TENANT = f"custom:{TENANT_ATTRIBUTE}"
_PASSWORD_BYTES = 18
_LOCAL_PART_CHARACTERS = 64
_SPECIAL = str.maketrans({"\\": r"\\", '"': r"\""})


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account.

    Attributes:
        username: Its name in the pool.
        user_id: Its id in tokens and videos (``sub``).
        email: Its e-mail address.
        tenant: Its tenant; empty if it has none.
        status: Where it stands, as Cognito says it.
    """

    username: str
    user_id: str
    email: str
    tenant: str
    status: str


class Accounts:
    """The accounts of a user pool.

    Args:
        pool: The pool, with a client that has the rights which ``docs/mediactl.md`` names.
    """

    def __init__(self, pool: UserPool) -> None:
        self._pool = pool
        self._cognito = pool.cognito

    @classmethod
    def of(cls, environment: Environment) -> Accounts:
        """Return the accounts of an environment.

        Raises:
            CommandError: If it is not deployed.
        """
        return cls(UserPool.of(environment))

    def find(self, email: str) -> Account | None:
        """Return the account with an e-mail address, whose tenant may be any."""
        return next(self._list(f'email = "{email.translate(_SPECIAL)}"'), None)

    def starting_with(self, prefix: str) -> Iterator[Account]:
        """Go through the accounts whose names begin with ``prefix``."""
        yield from self._list(f'username ^= "{prefix.translate(_SPECIAL)}"')

    def _list(self, condition: str) -> Iterator[Account]:
        pages = self._cognito.get_paginator("list_users").paginate(
            UserPoolId=self._pool.pool_id, Filter=condition
        )
        for page in pages:
            for entry in page["Users"]:
                attributes = {a["Name"]: a.get("Value", "") for a in entry.get("Attributes", ())}
                yield Account(
                    username=entry["Username"],
                    user_id=attributes.get("sub", ""),
                    email=attributes.get("email", ""),
                    tenant=attributes.get(_TENANT, ""),
                    status=entry.get("UserStatus", "UNKNOWN"),
                )

    def create(
        self, username: str, *, email: str, tenant: str, temporary_password: str | None
    ) -> None:
        """Create an account.

        Args:
            username: Its name in the pool.
            email: Its e-mail address, which counts as verified.
            tenant: Its tenant.
            temporary_password: Its first password, of which nobody is told. Default: one that
                Cognito makes and sends to the address.

        Raises:
            botocore.exceptions.ClientError: If there is one with this name or address
                (``UsernameExistsException``, ``AliasExistsException``), or Cognito refuses it.
        """
        attributes = {"email": email, "email_verified": "true", _TENANT: tenant}
        how: dict[str, Any] = {"DesiredDeliveryMediums": ["EMAIL"]}
        if temporary_password is not None:
            how = {"MessageAction": "SUPPRESS", "TemporaryPassword": temporary_password}
        self._cognito.admin_create_user(
            UserPoolId=self._pool.pool_id,
            Username=username,
            UserAttributes=[{"Name": n, "Value": v} for n, v in attributes.items()],
            **how,
        )

    def ensure(self, username: str, *, tenant: str, groups: Iterable[str]) -> None:
        """Create the account of a program, if it is not there, and let it be in ``groups``.

        Nobody is told; its address is one that no mail can reach (RFC 2606).

        Args:
            username: Its name in the pool.
            tenant: Its tenant.
            groups: Groups of the platform.
        """
        exists = self._cognito.exceptions
        with contextlib.suppress(exists.UsernameExistsException, exists.AliasExistsException):
            self.create(
                username,
                email=_address(username),
                tenant=tenant,
                temporary_password=new_password(),
            )
        self.add_to_groups(username, groups)

    def add_to_groups(self, username: str, groups: Iterable[str]) -> None:
        """Let an account be in more groups."""
        for group in groups:
            self._cognito.admin_add_user_to_group(
                UserPoolId=self._pool.pool_id, Username=username, GroupName=group
            )

    def set_password(self, username: str, password: str, *, permanent: bool = True) -> None:
        """Give an account a password.

        Args:
            username: Its name in the pool.
            password: The password.
            permanent: Whether it need not be changed when the user signs in first.
        """
        self._cognito.admin_set_user_password(
            UserPoolId=self._pool.pool_id,
            Username=username,
            Password=password,
            Permanent=permanent,
        )

    def sign_in(self, username: str) -> str:
        """Sign in as a program, with a new password that is then forgotten.

        Args:
            username: Name of an account of a program; people would lose their password.

        Returns:
            An access token.

        Raises:
            CommandError: If Cognito asks for more than a password.
        """
        for attempt in range(SIGN_IN_ATTEMPTS):
            password = new_password()
            self.set_password(username, password)
            try:
                answer = self._pool.start(
                    "USER_PASSWORD_AUTH", USERNAME=username, PASSWORD=password
                )
            except self._cognito.exceptions.NotAuthorizedException:
                if attempt == SIGN_IN_ATTEMPTS - 1:
                    raise
                continue
            if "AuthenticationResult" in answer:
                return str(answer["AuthenticationResult"]["AccessToken"])
            raise CommandError(
                f"signing in as {username} takes more than a password: {answer['ChallengeName']}",
                hint="sign in yourself, and set MEDIACTL_TOKEN",
            )
        raise AssertionError  # the last attempt returns or raises

    def delete(self, username: str) -> None:
        """Delete an account; one that is not there is no error."""
        with contextlib.suppress(self._cognito.exceptions.UserNotFoundException):
            self._cognito.admin_delete_user(UserPoolId=self._pool.pool_id, Username=username)


def _address(username: str) -> str:
    """Return the address of a program, whose first part has 64 characters at most (RFC 5321)."""
    local = username
    if len(local) > _LOCAL_PART_CHARACTERS or ":" in local:
        local = hashlib.sha256(username.encode()).hexdigest()[:32]
    return f"{local}@mediactl.invalid"


def new_password() -> str:
    """Return a password that nobody guesses, of all kinds of characters that the pool asks for."""
    return f"{secrets.token_urlsafe(_PASSWORD_BYTES)}aA1!"
