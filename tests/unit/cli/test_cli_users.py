"""``mediactl users`` and ``tenants``: what is refused before anything is called."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mediactl.commands import tenants, users
from mediactl.errors import USAGE, CommandError


@pytest.mark.parametrize("address", ["", "ada", "ada@", "@example.com", "a da@example.com", "a@b"])
@pytest.mark.parametrize("words", [("create",), ("create-admin", "--tenant", "acme")])
def test_what_is_no_address_makes_no_user(address: str, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="no e-mail address") as refused:
        users.group([words[0], address, *words[1:]], standalone_mode=False)
    assert refused.value.exit_code == USAGE


@pytest.mark.parametrize("tenant", ["", "a b", "../x", "a" * 65])
def test_what_is_no_tenant_has_no_administrator(tenant: str) -> None:
    words = ["create-admin", "ada@example.com", "--tenant", tenant]
    with pytest.raises(CommandError, match="no name of a tenant") as refused:
        users.group(words, standalone_mode=False)
    assert refused.value.exit_code == USAGE


@pytest.mark.parametrize("words", [["ada@example.com"], ["ada@example.com", "viewer", "--none"]])
def test_groups_are_named_or_none_is_said(words: list[str]) -> None:
    answer = CliRunner().invoke(users.group, ["groups", *words])
    assert answer.exit_code == USAGE
    assert "--none" in answer.output


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--stored-bytes", "5 GBs"],
        ["--stored-bytes", "-5"],
        ["--stored-bytes", "1.5GB"],
        ["--videos", "-1"],
    ],
)
def test_a_quota_is_of_whole_numbers(words: list[str]) -> None:
    assert CliRunner().invoke(tenants.group, ["quota", "acme", *words]).exit_code == USAGE
