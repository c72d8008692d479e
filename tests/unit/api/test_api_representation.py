from __future__ import annotations

import pytest

from media_api.representation import is_expected, is_known


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, True),
        ("*", True),
        (' "7-0f34" ', True),
        ('"7"', True),
        ('"6-0f34", "7-0f35"', True),
        ('"6-0f34","7-0f35"', True),
        ('"6-0f34"', False),
        ('"70-0f34"', False),
        ('"17"', False),
        ('W/"7-0f34"', False),
        ("7", False),
        ('"7-XYZ"', False),
        ('"a"7"', False),
        ("", False),
        ('"' + "9" * 5000 + '"', False),
    ],
)
def test_if_match_compares_versions(header: str | None, expected: bool) -> None:
    assert is_expected(header, 7) is expected


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (None, False),
        ("*", True),
        ('"7-0f34"', True),
        ('W/"7-0f34"', True),
        ('"6-1", "7-0f34"', True),
        ('"7"', False),
        ('"7-0f35"', False),
    ],
)
def test_if_none_match_compares_all_of_it(header: str | None, known: bool) -> None:
    assert is_known(header, '"7-0f34"') is known
