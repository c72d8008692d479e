"""Several objects read as one."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_worker.concatenation import Concatenation, in_memory
from media_worker.source_proxy import SourceProxy


@given(st.lists(st.binary(max_size=9)), st.data())
def test_any_range_is_that_of_the_whole(parts: Sequence[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    reader = in_memory(parts)
    assert reader.size() == len(whole)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    assert reader.read(start, end) == whole[start:end]


def test_only_what_is_needed_is_read() -> None:
    asked: list[tuple[str, int, int]] = []

    def read(key: str, offset: int, size: int) -> bytes:
        asked.append((key, offset, size))
        return b"x" * size

    Concatenation([("a", 10), ("b", 10), ("c", 10)], read).read(15, 23)
    assert asked == [("b", 5, 5), ("c", 0, 3)]


def test_object_that_is_shorter_than_told_is_an_error() -> None:
    with pytest.raises(OSError, match="3 bytes arrived of 10 of 'b'"):
        Concatenation([("b", 10)], lambda *_: b"xxx").read(0, 10)


def test_children_read_it_through_the_proxy() -> None:
    reader = in_memory([b"one ", b"", b"two ", b"three"])
    with SourceProxy(reader, reader.size()) as source:
        request = urllib.request.Request(source.url, headers={"Range": "bytes=2-9"})  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the loopback proxy
            assert answer.read() == b"e two th"
