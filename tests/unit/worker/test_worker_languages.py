"""Languages as players expect them."""

from __future__ import annotations

import pytest

from media_worker.languages import language_tag


@pytest.mark.parametrize(
    ("stated", "tag"),
    [
        ("eng", "en"),
        ("ger", "de"),
        ("deu", "de"),
        ("fre", "fr"),
        ("zho", "zh"),
        ("chi", "zh"),
        ("de", "de"),
        ("EN", "en"),
        ("pt_br", "pt-BR"),
        ("zho-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("fil", "fil"),
        ("und", None),
        ("mul", None),
        ("", None),
        (None, None),
        ("English", None),
        ('en",X="', None),
        ("e", None),
    ],
)
def test_languages_become_tags(stated: str | None, tag: str | None) -> None:
    assert language_tag(stated) == tag
