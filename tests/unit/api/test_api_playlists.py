from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_api import playlists
from media_api.playlists import Kind, PlaylistError, rewrite

MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-START:TIME-OFFSET=0
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main, stereo",URI="audio/playlist.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS="avc1.640028,mp4a.40.2"
v1080/playlist.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI="v360/iframes.m3u8"
"""

MEDIA = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:4
#EXT-X-PLAYLIST-TYPE:EVENT
#EXT-X-MAP:URI="1/init.mp4"
#EXTINF:4.000000,
1/000000.m4s
#EXTINF:3.960000,
2/000001.m4s
"""


def mark(uri: str) -> str:
    return f"[{uri}]"


def test_every_uri_of_a_multivariant_playlist_is_replaced() -> None:
    found = rewrite(MASTER, mark)
    assert found.kind is Kind.MULTIVARIANT
    assert found.text == (
        MASTER.replace('"audio/playlist.m3u8"', '"[audio/playlist.m3u8]"')
        .replace("v1080/playlist.m3u8", "[v1080/playlist.m3u8]")
        .replace('"v360/iframes.m3u8"', '"[v360/iframes.m3u8]"')
    )


def test_every_uri_of_a_media_playlist_is_replaced() -> None:
    found = rewrite(MEDIA, mark)
    assert found.kind is Kind.GROWING
    assert found.text == (
        MEDIA.replace("1/init.mp4", "[1/init.mp4]")
        .replace("1/000000.m4s", "[1/000000.m4s]")
        .replace("2/000001.m4s", "[2/000001.m4s]")
    )


def test_a_playlist_with_an_end_is_complete() -> None:
    assert rewrite(MEDIA + "#EXT-X-ENDLIST\n", mark).kind is Kind.COMPLETE


@pytest.mark.parametrize(
    "line",
    [
        "/media/other/run/1.m4s",
        "//evil.example/1.m4s",
        "https://evil.example/1.m4s",
        "../other/1.m4s",
        "1/../../1.m4s",
        "1.m4s?a=b",
        "1/%2e%2e/1.m4s",
        "a b.m4s",
        ".hidden.m4s",
        "1\\2.m4s",
        '#EXT-X-KEY:METHOD=AES-128,URI="key.bin"',
        '#EXT-X-SESSION-DATA:DATA-ID="a",URI="data.json"',
        '#EXT-X-MAP:URI="https://evil.example/init.mp4"',
        '#EXT-X-MAP:URI="init.mp4" ,',
        '#EXT-X-MAP:URI="init.mp4',
        '#EXT-X-MEDIA:TYPE=AUDIO;URI="audio/playlist.m3u8"',
    ],
)
def test_a_line_that_no_worker_writes_is_refused(line: str) -> None:
    with pytest.raises(PlaylistError, match="line 3 has a"):
        rewrite(f"#EXTM3U\n#EXT-X-VERSION:7\n{line}\n", mark)


@pytest.mark.parametrize("text", ["", "<html>", "#EXT-X-VERSION:7\n#EXTM3U\n"])
def test_what_is_no_playlist_is_refused(text: str) -> None:
    with pytest.raises(PlaylistError, match="first line"):
        rewrite(text, mark)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
def test_whatever_is_stored_no_uri_passes_unsigned(lines: list[str]) -> None:
    try:
        found = rewrite("\n".join(["#EXTM3U", *lines]), mark)
    except PlaylistError:
        return
    for line in found.text.splitlines():
        assert not line or line.startswith(("#", "["))
        assert "URI=" not in line or 'URI="[' in line


@pytest.mark.parametrize("path", ["master.m3u8", "v720/playlist.m3u8", "audio/playlist.m3u8"])
def test_playlists_of_a_run_are_known(path: str) -> None:
    assert playlists.is_playlist_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "poster.jpg",
        "v720/1/000000.m4s",
        "../master.m3u8",
        "v720/../../other/master.m3u8",
        "/master.m3u8",
        "v720//playlist.m3u8",
        "v720/./playlist.m3u8",
        "%2e%2e/master.m3u8",
        "master.m3u8\n",
        "master.m3u8/",
        ".m3u8",
        "a.b.m3u8",
    ],
)
def test_no_other_path_is_a_playlist(path: str) -> None:
    assert not playlists.is_playlist_path(path)


@pytest.mark.parametrize(("path", "folder"), [("master.m3u8", ""), ("v720/a.m3u8", "v720/")])
def test_the_folder_of_a_playlist(path: str, folder: str) -> None:
    assert playlists.folder_of(path) == folder
