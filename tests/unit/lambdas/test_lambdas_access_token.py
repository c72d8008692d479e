"""The claims that an access token gets."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from access_token.claims import InvalidTenantError, access_token_claims
from access_token.handler import handle


def trigger(**attributes: str) -> dict[str, Any]:
    return {
        "version": "2",
        "triggerSource": "TokenGeneration_Authentication",
        "region": "eu-central-1",
        "userPoolId": "eu-central-1_abc",
        "userName": "ada",
        "callerContext": {"awsSdkVersion": "x", "clientId": "client"},
        "request": {
            "userAttributes": {"sub": "s", "email": "ada@example.com", **attributes},
            "groupConfiguration": {"groupsToOverride": ["editor"]},
            "scopes": ["aws.cognito.signin.user.admin"],
        },
        "response": {"claimsAndScopeOverrideDetails": None},
    }


def test_the_tenant_goes_into_the_access_token_and_nothing_else_changes() -> None:
    event = trigger(**{"custom:tenant": "acme"})
    expected = copy.deepcopy(event)
    expected["response"] = {
        "claimsAndScopeOverrideDetails": {
            "accessTokenGeneration": {"claimsToAddOrOverride": {"tenant": "acme"}}
        }
    }
    assert handle(event, None) == expected


@pytest.mark.parametrize("attributes", [{}, {"custom:tenant": ""}, {"tenant": "acme"}])
def test_a_user_without_a_tenant_gets_no_claim(attributes: dict[str, str]) -> None:
    event = trigger(**attributes)
    assert handle(copy.deepcopy(event), None) == event


@pytest.mark.parametrize("tenant", ["a/b", "..", "-a", "a..b", "ä", "a" * 129, "a\n"])
def test_a_tenant_that_cannot_stand_in_a_key_gets_no_claim(tenant: str) -> None:
    event = trigger(**{"custom:tenant": tenant})
    assert handle(copy.deepcopy(event), None) == event
    with pytest.raises(InvalidTenantError, match="correct the user"):
        access_token_claims(event)


def test_a_client_that_is_no_user_gets_no_claim() -> None:
    event = trigger()
    del event["request"]["userAttributes"]
    assert access_token_claims(event) == {}
