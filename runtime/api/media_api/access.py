"""Who may call which route.

Every route carries exactly one rule, written above its handler. A route without one cannot be made
(:class:`RuledRoute`), so that forgetting it fails at start and not in production. The rule is held
before anything of the request is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from media_api.problems import Kind, Problem, unavailable
from media_api.tokens import (
    Caller,
    InvalidTokenError,
    KeysUnavailableError,
    NoTenantError,
    TokenVerifier,
)
from media_platform.contract.identity import ADMIN_GROUP, EDITOR_GROUP, NOBODY

_KEYS_RETRY_SECONDS = 5


@dataclass(frozen=True)
class Rule:
    """Who may call a route.

    Attributes:
        name: Name of the rule, in documents and tests.
        needs_token: Whether a valid access token is needed. Where none is, one that is sent is
            looked at only if ``takes_token`` says so.
        groups: Groups of which the caller must be in one. Default: any signed-in user.
        takes_token: Whether a token makes a difference; one that is sent has to be valid.
        operators: Whether the caller must belong to the tenant that operates the stage.
    """

    name: str
    needs_token: bool = True
    groups: frozenset[str] = frozenset()
    takes_token: bool = True
    operators: bool = False


ANYONE = Rule("anyone", needs_token=False, takes_token=False)
"""Nothing is needed, because nothing of anyone's is told."""

SIGNED_RUN = Rule("signed-run", needs_token=False, takes_token=False)
"""The playback signature in the query is the authorization; the handler verifies it."""

MEMBER = Rule("member")
"""Any signed-in user of a tenant."""

MEMBER_OR_PUBLIC = Rule("member-or-public", needs_token=False)
"""Anyone, for PUBLIC videos; who is signed in sees those of the tenant, too."""

EDITOR = Rule("editor", groups=frozenset({EDITOR_GROUP, ADMIN_GROUP}))
"""Who may add videos."""

ADMIN = Rule("admin", groups=frozenset({ADMIN_GROUP}))
"""Administrators of a tenant, for what is of their own tenant; operators for that of any."""

OPERATOR = Rule("operator", groups=frozenset({ADMIN_GROUP}), operators=True)
"""Administrators of the tenant that operates the stage."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
"""Answers a request."""

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_RULE = "__access_rule__"


def allow(rule: Rule) -> Callable[[Endpoint], Endpoint]:
    """Put ``rule`` on a handler."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _RULE, rule)
        return endpoint

    return mark


class RuledRoute(APIRoute):
    """A route that holds its rule before its handler runs.

    Attributes:
        rule: The rule of the route.

    Raises:
        TypeError: If the handler has no rule.
    """

    rule: Rule

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        rule = getattr(endpoint, _RULE, None)
        if not isinstance(rule, Rule):
            raise TypeError(f"the handler of {path} has no access rule; put @allow(...) on it")
        self.rule = rule
        super().__init__(path, endpoint, **options)
        # What the framework keeps open for a handler, it closes with this.
        self.app = self._answer if self._is_plain() else AsyncExitStackMiddleware(self.app)

    def get_route_handler(self) -> Handler:
        """Return the handler behind the rule."""
        return self._guarded(super().get_route_handler())

    def _guarded(self, handler: Handler) -> Handler:
        rule = self.rule
        if not rule.takes_token:
            return handler

        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization")
            anonymous = given is None and not rule.needs_token
            request.scope["caller"] = None if anonymous else await _admit(request, rule, given)
            return await handler(request)

        return guarded

    def _is_plain(self) -> bool:
        """Tell whether the handler takes the request and names from the path as they are.

        Most do, and what the framework does before it calls one has nothing to do for them; it
        would take longer than they do.
        """
        needs = self.dependant
        others = (
            *needs.query_params,
            *needs.header_params,
            *needs.cookie_params,
            *needs.body_params,
            *needs.dependencies,
            *filter(
                None,
                (
                    needs.http_connection_param_name,
                    needs.response_param_name,
                    needs.background_tasks_param_name,
                ),
            ),
        )
        return not others and all(
            parameter.field_info.annotation is str and not parameter.field_info.metadata
            for parameter in needs.path_params
        )

    @cached_property
    def _plain(self) -> Handler:
        endpoint, name = self.endpoint, self.dependant.request_param_name

        async def handle(request: Request) -> Response:
            given = {name: request} if name else {}
            answer: Response = await endpoint(**given, **request.path_params)
            return answer

        return self._guarded(handle)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._plain(Request(scope, receive, send))
        await answer(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """Return who makes a request whose route needs a token."""
    caller: Caller = request.scope["caller"]
    return caller


def viewer_of(request: Request) -> Caller | None:
    """Return who makes a request whose route takes a token, or ``None`` if nobody is signed in."""
    viewer: Caller | None = request.scope["caller"]
    return viewer


async def _admit(request: Request, rule: Rule, authorization: str | None) -> Caller:
    verifier: TokenVerifier = request.app.state.tokens
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthenticated(
            "there is no access token; sign in and send it as Authorization: Bearer <token>"
        )
    try:
        caller = await verifier.verify(token.strip())
    except InvalidTokenError as error:
        raise _unauthenticated(str(error), error="invalid_token") from None
    except NoTenantError as error:
        raise Problem(Kind.NO_TENANT, str(error)) from None
    except KeysUnavailableError:
        raise unavailable(
            "access tokens cannot be checked, because the keys of their issuer cannot be read",
            retry_after_seconds=_KEYS_RETRY_SECONDS,
        ) from None
    request.scope["caller"] = caller
    if rule.groups and not caller.is_in(*rule.groups):
        allowed = " or ".join(sorted(rule.groups))
        raise Problem(
            Kind.FORBIDDEN,
            f"this needs the group {allowed}; ask an administrator of the tenant to add the user, "
            "and sign in again",
        )
    if rule.operators and not is_operator(request, caller):
        raise Problem(
            Kind.FORBIDDEN,
            "this is for operators of the platform: administrators of the tenant that the stage "
            "names as operator_tenant; ask one of them",
        )
    return caller


def is_operator(request: Request, caller: Caller) -> bool:
    """Tell whether a caller operates the stage; nobody does in an application that names none."""
    operator_tenant = getattr(request.app.state, "operator_tenant", NOBODY)
    return caller.tenant == operator_tenant and caller.is_in(ADMIN_GROUP)


def _unauthenticated(detail: str, *, error: str | None = None) -> Problem:
    """Return the problem of a token that is missing or refused (RFC 6750, section 3)."""
    challenge = 'Bearer realm="media-platform"'
    if error:
        challenge += f', error="{error}"'
    return Problem(Kind.UNAUTHENTICATED, detail, headers={"WWW-Authenticate": challenge})
