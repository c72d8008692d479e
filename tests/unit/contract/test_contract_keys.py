"""Keys of objects and items, and the alphabet of signatures."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_platform.contract import table
from media_platform.contract.ids import new_id
from media_platform.contract.media_types import CONTENT_TYPES, EXTENSIONS, allowed_types
from media_platform.contract.object_keys import RawKey, RunKeys, is_key_segment, video_track
from media_platform.contract.playback import decode, encode, policy_text
from media_platform.contract.run import END, SOUND, video_part

ID = "01a1fd66-e343-7312-8d31-51aa65b99210"

segments = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", fullmatch=True).filter(
    lambda text: ".." not in text
)


@given(tenant=segments, user=segments, extension=st.sampled_from(sorted(CONTENT_TYPES)))
def test_a_raw_key_comes_back_as_it_was(tenant: str, user: str, extension: str) -> None:
    key = RawKey(tenant=tenant, user=user, video_id=ID, extension=extension)
    assert RawKey.parse(str(key)) == key
    assert re.fullmatch(r"[A-Za-z0-9_.:/-]+", str(key)), "needs no escaping in a URL path"


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        key = RawKey.parse(text)
    except ValueError:
        return
    assert str(key) == text


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("", "not of the form"),
        ("raw", "not of the form"),
        (f"media/acme/ada/{ID}.mp4", "not of the form"),
        (f"raw/acme/{ID}.mp4", "not of the form"),
        (f"raw/acme/ada/x/{ID}.mp4", "not of the form"),
        (f"/raw/acme/ada/{ID}.mp4", "not of the form"),
        (f"raw//ada/{ID}.mp4", "malformed tenant"),
        (f"raw/a..b/ada/{ID}.mp4", "malformed tenant"),
        (f"raw/../ada/{ID}.mp4", "malformed tenant"),
        (f"raw/acme/a da/{ID}.mp4", "malformed tenant, user"),
        ("raw/acme/ada/film.mp4", "or video id"),
        (f"raw/acme/ada/{ID.upper()}.mp4", "or video id"),
        (f"raw/acme/ada/{ID}.exe", "'exe', which is none of"),
        (f"raw/acme/ada/{ID}", "'', which is none of"),
        (f"raw/acme/ada/{ID}.mp4.exe", "'mp4.exe', which is none of"),
        (f"raw/acme/ada/{ID}.mp4\n", "which is none of"),
    ],
)
def test_what_is_no_raw_key_is_refused_with_the_reason(key: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RawKey.parse(key)


MISFITS = ["", "..", ".a", "-a", "a/b", "a#b", "a b", "ä", "a\n", "a..b", "a%2f", "a" * 129]


@pytest.mark.parametrize(
    ("text", "fits"),
    [("a", True), ("A-1_b.c:d", True), ("a" * 128, True), *((text, False) for text in MISFITS)],
)
def test_tenants_and_users_have_names_that_need_no_escaping(text: str, fits: bool) -> None:
    assert is_key_segment(text) is fits


def test_everything_of_a_run_lies_under_its_prefix() -> None:
    keys = RunKeys(region="eu-central-1", tenant="acme", video_id="v", run_id="r")
    prefix = "media/eu-central-1/acme/v/r/"
    assert keys.prefix == prefix
    assert keys.master_playlist == f"{prefix}master.m3u8"
    assert keys.poster == f"{prefix}poster.jpg"
    assert keys.playlist(video_track(720)) == f"{prefix}v720/playlist.m3u8"
    assert keys.segment("audio", 2, "000001.m4s") == f"{prefix}audio/2/000001.m4s"


def test_no_run_is_a_prefix_of_another() -> None:
    one = RunKeys(region="r", tenant="t", video_id="v", run_id="1").prefix
    other = RunKeys(region="r", tenant="t", video_id="v", run_id="10").prefix
    assert not other.startswith(one)


def test_types_and_extensions_name_each_other() -> None:
    assert {CONTENT_TYPES[extension] for extension in EXTENSIONS.values()} == set(EXTENSIONS)
    assert allowed_types().split(", ") == sorted(EXTENSIONS)


def test_keys_of_items_do_not_collide() -> None:
    video, other = new_id(), new_id()
    keys = {
        table.video_key(video),
        table.video_key(other),
        table.run_key(video, other),
        table.part_key(video, other, SOUND),
        table.purge_key(video, other),
        table.event_key(video, other),
        table.tag_key(video, other),
        table.idempotency_key("t", "u", video),
    }
    assert len(keys) == 8
    assert table.event_key(video, other).sk.startswith(table.EVENT_SORT_PREFIX)
    assert not table.video_key(video).sk.startswith(table.EVENT_SORT_PREFIX)


def test_what_belongs_to_a_run_stands_together() -> None:
    video, run, other = new_id(), new_id(), new_id()
    parts = [table.part_key(video, run, name).sk for name in (video_part(0), SOUND, END)]
    own = [table.run_key(video, run).sk, *parts]
    assert all(sort_key.startswith(table.run_prefix(run)) for sort_key in own)
    assert all(sort_key.startswith(table.part_prefix(run)) for sort_key in parts)
    strangers = [
        table.video_key(video),
        table.run_key(video, other),
        table.part_key(video, other, END),
        # The note outlives what it is about.
        table.purge_key(video, run),
    ]
    assert not any(key.sk.startswith(table.run_prefix(run)) for key in strangers)


@given(st.lists(st.integers(0, 99_999), max_size=5))
def test_chunks_sort_by_their_number(numbers: list[int]) -> None:
    keys = [table.part_key(ID, ID, video_part(number)).sk for number in sorted(numbers)]
    assert keys == sorted(keys)


def test_every_purge_stands_in_one_of_the_shards() -> None:
    shards = {table.due_purges_of_shard(number) for number in range(table.SHARDS)}
    assert {table.due_purges(new_id()) for _ in range(200)} == shards


def test_a_key_goes_to_the_wire_under_the_names_of_the_table() -> None:
    wire = table.Key("a", "b").to_wire()
    assert wire == {table.PARTITION_KEY: {"S": "a"}, table.SORT_KEY: {"S": "b"}}


@given(tenant=segments, user=segments)
def test_lists_of_tenants_and_users_never_mix(tenant: str, user: str) -> None:
    keys = [
        table.tenant_videos(tenant),
        table.tenant_private_videos(tenant),
        table.tenant_status_videos(tenant, "READY"),
        table.owner_videos(tenant, user),
        table.owner_status_videos(tenant, user, "READY"),
    ]
    assert len(set(keys)) == len(keys)
    assert all(key.split("#")[1] == tenant for key in keys)


def test_index_names_and_keys_are_unique() -> None:
    assert len({index.name for index in table.INDEXES}) == len(table.INDEXES)
    assert len({index.partition_key for index in table.INDEXES}) == len(table.INDEXES)


@given(st.binary())
def test_the_alphabet_of_cloudfront_comes_back_as_it_was(data: bytes) -> None:
    text = encode(data)
    assert decode(text) == data
    assert re.fullmatch(r"[A-Za-z0-9_~-]*", text)


@pytest.mark.parametrize("text", ["YQ==", "a+b_", "a/b_", "a", "YQ__x", "ä___", "a b_"])
def test_other_alphabets_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library says it in its own words
        decode(text)


def test_a_policy_is_the_text_that_cloudfront_documents() -> None:
    text = policy_text("https://d1.cloudfront.net/media/*", 1_800_000_000)
    assert text == (
        '{"Statement":[{"Resource":"https://d1.cloudfront.net/media/*",'
        '"Condition":{"DateLessThan":{"AWS:EpochTime":1800000000}}}]}'
    )
    assert decode(encode(text.encode())) == text.encode()
