"""``mediactl keys`` on the plane of the session; a whole rotation is in test_stage_changes."""

from __future__ import annotations

from command_line import Mediactl
from conftest import RunningPlane

from mediactl.errors import NOT_FOUND, REFUSED, USAGE


def test_keys_are_listed_with_who_signs(mediactl: Mediactl, plane: RunningPlane) -> None:
    found = mediactl("keys", "list", "--json").json
    used, empty = found["slots"]
    assert (used["slot"], used["signs"], used["trusted"], used["age_days"]) == ("a", True, True, 0)
    assert (empty["slot"], empty["key_pair_id"], empty["signs"]) == ("b", None, False)
    assert [one["region"] for one in found["regions"]] == plane.endpoints.regions
    assert {one["signs_with"] for one in found["regions"]} == {used["key_pair_id"]}
    assert (found["state"], found["problems"]) == ("SETTLED", [])
    assert found["longest_grant_seconds"] == 5 * 3600
    shown = mediactl("keys", "list").stdout
    assert used["key_pair_id"] in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_nothing_is_done_by_a_dry_run_or_for_a_young_key(mediactl: Mediactl) -> None:
    before = mediactl("keys", "list", "--json").json
    dry = mediactl("keys", "rotate", "--dry-run", "--json").json
    assert dry["next"] == [
        "adding a key",
        "switching to the other key",
        "removing the other key",
    ]
    young = mediactl("keys", "rotate", "--older-than", "90", "--json").json
    assert (young["done"], young["next"]) == ([], [])
    assert mediactl("keys", "list", "--json").json == before


def test_what_cannot_be_is_refused_in_a_line(mediactl: Mediactl) -> None:
    for arguments, code, told in (
        (["--abort"], NOT_FOUND, "no rotation is under way"),
        (["--revoke"], REFUSED, "this would refuse all who play by a grant of the old key"),
        (["--older-than", "-1"], USAGE, "-1 is not in the range x>=0"),
    ):
        answer = mediactl("keys", "rotate", *arguments)
        assert (answer.exit_code, answer.stdout) == (code, "")
        assert told in answer.stderr
