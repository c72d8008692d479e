"""Plays HLS as a player does, with ffmpeg: every playlist and segment is fetched and decoded."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from mediactl.errors import CommandError
from mediactl.local.sample import ffmpeg
from mediactl.web import Web

_RESOLUTION = re.compile(r"#EXT-X-STREAM-INF:.*\bRESOLUTION=\d+x(\d+)")
_MAP_URI = re.compile(r'#EXT-X-MAP:.*\bURI="([^"]+)"')
_AUDIO_URI = re.compile(r'#EXT-X-MEDIA:TYPE=AUDIO.*\bURI="([^"]+)"')

_WEB = Web()


@dataclass(frozen=True)
class Playlist:
    """What a multivariant playlist offers.

    Attributes:
        variants: URL of the media playlist by height, highest first.
        audio: URL of the audio playlist, or ``None``.
    """

    variants: dict[int, str]
    audio: str | None


def cookie_header(cookies: Mapping[str, str]) -> str:
    """Return the value of the ``Cookie`` header."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def status_without_grant(url: str) -> int:
    """Return the HTTP status that ``url`` answers to someone without cookies or signature."""
    return status(url.partition("?")[0], {})


def status(url: str, cookies: Mapping[str, str]) -> int:
    """Return the HTTP status that ``url`` answers."""
    headers = {"Cookie": cookie_header(cookies)} if cookies else {}
    return _WEB.request("GET", url, headers=headers, timeout=30).status


def fetch_playlist(url: str, cookies: Mapping[str, str]) -> Playlist:
    """Fetch and read a multivariant playlist.

    Raises:
        CommandError: If it cannot be fetched or offers nothing.
    """
    text = _fetch(url, cookies).decode(errors="replace")
    lines = text.splitlines()
    variants = {
        int(found[1]): urljoin(url, uri)
        for line, uri in itertools.pairwise(lines)
        if (found := _RESOLUTION.match(line))
    }
    if not variants:
        raise CommandError(f"the playlist offers no rendition: {text[:200]}")
    audio = next((urljoin(url, m[1]) for line in lines if (m := _AUDIO_URI.match(line))), None)
    return Playlist(dict(sorted(variants.items(), reverse=True)), audio)


def media_files(url: str, cookies: Mapping[str, str]) -> list[str]:
    """Return the URLs of the segments of a media playlist, and of what they begin with.

    Raises:
        CommandError: If the playlist cannot be fetched, or names none.
    """
    text = _fetch(url, cookies).decode(errors="replace")
    named = [
        found[1] if (found := _MAP_URI.match(line)) else line
        for line in text.splitlines()
        if line and (not line.startswith("#") or _MAP_URI.match(line))
    ]
    if not named:
        raise CommandError(f"a playlist names no segment: {text[:200]}")
    return [urljoin(url, one) for one in dict.fromkeys(named)]


def fetch_all(url: str, cookies: Mapping[str, str]) -> list[str]:
    """Fetch all that a multivariant playlist leads to, and return the URLs of the segments.

    Raises:
        CommandError: If anything cannot be fetched.
    """
    playlist = fetch_playlist(url, cookies)
    tracks = [*playlist.variants.values(), *([playlist.audio] if playlist.audio else [])]
    files = [file for track in tracks for file in media_files(track, cookies)]
    for file in files:
        _fetch(file, cookies)
    return files


def _fetch(url: str, cookies: Mapping[str, str]) -> bytes:
    headers = {"Cookie": cookie_header(cookies)} if cookies else {}
    answer = _WEB.request("GET", url, headers=headers, timeout=30)
    if answer.status != 200:  # noqa: PLR2004
        said = answer.data[:200].decode(errors="replace")
        path = url.partition("?")[0]
        raise CommandError(f"{path} answers with status {answer.status}: {said}")
    return answer.data


def decode(url: str, cookies: Mapping[str, str], *, track: str = "v") -> int:
    """Fetch and decode one track of a playlist to its end.

    ffmpeg takes headers from its command line alone, so while it plays the cookies are visible to
    whoever sees the processes of this machine. They are a grant to this one video, for a while.

    Args:
        url: Playlist.
        cookies: Cookies to send with every request.
        track: ``v`` for video, ``a`` for audio.

    Returns:
        Number of frames that were decoded.

    Raises:
        CommandError: If anything could not be fetched or decoded.
    """
    command = [ffmpeg(), "-nostdin", "-v", "error", "-xerror"]
    if cookies:
        command += ["-headers", f"Cookie: {cookie_header(cookies)}\r\n"]
    command += ["-i", url, "-map", f"0:{track}:0", "-fps_mode:v", "passthrough"]
    command += ["-f", "framecrc", "-"]
    # A proxy that the person needs elsewhere is not asked for what is on this machine.
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    played = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if played.returncode or played.stderr.strip():
        raise CommandError(f"{url.partition('?')[0]} does not play: {played.stderr.strip()[-300:]}")
    return sum(1 for line in played.stdout.splitlines() if not line.startswith("#"))
