"""Signed URLs and signed cookies, verified as CloudFront does.

Source: Amazon CloudFront Developer Guide, "Serve private content with signed URLs and signed
cookies". A signed URL counts before cookies. A custom policy has one statement with a resource and
``DateLessThan``, and may have ``DateGreaterThan`` and ``IpAddress``. A canned policy is made from
the URL and ``Expires``. Signatures are RSA or ECDSA, over SHA-1 unless ``Hash-Algorithm`` says
SHA-256.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from media_platform.contract import playback
from mediactl.local.edge.paths import normalized_path, pattern_matches

EXPIRES = "Expires"
EXPIRES_COOKIE = "CloudFront-Expires"
SIGNATURE_PARAMETERS = frozenset(
    {
        EXPIRES,
        playback.QUERY.policy,
        playback.QUERY.signature,
        playback.QUERY.key_pair_id,
        playback.QUERY.hash_algorithm,
    }
)
"""Query parameters that belong to a signature; they never reach an origin."""

HASHES: dict[str, type[hashes.HashAlgorithm]] = {"SHA1": hashes.SHA1, "SHA256": hashes.SHA256}
DEFAULT_HASH = "SHA1"

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class DeniedError(Exception):
    """The request is not signed as it must be.

    Attributes:
        code: Error code, as CloudFront names it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Viewer:
    """What a viewer asks for.

    Attributes:
        url: The whole URL as it was sent, without the parameters of a signature.
        address: IP address.
        query: Raw query string.
        cookies: Cookies by name, raw.
    """

    url: str
    address: str
    query: str
    cookies: Mapping[str, str]


def load_public_key(pem: str) -> PublicKey:
    """Return the public key of a PEM text.

    Raises:
        ValueError: If CloudFront would not take it: it is neither RSA nor ECDSA P-256.
    """
    key = serialization.load_pem_public_key(pem.encode())
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("a CloudFront public key is RSA 2048 or ECDSA P-256")


def authorize(viewer: Viewer, keys: Mapping[str, PublicKey], *, now: float) -> None:
    """Admit a viewer whose request is signed with one of ``keys``.

    Args:
        viewer: The request.
        keys: Public keys of the trusted key groups, by their id.
        now: Unix seconds.

    Raises:
        DeniedError: In all other cases.
    """
    parts = _parts(viewer)
    if not parts.key_pair_id:
        raise DeniedError("MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
    if not parts.signature or not (parts.policy or parts.expires):
        raise DeniedError("AccessDenied", "Access denied")
    key = keys.get(parts.key_pair_id)
    if key is None:
        raise DeniedError("InvalidKey", "Unknown Key")
    try:
        signature = playback.decode(parts.signature)
        policy = (
            playback.decode(parts.policy)
            if parts.policy
            else playback.policy_text(viewer.url, int(parts.expires)).encode()
        )
    except ValueError:
        raise DeniedError("MalformedPolicy", "Malformed Policy") from None
    if parts.hash_algorithm not in HASHES or not _verifies(
        key, signature, policy, HASHES[parts.hash_algorithm]()
    ):
        raise DeniedError("AccessDenied", "Access denied")
    _admit(_statement(policy), viewer, now)


@dataclass(frozen=True)
class _Parts:
    policy: str
    expires: str
    signature: str
    key_pair_id: str
    hash_algorithm: str


def _parts(viewer: Viewer) -> _Parts:
    pairs = (part.partition("=") for part in viewer.query.split("&"))
    query = {name: unquote_plus(value) for name, _, value in pairs}
    for names, expires, values in (
        (playback.QUERY, EXPIRES, query),
        (playback.COOKIES, EXPIRES_COOKIE, viewer.cookies),
    ):
        found = _Parts(
            policy=values.get(names.policy, ""),
            expires=values.get(expires, ""),
            signature=values.get(names.signature, ""),
            key_pair_id=values.get(names.key_pair_id, ""),
            hash_algorithm=values.get(names.hash_algorithm, DEFAULT_HASH),
        )
        if found.policy or found.signature or found.key_pair_id:
            return found
    return _Parts("", "", "", "", "")


def _verifies(
    key: PublicKey, signature: bytes, policy: bytes, algorithm: hashes.HashAlgorithm
) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, policy, padding.PKCS1v15(), algorithm)
        else:
            key.verify(signature, policy, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _statement(policy: bytes) -> Mapping[str, Any]:
    try:
        statements = json.loads(policy)["Statement"]
        statement = statements[0]
        conditions = statement["Condition"]
        int(conditions["DateLessThan"]["AWS:EpochTime"])
    except (ValueError, KeyError, IndexError, TypeError):
        raise DeniedError("MalformedPolicy", "Malformed Policy") from None
    if len(statements) != 1 or not isinstance(statement, dict):
        raise DeniedError("MalformedPolicy", "Malformed Policy")
    return statement


def _admit(statement: Mapping[str, Any], viewer: Viewer, now: float) -> None:
    conditions = statement["Condition"]
    try:
        too_late = now >= int(conditions["DateLessThan"]["AWS:EpochTime"])
        after = conditions.get("DateGreaterThan", {}).get("AWS:EpochTime")
        too_early = after is not None and now <= int(after)
        network = conditions.get("IpAddress", {}).get("AWS:SourceIp")
        elsewhere = network is not None and not _within(viewer.address, network)
    except (AttributeError, TypeError, ValueError):
        raise DeniedError("MalformedPolicy", "Malformed Policy") from None
    if too_late or too_early or elsewhere:
        raise DeniedError("AccessDenied", "Access denied")
    # A policy without a resource covers all that the key pair covers.
    if not all(
        pattern_matches(str(statement.get("Resource", "*")), form) for form in _forms_of(viewer.url)
    ):
        raise DeniedError("AccessDenied", "Access denied")


def _forms_of(url: str) -> Sequence[str]:
    """Return a URL as it was sent and with its dot segments resolved; a policy must cover both.

    Otherwise ``run1/../run2`` would be covered by a policy for ``run1/*``.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    path, question, query = path.partition("?")
    resolved = normalized_path(f"{slash}{path}")
    return url, f"{scheme}://{authority}{resolved}{question}{query}"


def _within(address: str, network: str) -> bool:
    # CloudFront takes IPv4 ranges only, in which no address of IPv6 lies.
    return ipaddress.ip_address(address) in ipaddress.IPv4Network(network, strict=False)
