"""The pre-token-generation trigger of the user pool, event version 2 (Essentials plan).

Handler ``access_token.handler.handle``; no environment; timeout 5 s, which is as long as Cognito
waits. The role needs nothing beside writing its own logs. The function's resource policy admits
``cognito-idp.amazonaws.com`` with the user pool as source ARN and the account as source account.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from access_token.claims import InvalidTenantError, access_token_claims
from media_platform.contract.logs import log_as_json

_LOG = logging.getLogger(__name__)


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Add the tenant to the access token; everything else stays as Cognito would have it.

    A user without a tenant, or with one that cannot be used, signs in without the claim, and the
    API turns such a token away.

    Source: Amazon Cognito Developer Guide, "Pre token generation Lambda trigger".
    """
    _start()
    try:
        claims = access_token_claims(event)
    except InvalidTenantError as error:
        _LOG.warning("%s", error, extra={"user": event.get("userName")})
        claims = {}
    if claims:
        event["response"]["claimsAndScopeOverrideDetails"] = {
            "accessTokenGeneration": {"claimsToAddOrOverride": claims}
        }
    return event


@functools.cache
def _start() -> None:
    """Set the log up once, at the cold start."""
    log_as_json()
