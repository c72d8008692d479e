from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_api import cursors
from media_platform.contract.ids import new_id

lists = st.text(min_size=1)


@given(lists)
def test_a_cursor_returns_the_video_it_was_made_for(list_name: str) -> None:
    video_id = new_id()
    assert cursors.decode(list_name, cursors.encode(list_name, video_id)) == video_id


@given(lists, lists)
def test_a_cursor_of_another_list_is_refused(one: str, other: str) -> None:
    if one == other:
        return
    with pytest.raises(cursors.InvalidCursorError, match="belongs to another list"):
        cursors.decode(other, cursors.encode(one, new_id()))


@given(st.text(max_size=64) | st.binary(max_size=48).map(lambda b: b.decode("latin-1")))
def test_anything_else_is_refused_and_nothing_else_raised(cursor: str) -> None:
    with pytest.raises(cursors.InvalidCursorError):
        cursors.decode("a list", cursor)


@given(st.integers(0, 31), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_cursor_is_refused_or_names_another_place_of_the_same_list(
    position: int, character: str
) -> None:
    cursor = cursors.encode("a list", new_id())
    changed = cursor[:position] + character + cursor[position + 1 :]
    try:
        found = cursors.decode("a list", changed)
    except cursors.InvalidCursorError:
        return
    assert cursors.encode("a list", found) == changed


def test_a_cursor_names_no_tenant() -> None:
    assert "acme" not in cursors.encode("tenant-videos TENANT#acme", new_id())
