"""Subtitles: what any container carries becomes WebVTT that players read, and nothing else."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import make, run

from media_worker import subtitles
from media_worker.subtitles import collect, document, subtitle_playlist
from media_worker.webvtt import Cue, read_cues, timestamp, write_cues

CLOCK = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n"

SCRIPT = """1
00:00:01,000 --> 00:00:02,500
<b>Hello</b> <font color="red">red</font> & <script>alert(1)</script> 3 > 2 --> 1

2
00:00:02,000 --> 00:00:04,000
{\\an8}<i>two</i>
lines

3
00:00:05,000 --> 00:00:05,000
for no time
"""


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "srt"), ("a.mp4", "mov_text"), ("a.mkv", "ass"), ("a.mkv", "webvtt")],
)
def test_every_kind_of_text_is_cleaned(tmp_path: Path, name: str, codec: str) -> None:
    script = tmp_path / "a.srt"
    script.write_text(SCRIPT)
    path = make(tmp_path / name, "-i", script, "-c:s", codec)
    text = document(run("-i", path, "-map", "0:s:0", "-f", "webvtt", "-"))
    assert text is not None
    assert text.startswith(CLOCK)
    # MP4 cannot hold cues that overlap, and ffmpeg ends the first where the second begins.
    end = "02.000" if codec == "mov_text" else "02.500"
    assert text.removeprefix(CLOCK) == (
        f"00:00:01.000 --> 00:00:{end}\n"
        "<b>Hello</b> red &amp; alert(1) 3 &gt; 2 --&gt; 1\n\n"
        "00:00:02.000 --> 00:00:04.000\n"
        "<i>two</i>\nlines\n"
    )


def test_text_cannot_break_out_of_its_cue() -> None:
    hostile = b"WEBVTT\n\n00:01.000 --> 00:02.000\n<c.x onclick=1>a</c><00:00:01.000>\x00\x1b[1m&\n"
    assert document(hostile) == (
        CLOCK + "00:00:01.000 --> 00:00:02.000\n"
        "&lt;c.x onclick=1&gt;a&lt;/c&gt;&lt;00:00:01.000&gt;[1m&amp;\n"
    )


def test_cues_are_in_order_and_have_a_time() -> None:
    """Times before zero come from ffmpeg with signs in odd places."""
    extracted = (
        b"WEBVTT\n\n00:-9.000 --> 00:-7.-500\nbefore\n\n01:00:03.000 --> 01:00:04.000\nlate\n\n"
        b"00:03.000 --> 00:04.000\nsoon\n\n00:05.000 --> 00:05.000\nnever\n\n"
        b"00:06.000 --> 00:07.000\n\nSTYLE\n::cue { color: red }\n"
    )
    assert document(extracted) == (
        CLOCK + "00:00:03.000 --> 00:00:04.000\nsoon\n\n01:00:03.000 --> 01:00:04.000\nlate\n"
    )


def test_track_without_text_is_none() -> None:
    assert document(b"WEBVTT\n") is None
    assert document(b"") is None


def test_bytes_that_are_no_text_do_no_harm() -> None:
    text = document(b"WEBVTT\n\n00:01.000 --> 00:02.000\n\xff\xfe\xe4\n")
    assert text is not None
    assert "\ufffd" in text


def test_large_track_is_left_out_but_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtitles, "MAX_BYTES", 100_000)
    assert collect(io.BytesIO(b"x" * 100_000)) == b"x" * 100_000
    pipe = io.BytesIO(b"x" * 300_000)
    assert collect(pipe) is None
    assert pipe.read() == b""


@given(
    st.lists(
        st.builds(
            lambda start, length, lines: Cue(start, start + length, "\n".join(lines)),
            st.integers(0, 36_000_000),
            st.integers(1, 10_000),
            st.lists(st.text("ab <>&;-:.0\u00e4\u2028", min_size=1), min_size=1, max_size=3),
        )
    )
)
def test_what_was_written_is_read_as_it_was(cues: list[Cue]) -> None:
    once = write_cues(read_cues(write_cues(cues)))
    assert write_cues(read_cues(once)) == once
    for line in once.splitlines():
        assert line.count("-->") == (1 if line[:2].isdigit() and " --> " in line else 0)


def test_times_have_hours() -> None:
    assert timestamp(Fraction(0)) == "00:00:00.000"
    assert timestamp(Fraction(36_061) + Fraction(1, 3)) == "10:01:01.333"
    assert timestamp(Fraction(599_999_7, 10_000)) == "00:10:00.000"


def test_playlist_plays_in_ffmpeg(tmp_path: Path) -> None:
    text = document(b"WEBVTT\n\n00:01.000 --> 00:02.000\nHallo\n")
    assert text is not None
    (tmp_path / "text.vtt").write_text(text)
    playlist = subtitle_playlist("text.vtt", Fraction(39, 10))
    (tmp_path / "text.m3u8").write_text(playlist)
    assert "#EXT-X-TARGETDURATION:4\n" in playlist
    assert playlist.endswith("#EXTINF:3.900000,\ntext.vtt\n#EXT-X-ENDLIST\n")
    shown = run("-i", tmp_path / "text.m3u8", "-map", "0:s:0", "-f", "webvtt", "-").decode()
    assert shown == "WEBVTT\n\n00:01.000 --> 00:02.000\nHallo\n"
