from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_api.tags import TAG_MAX_CHARACTERS, normalise


@pytest.mark.parametrize(
    ("given_tag", "kept"),
    [
        ("Sea", "sea"),
        ("  Deep Sea \t", "deep sea"),
        ("CAFE\u0301", "caf\u00e9"),
        ("\u0130zmir", "i\u0307zmir"),
        ("影片", "影片"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("x" * 50, "x" * 50),
    ],
)
def test_a_tag_has_one_form(given_tag: str, kept: str) -> None:
    assert normalise(given_tag) == kept


@pytest.mark.parametrize(
    ("tag", "part"),
    [
        ("", "1 to 50"),
        (" \n", "1 to 50"),
        ("x" * 51, "51 characters"),
        ("#sea", "without its #"),
        ("a\x00b", "control character"),
        ("a\u2028b", "on one line"),
    ],
)
def test_what_is_no_tag_is_told(tag: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        normalise(tag)


@given(st.text(max_size=60))
def test_a_kept_tag_is_kept_as_it_is(text: str) -> None:
    try:
        tag = normalise(text)
    except ValueError:
        return
    assert normalise(tag) == tag
    assert unicodedata.is_normalized("NFC", tag)
    assert 1 <= len(tag) <= TAG_MAX_CHARACTERS
    assert "#" not in tag
