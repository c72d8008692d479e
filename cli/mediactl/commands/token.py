"""``mediactl token``: who the commands are to the API of an environment."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from mediactl import output
from mediactl.access import sessions
from mediactl.errors import REFUSED, USAGE, CommandError
from mediactl.options import HELP, Group, environment_option, json_option, tenant_option

if TYPE_CHECKING:
    from mediactl.access.sessions import UserPool
    from mediactl.environment import Environment

PASSWORD_VARIABLE = "MEDIACTL_PASSWORD"  # noqa: S105  the name of a variable
NEW_PASSWORD_VARIABLE = "MEDIACTL_NEW_PASSWORD"  # noqa: S105  the name of a variable


@dataclass(frozen=True)
class SignedIn:
    """Who signed in, or out.

    Attributes:
        environment: The environment.
        user: Address of the user; nobody's if nobody was signed in.
    """

    environment: str
    user: str | None


@dataclass(frozen=True)
class ShownToken:
    """An access token.

    Attributes:
        access_token: The token.
        user: What the platform calls the user (``sub``).
        tenant: Its tenant.
        groups: Its groups.
        expires_at: Time at which the token ends.
    """

    access_token: str
    user: str
    tenant: str | None
    groups: list[str]
    expires_at: str


@click.group(name="token", cls=Group, context_settings=HELP)
def group() -> None:
    """Sign in to the API of an environment, and get access tokens for other programs."""


@group.command()
@environment_option
@click.option("--user", metavar="ADDRESS", help="E-mail address. Default: it is asked for.")
@json_option(SignedIn)
def login(environment: Environment, user: str | None, as_json: bool) -> None:
    """Sign in to the API of an environment.

    Asks for the password, for a new one at the first sign-in, and for the code of the second
    factor. Without a terminal they are read from stdin, a line each; MEDIACTL_PASSWORD and
    MEDIACTL_NEW_PASSWORD come first. They are never an option, since other users of a machine see
    command lines. What is kept is a refresh token, in a file that only you can read.

    \b
    Examples:
      mediactl token login -e local --user USER
    """
    if user is None:
        user = _ask("address")
    pool = sessions.UserPool.of(environment)
    password = os.environ.get(PASSWORD_VARIABLE) or _ask("password", secret=True)
    answer = _told(pool, user, lambda: pool.start(_FLOW, USERNAME=user, PASSWORD=password))
    while "AuthenticationResult" not in answer:
        answer = _told(pool, user, functools.partial(_answer, pool, user, answer))
    sessions.StoredSession(
        environment=environment.name,
        user=user,
        client_id=pool.client_id,
        refresh_token=answer["AuthenticationResult"]["RefreshToken"],
    ).store()
    output.show(
        SignedIn(environment.name, user),
        as_json,
        lambda one: output.say(f"{one.user} is signed in to {one.environment}"),
    )


_FLOW = "USER_PASSWORD_AUTH"


def _answer(pool: UserPool, user: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Answer a challenge of the user pool."""
    challenge = asked["ChallengeName"]
    if challenge == "NEW_PASSWORD_REQUIRED":
        output.say(
            "the first password is to be replaced: 12 characters or more, of lower and upper"
        )
        output.say("case, digits and symbols")
        chosen = os.environ.get(NEW_PASSWORD_VARIABLE) or _ask(
            "new password", secret=True, new=True
        )
        responses = {"NEW_PASSWORD": chosen}
    elif challenge == "SOFTWARE_TOKEN_MFA":
        responses = {"SOFTWARE_TOKEN_MFA_CODE": _ask("code of the authenticator")}
    else:
        raise CommandError(
            f"the user pool asks for {challenge}, which this command cannot answer",
            hint="sign in by another client, and give its access token as MEDIACTL_TOKEN",
        )
    return dict(
        pool.cognito.respond_to_auth_challenge(
            ClientId=pool.client_id,
            ChallengeName=challenge,
            Session=asked["Session"],
            ChallengeResponses={"USERNAME": user, **responses},
        )
    )


def _told(pool: UserPool, user: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Ask the user pool, and tell a refusal as the person understands it."""
    refused = pool.cognito.exceptions
    try:
        return call()
    except (refused.NotAuthorizedException, refused.UserNotFoundException):
        raise CommandError(
            f"{user} cannot sign in with this password",
            hint="check both; a first password is good for 3 days, and a disabled user for nothing",
            exit_code=REFUSED,
        ) from None
    except refused.InvalidPasswordException as error:
        raise CommandError(
            f"the new password is not accepted: {error.response['Error']['Message']}",
            hint="sign in again and choose another",
            exit_code=REFUSED,
        ) from None
    except (refused.CodeMismatchException, refused.ExpiredCodeException):
        raise CommandError(
            "the code of the authenticator is not right",
            hint="sign in again with the next one, and check the clock of this machine",
            exit_code=REFUSED,
        ) from None
    except refused.PasswordResetRequiredException:
        raise CommandError(
            f"the password of {user} is to be reset first",
            hint="docs/auth.md tells how, under `Password reset`",
            exit_code=REFUSED,
        ) from None


def _ask(what: str, *, secret: bool = False, new: bool = False) -> str:
    """Return what the person types, or the next line of stdin where there is no terminal."""
    if sys.stdin is None:
        text = ""
    elif sys.stdin.isatty():
        text = str(click.prompt(what, hide_input=secret, confirmation_prompt=new, err=True))
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise CommandError(
            f"the {what} is missing", hint="type it, or send it to stdin as a line", exit_code=USAGE
        )
    return text


@group.command()
@environment_option
@tenant_option
@json_option(ShownToken)
def show(environment: Environment, tenant: str | None, as_json: bool) -> None:
    """Print an access token for other programs, such as curl.

    It opens the API for as long as it lives, an hour at most: keep it out of logs.

    \b
    Examples:
      mediactl token show
      mediactl token show --tenant TENANT --json
    """
    token = sessions.access_token(environment, tenant=tenant)
    said = sessions.claims(token)
    shown = ShownToken(
        access_token=token,
        user=str(said.get("sub")),
        tenant=said.get("tenant"),
        groups=list(said.get("cognito:groups", ())),
        expires_at=datetime.fromtimestamp(said.get("exp", 0), UTC).isoformat(timespec="seconds"),
    )
    output.show(shown, as_json, lambda one: click.echo(one.access_token))


@group.command()
@environment_option
@json_option(SignedIn)
def logout(environment: Environment, as_json: bool) -> None:
    """Withdraw the session that is stored for an environment, and forget it.

    Access tokens that were made of it live until they end, for an hour at most.

    \b
    Examples:
      mediactl token logout -e local
    """
    pool = sessions.UserPool.of(environment)
    session = sessions.stored_session(pool.client_id)
    if session is not None:
        pool.cognito.revoke_token(ClientId=pool.client_id, Token=session.refresh_token)
        sessions.session_file(pool.client_id).unlink(missing_ok=True)
    done = SignedIn(environment.name, session.user if session else None)
    output.show(done, as_json, _tell_logout)


def _tell_logout(done: SignedIn) -> None:
    if done.user is None:
        output.say(f"nobody was signed in to {done.environment}")
    else:
        output.say(f"{done.user} is signed out of {done.environment}")
