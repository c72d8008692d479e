"""Who calls the API of an environment, and where the access tokens come from.

The first that there is:

1. ``MEDIACTL_TOKEN``, an access token, for programs that have one;
2. the session that ``mediactl token login`` stored for the environment: a refresh token;
3. on a plane on this machine, a user that is made on the spot.

Passwords and access tokens are kept nowhere, and no token stands in an error or a log.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media_platform.contract import identity
from media_platform.contract.outputs import MediaOutput
from mediactl.environment import user_folder
from mediactl.errors import REFUSED, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mediactl.client import MediaClient, Tokens
    from mediactl.environment import Environment

TOKEN_VARIABLE = "MEDIACTL_TOKEN"  # noqa: S105  the name of a variable
TENANT_VARIABLE = "MEDIACTL_TENANT"
DEFAULT_TENANT = "demo"
OPERATOR_TENANT = "operators"
"""Tenant of the operators of the stages that planes run (``operator_tenant`` in ``cdk.json``)."""

ATTEMPTS = 5
"""How often a command sends a request to the API, in all, before it gives up."""


@dataclass(frozen=True)
class UserPool:
    """The users of a platform.

    Attributes:
        cognito: Client of the region of the pool.
        pool_id: Id of the pool.
        client_id: Its app client.
    """

    cognito: Any
    pool_id: str
    client_id: str

    @classmethod
    def of(cls, environment: Environment) -> UserPool:
        """Return the pool of an environment.

        Raises:
            CommandError: If the environment is not deployed.
        """
        return cls(
            environment.client("cognito-idp"),
            environment.output(MediaOutput.USER_POOL_ID),
            environment.output(MediaOutput.USER_POOL_CLIENT_ID),
        )

    def start(self, flow: str, **parameters: str) -> dict[str, Any]:
        """Begin to sign in, and return tokens or a challenge."""
        return dict(
            self.cognito.initiate_auth(
                ClientId=self.client_id, AuthFlow=flow, AuthParameters=parameters
            )
        )

    def sign_in_as(self, name: str, *, tenant: str, groups: Sequence[str]) -> str:
        """Make a user of a plane on this machine, unless there is one, and return a token of it.

        The password follows from the name, so that many commands may do this at a time. It keeps
        nobody out: who reaches the plane has every right there by its fixed credentials.

        Args:
            name: Name of the user.
            tenant: Its tenant.
            groups: Groups that it is to be in.
        """
        attributes = {
            "email": f"{name.replace(' ', '.')}@example.com",
            "email_verified": "true",
            f"custom:{identity.TENANT_ATTRIBUTE}": tenant,
        }
        taken = self.cognito.exceptions
        with contextlib.suppress(taken.UsernameExistsException, taken.AliasExistsException):
            self.cognito.admin_create_user(
                UserPoolId=self.pool_id,
                Username=name,
                MessageAction="SUPPRESS",
                UserAttributes=[{"Name": key, "Value": value} for key, value in attributes.items()],
            )
        for group in groups:
            self.cognito.admin_add_user_to_group(
                UserPoolId=self.pool_id, Username=name, GroupName=group
            )
        password = f"{hashlib.sha256(f'{self.pool_id} {name}'.encode()).hexdigest()[:32]}aA1!"
        self.cognito.admin_set_user_password(
            UserPoolId=self.pool_id, Username=name, Password=password, Permanent=True
        )
        answer = self.start("USER_PASSWORD_AUTH", USERNAME=name, PASSWORD=password)
        return str(answer["AuthenticationResult"]["AccessToken"])


@dataclass(frozen=True, kw_only=True)
class StoredSession:
    """Somebody who signed in to an environment.

    Attributes:
        environment: The environment, as the person called it.
        user: Address by which the user signed in.
        client_id: App client of the user pool, by which the session is found.
        refresh_token: Makes access tokens until it ends or is withdrawn.
    """

    environment: str
    user: str
    client_id: str
    refresh_token: str = field(repr=False)

    def store(self) -> None:
        """Keep it in a file that only its owner reads, instead of the one before."""
        from mediactl.local.state import write_json  # noqa: PLC0415 - slow to import

        write_json(session_file(self.client_id, make=True), asdict(self))


def user_state() -> Path:
    """Return the folder in which ``mediactl`` keeps what belongs to the person on this machine.

    Raises:
        CommandError: If there is no home folder.
    """
    folder = user_folder("XDG_STATE_HOME", ".local/state")
    if folder is None:
        raise CommandError(
            "there is no home folder to keep sessions and uploads in",
            hint="set HOME, or XDG_STATE_HOME to a folder that can be written to",
        )
    return folder / "mediactl"


def session_file(client_id: str, *, make: bool = False) -> Path:
    """Return the file of the session at an app client.

    Args:
        client_id: The app client.
        make: Whether its folder is made if there is none.
    """
    folder = user_state() / "sessions"
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{client_id}.json"


def stored_session(client_id: str) -> StoredSession | None:
    """Return the session that is stored for an app client, if there is one."""
    file = session_file(client_id)
    if not file.exists():
        return None
    from mediactl.local.state import read_state  # noqa: PLC0415 - slow to import

    return read_state(file, StoredSession)


def access_token(
    environment: Environment, *, tenant: str | None = None, operator: bool = False
) -> str:
    """Return an access token for the API of an environment.

    Args:
        environment: The environment.
        tenant: Tenant of the user. Default: ``MEDIACTL_TENANT``; without it, that of whoever signed
            in, and on a plane on this machine ``demo``.
        operator: Whether an operator is needed; makes a difference on a plane on this machine only,
            where the user is made on the spot.

    Raises:
        CommandError: If nobody is signed in, or the user is of another tenant than was named.
    """
    return tokens(environment, tenant=tenant, operator=operator).current()


def client(
    environment: Environment, *, tenant: str | None = None, operator: bool = False
) -> MediaClient:
    """Return a client of the API of an environment, which signs in when it is first used.

    Args:
        environment: The environment.
        tenant: As in :func:`access_token`.
        operator: As in :func:`access_token`.
    """
    from mediactl.client import MediaClient  # noqa: PLC0415 - slow to import

    return MediaClient(
        environment.base_url,
        tokens(environment, tenant=tenant, operator=operator),
        attempts=ATTEMPTS,
    )


def tokens(
    environment: Environment, *, tenant: str | None = None, operator: bool = False
) -> Tokens:
    """Return the access tokens of an environment, made anew whenever one has expired.

    Args:
        environment: The environment.
        tenant: As in :func:`access_token`.
        operator: As in :func:`access_token`.
    """
    from mediactl.client import Tokens  # noqa: PLC0415 - slow to import

    wanted = tenant or os.environ.get(TENANT_VARIABLE) or None
    make = _token_maker(environment, OPERATOR_TENANT if operator and not tenant else wanted)

    def checked() -> str:
        token = make()
        if tenant is not None:
            _check_tenant(token, tenant)
        return token

    return Tokens(checked)


def _token_maker(environment: Environment, tenant: str | None) -> Callable[[], str]:
    def make() -> str:
        given = os.environ.get(TOKEN_VARIABLE)
        if given:
            return _plain(given)
        pool = UserPool.of(environment)
        session = stored_session(pool.client_id)
        if session is not None:
            return _refreshed(environment, pool, session)
        if environment.is_local:
            name = f"mediactl-{tenant or DEFAULT_TENANT}"
            groups = (identity.ADMIN_GROUP, identity.EDITOR_GROUP)
            return pool.sign_in_as(name, tenant=tenant or DEFAULT_TENANT, groups=groups)
        raise CommandError(
            f"nobody is signed in to {environment.name}",
            hint=f"mediactl token login -e {environment.name}",
            exit_code=REFUSED,
        )

    return make


def _plain(token: str) -> str:
    """Return a token as it is sent; what no header can hold would stand in an error."""
    stripped = token.strip()
    if not stripped.isascii() or any(not one.isprintable() or one == " " for one in stripped):
        raise _no_token()
    return stripped


def _no_token() -> CommandError:
    return CommandError(
        "that is no access token", hint=f"check what {TOKEN_VARIABLE} holds", exit_code=REFUSED
    )


def _refreshed(environment: Environment, pool: UserPool, session: StoredSession) -> str:
    try:
        answer = pool.start("REFRESH_TOKEN_AUTH", REFRESH_TOKEN=session.refresh_token)
    except pool.cognito.exceptions.NotAuthorizedException:
        raise CommandError(
            f"the session of {session.user} at {environment.name} has ended",
            hint=f"sign in again: mediactl token login -e {environment.name}",
            exit_code=REFUSED,
        ) from None
    return str(answer["AuthenticationResult"]["AccessToken"])


def claims(token: str) -> dict[str, Any]:
    """Return what an access token says, unverified: whoever it is sent to does that.

    Raises:
        CommandError: If it is no token.
    """
    try:
        body = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        said = None
    if not isinstance(said, dict):
        raise _no_token()
    return said


def _check_tenant(token: str, tenant: str) -> None:
    actual = claims(token).get(identity.TENANT_CLAIM)
    if actual != tenant:
        raise CommandError(
            f"the user that is signed in is of tenant {actual!r}, not of {tenant!r}",
            hint="leave --tenant out, or sign in as a user of that tenant",
            exit_code=REFUSED,
        )
