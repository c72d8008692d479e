"""An authenticator, as people have one on their telephones."""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
from base64 import b32decode

STEP_SECONDS = 30


def totp(secret: str, *, steps: int = 0) -> str:
    """Return the code of an authenticator (RFC 6238) for now, or some steps from now."""
    counter = struct.pack(">Q", int(time.time()) // STEP_SECONDS + steps)
    digest = hmac.new(b32decode(secret), counter, hashlib.sha1).digest()
    start = digest[-1] & 15
    number = struct.unpack(">I", digest[start : start + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"
