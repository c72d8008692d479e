"""Users write only the attributes that the app client may write, as on Cognito.

Sources: Amazon Cognito User Pools API Reference, "CreateUserPoolClient", ``WriteAttributes``:
without the list, an app client writes the standard attributes; "UpdateUserAttributes" and "SignUp",
``NotAuthorizedException``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import cognito


def install() -> None:
    """Refuse attributes that an app client may not write."""
    update: Callable[[dict[str, Any]], Any] = cognito._update_user_attributes  # noqa: SLF001
    sign_up: Callable[[dict[str, Any]], Any] = cognito._sign_up  # noqa: SLF001

    def update_user_attributes(data: dict[str, Any]) -> Any:
        client_id = _client_of(str(data.get("AccessToken", "")))
        return _refusal(client_id, data) or update(data)

    def sign_up_user(data: dict[str, Any]) -> Any:
        return _refusal(str(data.get("ClientId", "")), data) or sign_up(data)

    cognito._update_user_attributes = update_user_attributes  # noqa: SLF001
    cognito._sign_up = sign_up_user  # noqa: SLF001


def _client_of(access_token: str) -> str:
    """Return the app client of a token that MiniStack verifies itself; empty if it is none."""
    try:
        claims = access_token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=="))["client_id"])
    except (IndexError, KeyError, TypeError, ValueError):
        return ""


def _refusal(client_id: str, data: dict[str, Any]) -> Any:
    client = next(
        (
            pool["_clients"][client_id]
            for pool in cognito._user_pools.values()  # noqa: SLF001
            if client_id in pool["_clients"]
        ),
        None,
    )
    if client is None:
        return None
    listed = client.get("WriteAttributes")
    for attribute in data.get("UserAttributes") or ():
        name = str(attribute.get("Name", ""))
        if name not in listed if listed else name.startswith("custom:"):
            return error_response_json(
                "NotAuthorizedException", "A client attempted to write unauthorized attribute", 400
            )
    return None
