"""Which claims an access token gets: a pure function of the trigger's event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from media_platform.contract.identity import TENANT_ATTRIBUTE, TENANT_CLAIM
from media_platform.contract.object_keys import is_key_segment

USER_ATTRIBUTE = f"custom:{TENANT_ATTRIBUTE}"
"""The attribute as Cognito writes it."""


class InvalidTenantError(ValueError):
    """The tenant of a user has a name that no object key may contain."""


def access_token_claims(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims to add to the access token; none for a user without a tenant.

    Args:
        event: Event of the pre-token-generation trigger, version 2.

    Raises:
        InvalidTenantError: If the tenant's name cannot stand in an object key.
    """
    tenant = event["request"].get("userAttributes", {}).get(USER_ATTRIBUTE, "")
    if not tenant:
        return {}
    if not is_key_segment(tenant):
        raise InvalidTenantError(
            f"attribute {USER_ATTRIBUTE} is {tenant!r}; a tenant starts with a letter or digit and "
            "goes on with at most 127 letters, digits, '_', '.', ':' or '-'; correct the user"
        )
    return {TENANT_CLAIM: tenant}
