"""Files that are certainly no video, by how they begin."""

from __future__ import annotations

import re

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program for Linux"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xfe\xed\xfa", "a program for macOS"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"#EXTM3U", "a playlist; upload the video that it leads to"),
    (b"\x89PNG\r\n\x1a\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF87a", "a picture"),
    (b"GIF89a", "a picture"),
    (b"II*\x00", "a picture"),
    (b"MM\x00*", "a picture"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"7z\xbc\xaf\x27\x1c", "a compressed archive"),
    (b"Rar!\x1a\x07", "a compressed archive"),
    (b"\xfd7zXZ\x00", "a compressed archive"),
    (b"BZh", "a compressed archive"),
    (b"\x28\xb5\x2f\xfd", "a compressed archive"),
    (b"fLaC", "a sound file"),
    (b"SQLite format 3\x00", "a database"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file, which is not supported"),
)

_WEAK_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"MZ", "a program for Windows"),
    (b"#!", "a script"),
    (b"BM", "a picture"),
)
"""So short that a stream which begins anywhere may begin with one of them."""

_RIFF = {b"WAVE": "a sound file", b"WEBP": "a picture"}
_MARKUP = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|svg|script|head|body)\b", re.IGNORECASE
)
_TEXT_BYTES = 512
"""How much of a file is looked at to call it a text."""

_TEXT = re.compile(r"[^\x00-\x08\x0b\x0e-\x1f\x7f]+")


def likely_name(head: bytes) -> str | None:
    """Return what a file is that holds no stream, or ``None`` if that cannot be told."""
    return next((kind for start, kind in _WEAK_SIGNATURES if head.startswith(start)), None)


def name(head: bytes) -> str | None:
    """Return what a file is, with its article, or ``None`` if it may be a video."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if _MARKUP.match(head):
        return "a web page or another document"
    return "a text" if _is_text(head[:_TEXT_BYTES]) else None


def _is_text(start: bytes) -> bool:
    """Tell whether a file begins with text; a character may be cut off at the end."""
    for cut in range(4):
        try:
            text = start[: len(start) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return bool(text) and _TEXT.fullmatch(text) is not None
    return False
