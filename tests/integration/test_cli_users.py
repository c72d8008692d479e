"""``mediactl users`` and ``tenants`` on the plane of the session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import Mediactl
from conftest import RunningPlane

from media_platform.contract.identity import EDITOR_GROUP
from media_platform.contract.ids import new_id
from mediactl.access.accounts import Accounts
from mediactl.access.sessions import UserPool
from mediactl.errors import NOT_FOUND, REFUSED, USAGE


@pytest.fixture(scope="module")
def accounts(plane: RunningPlane, outputs: dict[str, str]) -> Accounts:
    pool = UserPool(plane.client("cognito-idp"), outputs["UserPoolId"], outputs["UserPoolClientId"])
    return Accounts(pool)


@pytest.fixture
def tenant() -> str:
    """A tenant of which no other test knows."""
    return f"tenant-{new_id()}"


@pytest.fixture
def email() -> str:
    return f"{new_id()[-12:]}@example.com"


def groups_of(plane: RunningPlane, outputs: dict[str, str], username: str) -> set[str]:
    answer = plane.client("cognito-idp").admin_list_groups_for_user(
        UserPoolId=outputs["UserPoolId"], Username=username
    )
    return {group["GroupName"] for group in answer["Groups"]}


def test_a_user_is_created_shown_listed_changed_and_kept_out(
    mediactl: Mediactl,
    plane: RunningPlane,
    outputs: dict[str, str],
    accounts: Accounts,
    tenant: str,
    email: str,
) -> None:
    of = ("--tenant", tenant)
    dry = mediactl("users", "create", email, *of, "--dry-run", "--json").json
    assert (dry["created"], dry["tenant"], dry["groups"]) == (False, tenant, ["viewer"])
    assert accounts.find(email) is None

    made = mediactl(
        "users", "create", email, *of, "--group", "editor", "--name", "Ada", "--no-invite", "--json"
    ).json
    assert (made["created"], made["tenant"], made["groups"]) == (True, tenant, ["editor"])
    assert len(made["temporary_password"]) >= 12
    again = mediactl("users", "create", email, *of)
    assert again.exit_code == REFUSED
    assert email in again.stderr

    shown = mediactl("users", "show", email, *of, "--json").json
    assert (shown["name"], shown["username"], shown["enabled"]) == ("Ada", made["username"], True)
    assert mediactl("users", "show", shown["user_id"], *of, "--json").json == shown
    assert mediactl("users", "show", shown["username"], *of, "--json").json == shown
    assert email in mediactl("users", "show", email, *of).stdout
    assert mediactl("users", "list", *of, "--json").json == {"users": [shown], "more": False}
    assert email in mediactl("users", "list", *of).stdout

    assert not mediactl("users", "groups", email, "--none", *of, "--dry-run", "--json").json[
        "changed"
    ]
    assert groups_of(plane, outputs, made["username"]) == {"editor"}
    assert "in admin, viewer" in mediactl("users", "groups", email, "viewer", "admin", *of).stdout
    assert groups_of(plane, outputs, made["username"]) == {"viewer", "admin"}

    assert mediactl("users", "sign-out", email, *of, "--json").json["changed"]
    refused = mediactl("users", "disable", email, *of)  # the only administrator
    assert refused.exit_code == REFUSED
    assert "last administrator" in refused.stderr
    mediactl("users", "create", f"keeper-{email}", "--group", "admin", *of)
    assert "would be" in mediactl("users", "disable", email, *of, "--dry-run").stdout
    assert not mediactl("users", "disable", email, *of, "--json").json["user"]["enabled"]
    assert mediactl("users", "enable", email, *of, "--json").json["user"]["enabled"]


def test_a_list_says_that_it_was_cut(mediactl: Mediactl, tenant: str) -> None:
    for _ in range(2):
        mediactl("users", "create", f"{new_id()}@example.com", "--tenant", tenant)
    cut = mediactl("users", "list", "--limit", "1", "--json", MEDIACTL_TENANT=tenant).json
    assert (len(cut["users"]), cut["more"]) == (1, True)


def test_who_is_not_there_is_told(mediactl: Mediactl, tenant: str, email: str) -> None:
    for name in (email, new_id()):
        for words in (("show", name), ("disable", name), ("groups", name, "viewer")):
            answer = mediactl("users", *words, "--tenant", tenant)
            assert answer.exit_code == NOT_FOUND
            assert name in answer.stderr
            assert tenant in answer.stderr


def test_the_first_administrator_signs_in_and_makes_others(
    mediactl: Mediactl, plane: RunningPlane, outputs: dict[str, str], tenant: str, email: str
) -> None:
    words = ("users", "create-admin", email, "--tenant", tenant, "--no-invite", "--json")
    dry = mediactl(*words, "--dry-run").json
    assert (dry["created"], dry["username"], dry["temporary_password"]) == (False, None, None)
    made = mediactl(*words).json
    token = first_sign_in(plane, outputs, email, made["temporary_password"])
    other = f"{new_id()}@example.com"
    created = mediactl("users", "create", other, "--json", MEDIACTL_TOKEN=token).json
    assert created["tenant"] == tenant


def test_making_the_first_administrator_may_be_repeated(
    mediactl: Mediactl,
    plane: RunningPlane,
    outputs: dict[str, str],
    accounts: Accounts,
    tenant: str,
    email: str,
) -> None:
    # As a command leaves it that was killed between the two calls.
    username = new_id()
    accounts.create(username, email=email, tenant=tenant, temporary_password="Aa1!aaaaaaaaaaa")
    made = mediactl("users", "create-admin", email, "--tenant", tenant, "--json").json
    assert (made["created"], made["username"]) == (False, username)
    assert groups_of(plane, outputs, username) == {"admin"}


def test_an_address_of_another_tenant_makes_no_administrator(
    mediactl: Mediactl, accounts: Accounts, email: str
) -> None:
    accounts.create(new_id(), email=email, tenant="acme", temporary_password="Aa1!aaaaaaaaaaa")
    answer = mediactl("users", "create-admin", email, "--tenant", "globex")
    assert answer.exit_code == REFUSED
    assert "acme" in answer.stderr


def test_a_program_signs_in_while_another_signs_in_as_the_same(accounts: Accounts) -> None:
    name = f"program-{new_id()}"
    for _ in range(2):
        accounts.ensure(name, tenant="acme", groups=[EDITOR_GROUP])
        assert accounts.sign_in(name)
    assert [account.username for account in accounts.starting_with(name)] == [name]
    for _ in range(2):
        accounts.delete(name)
    assert list(accounts.starting_with(name)) == []


def test_a_tenant_is_listed_and_its_quota_set(mediactl: Mediactl, tenant: str) -> None:
    assert mediactl("tenants", "show", tenant).exit_code == NOT_FOUND
    assert mediactl("tenants", "create", tenant, "--json").json["changed"]
    assert tenant in mediactl("tenants", "list").stdout
    listed = mediactl("tenants", "list", "--json").json["tenants"]
    assert tenant in [one["tenant"] for one in listed]
    assert mediactl("tenants", "show", tenant, "--json").json["quota"] is None

    partial = mediactl("tenants", "quota", tenant, "--videos", "7")
    assert partial.exit_code == USAGE
    assert "--stored-bytes" in partial.stderr
    whole = ("--videos", "7", "--stored-bytes", "2GiB", "--uploads", "3")
    quota = {"videos": 7, "stored_bytes": 2 * 1024**3, "uploads": 3}
    dry: Any = mediactl("tenants", "quota", tenant, *whole, "--dry-run", "--json").json
    assert (dry["changed"], dry["tenant"]["quota"]) == (False, quota)
    assert mediactl("tenants", "show", tenant, "--json").json["quota"] is None
    assert "2,147,483,648" in mediactl("tenants", "quota", tenant, *whole).stdout
    changed = mediactl("tenants", "quota", tenant, "--uploads", "4", "--json").json
    assert changed["tenant"]["quota"] == {**quota, "uploads": 4}
    assert "may use" in mediactl("tenants", "show", tenant).stdout


def test_tenants_take_an_operator(mediactl: Mediactl, accounts: Accounts) -> None:
    name = f"program-{new_id()}"
    accounts.ensure(name, tenant="acme", groups=["admin"])
    answer = mediactl("tenants", "list", MEDIACTL_TOKEN=accounts.sign_in(name))
    assert answer.exit_code in {NOT_FOUND, REFUSED}
    assert answer.stdout == ""


def first_sign_in(plane: RunningPlane, outputs: dict[str, str], email: str, password: str) -> str:
    """Choose an own password, as a person does, and return an access token."""
    cognito = plane.client("cognito-idp")
    started = cognito.initiate_auth(
        ClientId=outputs["UserPoolClientId"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": password},
    )
    assert started["ChallengeName"] == "NEW_PASSWORD_REQUIRED", json.dumps(started, default=str)
    answer = cognito.respond_to_auth_challenge(
        ClientId=outputs["UserPoolClientId"],
        ChallengeName=started["ChallengeName"],
        Session=started["Session"],
        ChallengeResponses={"USERNAME": email, "NEW_PASSWORD": "Correct-Horse-7-Battery"},
    )
    return str(answer["AuthenticationResult"]["AccessToken"])
