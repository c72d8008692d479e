"""Challenges are answered with the session that came with them, once, and within minutes.

MiniStack gives a session with every challenge and never asks for it, so that a name alone would set
a first password, and a code alone would stand for the password it follows. A first password that
breaks the policy of the pool is refused here, too.

Source: Amazon Cognito User Pools API Reference, "RespondToAuthChallenge", ``Session``; Amazon
Cognito Developer Guide, "Authentication flow session duration": three minutes by default.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import cognito

SESSION_SECONDS = 180
_CHALLENGES = frozenset({"NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA"})

Handler = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class _Session:
    client: str
    challenge: str
    user: str
    ends_at: float


class Challenges:
    """The sessions of challenges that were not answered yet."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def install(self) -> None:
        """Remember what is asked, and hold answers against it."""
        for name in ("_initiate_auth", "_admin_initiate_auth"):
            setattr(cognito, name, self._asking(getattr(cognito, name)))
        for name in ("_respond_to_auth_challenge", "_admin_respond_to_auth_challenge"):
            setattr(cognito, name, self._answering(getattr(cognito, name)))

    def _asking(self, handler: Handler) -> Handler:
        def initiate(data: dict[str, Any]) -> Any:
            answer = handler(data)
            username = str((data.get("AuthParameters") or {}).get("USERNAME", ""))
            self._remember(str(data.get("ClientId", "")), username, answer)
            return answer

        return initiate

    def _answering(self, handler: Handler) -> Handler:
        def respond(data: dict[str, Any]) -> Any:
            challenge = data.get("ChallengeName")
            client = str(data.get("ClientId", ""))
            username = str((data.get("ChallengeResponses") or {}).get("USERNAME", ""))
            session = str(data.get("Session", ""))
            if challenge in _CHALLENGES:
                refusal = self._refusal(session, client, str(challenge), username)
                refusal = refusal or _weak_password(client, data)
                if refusal:
                    return refusal
            answer = handler(data)
            if answer[0] < 400:  # noqa: PLR2004 - HTTP errors
                # A wrong code may be corrected; what was accepted is over.
                self._sessions.pop(session, None)
            self._remember(client, username, answer)
            return answer

        return respond

    def _remember(self, client: str, username: str, answer: Any) -> None:
        body = _body_of(answer)
        session, challenge = body.get("Session"), body.get("ChallengeName")
        if session and challenge in _CHALLENGES:
            self._sessions[session] = _Session(
                client, challenge, _name_of(client, username), time.monotonic() + SESSION_SECONDS
            )

    def _refusal(self, session: str, client: str, challenge: str, username: str) -> Any:
        known = self._sessions.get(session)
        if known is None or (known.client, known.challenge, known.user) != (
            client,
            challenge,
            _name_of(client, username),
        ):
            return error_response_json(
                "NotAuthorizedException", "Invalid session for the user.", 400
            )
        if time.monotonic() > known.ends_at:
            del self._sessions[session]
            return error_response_json(
                "NotAuthorizedException", "Invalid session for the user, session is expired.", 400
            )
        return None


def _name_of(client: str, username: str) -> str:
    """Return the name of a user that may be given by its alias."""
    pool, _ = cognito._pool_for_client(client)  # noqa: SLF001
    user = cognito._resolve_user(pool, username)[0] if pool else None  # noqa: SLF001
    return str(user["Username"]) if user else username


def _weak_password(client: str, data: dict[str, Any]) -> Any:
    responses = data.get("ChallengeResponses") or {}
    pool, _ = cognito._pool_for_client(client)  # noqa: SLF001
    if data.get("ChallengeName") != "NEW_PASSWORD_REQUIRED" or pool is None:
        return None
    return cognito._validate_password(pool, str(responses.get("NEW_PASSWORD", "")))  # noqa: SLF001


def _body_of(answer: Any) -> dict[str, Any]:
    try:
        body = json.loads(answer[2])
    except (TypeError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
