"""How files are cut, how long their upload may take, and how the session of one is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.upload import (
    PARTS_MAX,
    SINGLE_PUT_MAX_BYTES,
    UPLOAD_MAX_BYTES,
    UploadKind,
    UploadSession,
    kind_of,
    part_bytes_of,
)

MEBIBYTE = 1024**2
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIFECYCLE = timedelta(days=7)
"""What the buckets of the platform give unfinished uploads in parts."""


def a_session(size_bytes: int, url_time: timedelta = HOUR) -> UploadSession:
    video_id = new_id()
    return UploadSession.begin(
        video_id=video_id,
        region="eu-central-1",
        raw_key=f"raw/acme/ada/{video_id}.mp4",
        size_bytes=size_bytes,
        now=NOW,
        url_time=url_time,
    )


def test_one_put_up_to_a_hundred_megabytes() -> None:
    assert SINGLE_PUT_MAX_BYTES == 100_000_000
    assert kind_of(SINGLE_PUT_MAX_BYTES) is UploadKind.SINGLE
    assert kind_of(SINGLE_PUT_MAX_BYTES + 1) is UploadKind.MULTIPART


@given(st.integers(min_value=SINGLE_PUT_MAX_BYTES + 1, max_value=UPLOAD_MAX_BYTES))
def test_parts_are_what_s3_takes_and_are_the_file(size_bytes: int) -> None:
    session = a_session(size_bytes)
    part_bytes = session.part_bytes or 0
    assert part_bytes % MEBIBYTE == 0
    assert 8 * MEBIBYTE <= part_bytes <= 5 * 1024**3
    assert session.parts <= PARTS_MAX
    assert session.parts <= 1000 or part_bytes >= 64 * MEBIBYTE
    lengths = [session.part_length(1), session.part_length(session.parts)]
    assert 0 < lengths[1] <= lengths[0] == part_bytes
    assert (session.parts - 1) * part_bytes + lengths[1] == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "part_mebibytes"),
    [
        (SINGLE_PUT_MAX_BYTES + 1, 8),
        (1000 * 8 * MEBIBYTE, 8),
        (1000 * 8 * MEBIBYTE + 1, 9),
        (1000 * 64 * MEBIBYTE, 64),
        (10_000 * 64 * MEBIBYTE, 64),
        (10_000 * 64 * MEBIBYTE + 1, 65),
        (UPLOAD_MAX_BYTES, 525),
    ],
)
def test_the_cut_of_a_size_never_changes(size_bytes: int, part_mebibytes: int) -> None:
    """Composite checksums of files that were uploaded before depend on it."""
    assert part_bytes_of(size_bytes) == part_mebibytes * MEBIBYTE


@pytest.mark.parametrize("size_bytes", [0, 17, SINGLE_PUT_MAX_BYTES, SINGLE_PUT_MAX_BYTES + 1])
def test_a_session_comes_back_as_it_was(size_bytes: int) -> None:
    session = a_session(size_bytes)
    item = session.to_item()
    assert UploadSession.from_item(item) == session
    assert UploadSession.from_item({**item, "of_a_later_version": {"S": "x"}}) == session
    assert item[table.DUE.partition_key] == {
        "S": table.due("UPLOAD", "eu-central-1", session.video_id)
    }
    assert item[table.DUE.sort_key] == {"S": session.due_at}
    assert table.TTL_ATTRIBUTE not in item


@pytest.mark.parametrize("url_time", [timedelta(seconds=1), HOUR, timedelta(days=7)])
@pytest.mark.parametrize("size_bytes", [17, SINGLE_PUT_MAX_BYTES + 1])
def test_nobody_looks_after_an_upload_while_a_url_may_be_good(
    size_bytes: int, url_time: timedelta
) -> None:
    session = a_session(size_bytes, url_time)
    longest = int(url_time.total_seconds())
    due = datetime.fromisoformat(session.due_at)
    for age in (timedelta(0), HOUR, timedelta(days=1), timedelta(days=5), timedelta(days=8)):
        end = NOW + age + timedelta(seconds=session.url_seconds(NOW + age, longest))
        assert end + HOUR <= due or not session.url_seconds(NOW + age, longest)
    if session.kind is UploadKind.MULTIPART:
        assert due < NOW + LIFECYCLE, "S3 ends unfinished uploads by then"


def test_urls_live_no_longer_than_their_session() -> None:
    session = a_session(SINGLE_PUT_MAX_BYTES + 1)
    end = datetime.fromisoformat(session.open_until)
    assert session.url_seconds(NOW, 3600) == 3600
    assert session.url_seconds(end - timedelta(seconds=5), 3600) == 5
    assert session.url_seconds(end + HOUR, 3600) == 0
