"""Signed playback as CloudFront defines it: policies, the alphabet, and the names of the parts.

One custom policy per run covers all its children with a wildcard. Signatures are ECDSA P-256 over
SHA-256, which CloudFront has to be told, since it assumes SHA-1.

Source: Amazon CloudFront Developer Guide, "Serve private content with signed URLs and signed
cookies", custom policies.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

HASH_ALGORITHM = "SHA256"


@dataclass(frozen=True)
class PartNames:
    """What the parts of a signature are called.

    Attributes:
        policy: The encoded policy.
        signature: The encoded signature of the policy.
        key_pair_id: Id of the public key that verifies it.
        hash_algorithm: The hash that was signed.
    """

    policy: str
    signature: str
    key_pair_id: str
    hash_algorithm: str


QUERY = PartNames("Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
"""Query parameters of a signed URL."""

COOKIES = PartNames(
    "CloudFront-Policy",
    "CloudFront-Signature",
    "CloudFront-Key-Pair-Id",
    "CloudFront-Hash-Algorithm",
)
"""Signed cookies."""


def policy_text(resource: str, expires_at: int, source_range: str | None = None) -> str:
    """Return the custom policy that admits ``resource`` until a time.

    Args:
        resource: URL; ``*`` stands for any characters and ``?`` for one.
        expires_at: Unix seconds.
        source_range: IPv4 range (CIDR) of the addresses that it admits. Default: any address.
    """
    addresses = "" if source_range is None else _ADDRESSES % json.dumps(source_range)
    return _POLICY % (json.dumps(resource), expires_at, addresses)


def encode(data: bytes) -> str:
    """Return base64 in CloudFront's alphabet, which is safe in URLs and cookies."""
    return base64.b64encode(data).translate(_TO_CLOUDFRONT).decode()


def decode(text: str) -> bytes:
    """Return the bytes that :func:`encode` wrote.

    Raises:
        ValueError: If ``text`` is not in the alphabet.
    """
    if not _NOT_CLOUDFRONT.isdisjoint(text):
        raise ValueError("not in CloudFront's alphabet: it has -, _ and ~ in place of +, = and /")
    return base64.b64decode(text.translate(_FROM_CLOUDFRONT), validate=True)


_POLICY = '{"Statement":[{"Resource":%s,"Condition":{"DateLessThan":{"AWS:EpochTime":%d}%s}}]}'
"""The policy as ``json.dumps`` writes it without spaces, which takes four times as long."""

_ADDRESSES = ',"IpAddress":{"AWS:SourceIp":%s}'
_TO_CLOUDFRONT = bytes.maketrans(b"+=/", b"-_~")
_FROM_CLOUDFRONT = str.maketrans("-_~", "+=/")
_NOT_CLOUDFRONT = frozenset("+=/")
