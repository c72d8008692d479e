"""Cursors: where the next page of a list starts.

A cursor holds the id of the last video of a page and a fingerprint of the list. The list itself
(tenant, owner, status) is always derived from the token and the query of the request, never from
the cursor, so that a cursor of one tenant opens nothing of another; the fingerprint only turns a
mix-up into a clear error. Videos that are inserted or deleted in between do not disturb it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid

from media_api.problems import Kind, Problem
from media_platform.contract.ids import is_id

_FINGERPRINT_BYTES = 8
_ID_BYTES = 16


class InvalidCursorError(ValueError):
    """A cursor is malformed or belongs to another list."""


def encode(list_name: str, video_id: str) -> str:
    """Return the cursor behind ``video_id``.

    Args:
        list_name: What tells the list from all others.
        video_id: The last video of the page.
    """
    content = _fingerprint(list_name) + uuid.UUID(video_id).bytes
    return base64.urlsafe_b64encode(content).decode()


def decode(list_name: str, cursor: str) -> str:
    """Return the id of the video behind which the page starts.

    Raises:
        InvalidCursorError: If the cursor is malformed or belongs to another list.
    """
    try:
        content = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCursorError("the cursor is malformed") from None
    if len(content) != _FINGERPRINT_BYTES + _ID_BYTES:
        raise InvalidCursorError("the cursor is malformed")
    if content[:_FINGERPRINT_BYTES] != _fingerprint(list_name):
        raise InvalidCursorError("the cursor belongs to another list")
    video_id = str(uuid.UUID(bytes=content[_FINGERPRINT_BYTES:]))
    if not is_id(video_id) or encode(list_name, video_id) != cursor:
        raise InvalidCursorError("the cursor is malformed")
    return video_id


def start_of_page(list_name: str, cursor: str | None) -> str | None:
    """Return the id behind which a page starts; ``None`` for the first page.

    Args:
        list_name: What tells the list from all others: whose it is, and its filters.
        cursor: ``next_cursor`` of the page before, as a client sent it. ``None``: there is none.

    Raises:
        Problem: If the cursor is malformed or belongs to another list.
    """
    if cursor is None:
        return None
    try:
        return decode(list_name, cursor)
    except InvalidCursorError as error:
        raise Problem(
            Kind.INVALID_CURSOR,
            f"{error}; send next_cursor of the page before, with the same filters, or no cursor "
            "for the first page",
        ) from None


def _fingerprint(list_name: str) -> bytes:
    return hashlib.sha256(list_name.encode()).digest()[:_FINGERPRINT_BYTES]
