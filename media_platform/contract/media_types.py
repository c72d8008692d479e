"""The containers that uploads may have: content type, file extension and what they are called."""

from __future__ import annotations

EXTENSIONS: dict[str, str] = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
    "video/mp2t": "ts",
    "video/x-flv": "flv",
    "video/x-m4v": "m4v",
    "video/3gpp": "3gp",
    "video/mpeg": "mpg",
    "video/ogg": "ogv",
}
"""File extension by content type (IANA media types, and the customary ``x-`` ones)."""

CONTENT_TYPES: dict[str, str] = {extension: kind for kind, extension in EXTENSIONS.items()}
"""Content type by file extension."""


def allowed_types() -> str:
    """Return the accepted content types in one line, for error messages."""
    return ", ".join(sorted(EXTENSIONS))
