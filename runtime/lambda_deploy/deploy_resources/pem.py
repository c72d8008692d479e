"""The textual encoding of keys (RFC 7468)."""

from __future__ import annotations

import base64
import textwrap

_LINE = 64


def pem(label: str, der: bytes) -> str:
    """Return ``der`` between its two lines, with a line feed at the end.

    CloudFront keeps a public key with a final line feed, and would see a key without one as
    another key, which it refuses to change.

    Args:
        label: What it is: ``PUBLIC KEY`` (SubjectPublicKeyInfo) or ``PRIVATE KEY`` (PKCS #8).
        der: The key in DER.
    """
    lines = textwrap.wrap(base64.b64encode(der).decode(), _LINE)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
