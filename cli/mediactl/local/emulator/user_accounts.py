"""Who may become a user, and what keeps users apart.

MiniStack lets anybody sign up, takes an e-mail address as the name of a user where addresses are
aliases of names, and gives one address to several users. On Cognito, a script that does so fails.

Source: Amazon Cognito User Pools API Reference, "AdminCreateUserConfigType",
``AllowAdminCreateUserOnly``; "AdminCreateUser", ``AliasExistsException`` and
``ForceAliasCreation``; Amazon Cognito Developer Guide, "Customizing sign-in attributes": in a pool
with aliases, the user name "can't be in the format of an email address".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import cognito

_EMAIL = "email"


def install() -> None:
    """Refuse users who make themselves, names that are addresses, and addresses that are taken."""
    create: Callable[[dict[str, Any]], Any] = cognito._admin_create_user  # noqa: SLF001
    sign_up: Callable[[dict[str, Any]], Any] = cognito._sign_up  # noqa: SLF001

    def admin_create_user(data: dict[str, Any]) -> Any:
        pool = cognito._user_pools.get(data.get("UserPoolId"))  # noqa: SLF001
        return _refusal(pool, data, taken_counts=True) or create(data)

    def sign_up_user(data: dict[str, Any]) -> Any:
        pool, _ = cognito._pool_for_client(data.get("ClientId"))  # noqa: SLF001
        if pool and (pool.get("AdminCreateUserConfig") or {}).get("AllowAdminCreateUserOnly"):
            return error_response_json(
                "NotAuthorizedException", "SignUp is not permitted for this user pool", 400
            )
        # Who signs up himself loses the race for an address when he confirms it, not before.
        return _refusal(pool, data, taken_counts=False) or sign_up(data)

    cognito._admin_create_user = admin_create_user  # noqa: SLF001
    cognito._sign_up = sign_up_user  # noqa: SLF001


def _refusal(pool: dict[str, Any] | None, data: dict[str, Any], *, taken_counts: bool) -> Any:
    if pool is None or _EMAIL not in (pool.get("AliasAttributes") or ()):
        return None
    if "@" in str(data.get("Username", "")):
        return error_response_json(
            "InvalidParameterException",
            "Username cannot be of email format, since user pool is configured for email alias.",
            400,
        )
    attributes = {a["Name"]: a.get("Value") for a in data.get("UserAttributes") or ()}
    verified = str(attributes.get("email_verified", "")).lower() == "true"
    if not (taken_counts and verified) or data.get("ForceAliasCreation"):
        return None
    if data.get("MessageAction") == "RESEND":
        return None
    for user in pool["_users"].values():
        known = {a["Name"]: a.get("Value") for a in user.get("Attributes", ())}
        if (
            known.get(_EMAIL) == attributes.get(_EMAIL)
            and str(known.get("email_verified", "")).lower() == "true"
        ):
            return error_response_json(
                "AliasExistsException", "An account with the email already exists.", 400
            )
    return None
