"""Playback signatures: made and checked without asking anyone.

Signatures are deterministic (RFC 6979) and expiries are rounded up to a slot, so that equal
requests get equal URLs, which caches like. The key is ECDSA P-256 and the hash SHA-256, which costs
a twelfth of RSA-2048.

Source: Amazon CloudFront Developer Guide, "Create a signed URL using a custom policy" and "Set
signed cookies that use a custom policy".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from media_api.rules import is_within
from media_platform.contract import playback
from media_platform.contract.delivery import GRANT_STEPS, SigningKeyPair
from media_platform.contract.ids import is_id
from media_platform.contract.object_keys import MEDIA_PREFIX, RunKeys, is_key_segment

_OF_DIGESTS = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)
"""Made once, and for digests: what it would do for each signature takes longer than the hash."""

_KEPT_SIGNATURES = 1024
_LONGEST_POLICY = 2048


class SignatureRefusedError(Exception):
    """A playback signature does not admit what was asked for; the message may be shown."""


class Grant(NamedTuple):
    """A signed permission to read everything of one run.

    Attributes:
        keys: The run.
        base_url: Scheme and authority of the distribution.
        expires_at: Unix seconds at which it ends.
        policy: The policy, encoded.
        signature: Its signature, encoded.
        key_pair_id: Id of the key that verifies it.
        source_range: IPv4 range of the addresses that it admits. Default: any address.
    """

    keys: RunKeys
    base_url: str
    expires_at: int
    policy: str
    signature: str
    key_pair_id: str
    source_range: str | None = None

    @property
    def query(self) -> str:
        """The query string of URLs; every value is in an alphabet that needs no escaping."""
        return _query(self.policy, self.signature, self.key_pair_id)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, by name."""
        names = playback.COOKIES
        return {
            names.policy: self.policy,
            names.signature: self.signature,
            names.key_pair_id: self.key_pair_id,
            names.hash_algorithm: playback.HASH_ALGORITHM,
        }

    def url(self, key: str) -> str:
        """Return the signed URL of an object of the run."""
        return f"{self.base_url}/{key}?{self.query}"


def _query(policy: str, signature: str, key_pair_id: str) -> str:
    names = playback.QUERY
    return (
        f"{names.policy}={policy}&{names.signature}={signature}&{names.key_pair_id}={key_pair_id}"
        f"&{names.hash_algorithm}={playback.HASH_ALGORITHM}"
    )


def time_of(expires_at: int) -> str:
    """Return when a signature ends as clients are told it: RFC 3339, UTC.

    Args:
        expires_at: Unix seconds.
    """
    return datetime.fromtimestamp(expires_at, UTC).isoformat().replace("+00:00", "Z")


def expiry(now: float, lifetime_seconds: int, longest_seconds: int | None = None) -> int:
    """Return when a signature made now ends: at least its lifetime, at most a quarter longer.

    Args:
        now: Unix seconds.
        lifetime_seconds: Shortest lifetime.
        longest_seconds: Longest lifetime, of which at least four fifths are given where it is less
            than the other would come to. Default: any.
    """
    slot = max(1, lifetime_seconds // GRANT_STEPS)
    if longest_seconds is not None and longest_seconds < lifetime_seconds + slot:
        slot = max(1, longest_seconds // (GRANT_STEPS + 1))
        lifetime_seconds = longest_seconds - slot
    return math.ceil((now + lifetime_seconds) / slot) * slot


class PlaybackSigner:
    """Signs with one key and checks what that key signed.

    Args:
        pair: The key pair.
        key_pair_id: Id under which CloudFront knows its public half.
        base_url: Scheme and authority of the distribution.

    Raises:
        ValueError: If the pair is not an ECDSA P-256 key, or its halves do not belong together.
    """

    def __init__(self, pair: SigningKeyPair, *, key_pair_id: str, base_url: str) -> None:
        self.key_pair_id = key_pair_id
        self.base_url = base_url
        self._private = _private_key(pair)
        self._public = self._private.public_key()
        # Memories per signer, so that they go with their key.
        self._sign_once = lru_cache(_KEPT_SIGNATURES)(self._sign)
        self._sign_url_once = lru_cache(_KEPT_SIGNATURES)(self._sign_url)
        self._verify_once = lru_cache(_KEPT_SIGNATURES)(self._verify)

    def grant(self, keys: RunKeys, expires_at: int, source_range: str | None = None) -> Grant:
        """Return the permission to read everything of a run.

        Args:
            keys: The run.
            expires_at: Unix seconds at which it ends.
            source_range: IPv4 range of the addresses that may read. Default: any address.
        """
        return self._sign_once(keys, expires_at, source_range)

    def url(self, key: str, expires_at: int, source_range: str | None = None) -> str:
        """Return the URL of one object, signed for it alone.

        Args:
            key: Key of the object.
            expires_at: Unix seconds at which it ends.
            source_range: IPv4 range of the addresses that may read. Default: any address.
        """
        return self._sign_url_once(key, expires_at, source_range)

    def _sign(self, keys: RunKeys, expires_at: int, source_range: str | None) -> Grant:
        resource = f"{self.base_url}/{keys.prefix}*"
        policy, signature = self._signed(resource, expires_at, source_range)
        return Grant(
            keys, self.base_url, expires_at, policy, signature, self.key_pair_id, source_range
        )

    def _sign_url(self, key: str, expires_at: int, source_range: str | None) -> str:
        url = f"{self.base_url}/{key}"
        policy, signature = self._signed(url, expires_at, source_range)
        return f"{url}?{_query(policy, signature, self.key_pair_id)}"

    def _signed(self, resource: str, expires_at: int, source_range: str | None) -> tuple[str, str]:
        """Return policy and signature of a resource, encoded."""
        policy = playback.policy_text(resource, expires_at, source_range).encode()
        signature = self._private.sign(hashlib.sha256(policy).digest(), _OF_DIGESTS)
        return playback.encode(policy), playback.encode(signature)

    def verify(
        self, policy: str, signature: str, *, now: float, address: str | None = None
    ) -> Grant:
        """Return the permission that a policy and its signature give.

        Args:
            policy: The encoded policy.
            signature: The encoded signature.
            now: Unix seconds.
            address: IP address of who shows them. Default: unknown.

        Raises:
            SignatureRefusedError: If they give none, or none any more, or none to this address.
        """
        if len(policy) > _LONGEST_POLICY or len(signature) > _LONGEST_POLICY:
            raise SignatureRefusedError("the playback signature is malformed")
        grant = self._verify_once(policy, signature)
        if grant.expires_at <= now:
            raise SignatureRefusedError("the playback signature has expired")
        if grant.source_range is not None and not is_within(address, grant.source_range):
            raise SignatureRefusedError("the playback signature is one for other addresses")
        return grant

    def _verify(self, policy: str, signature: str) -> Grant:
        try:
            text, proof = _decode(policy), _decode(signature)
            self._public.verify(proof, text, ec.ECDSA(SHA256()))
        except (ValueError, InvalidSignature):
            raise SignatureRefusedError("the playback signature is wrong") from None
        keys, expires_at, source_range = _read_policy(text, self.base_url)
        return Grant(
            keys, self.base_url, expires_at, policy, signature, self.key_pair_id, source_range
        )


def _decode(text: str) -> bytes:
    """Decode the one spelling that was signed; base64 would accept others of its last character."""
    content = playback.decode(text)
    if playback.encode(content) != text:
        raise ValueError(text)
    return content


def _read_policy(text: bytes, base_url: str) -> tuple[RunKeys, int, str | None]:
    """Read a policy whose signature is right, which may still be one for another purpose."""
    try:
        (statement,) = json.loads(text)["Statement"]
        resource = statement["Resource"]
        condition = statement["Condition"]
        expires_at = condition["DateLessThan"]["AWS:EpochTime"]
        addresses = condition.get("IpAddress")
        source_range = addresses["AWS:SourceIp"] if addresses else None
        keys = _read_resource(resource, base_url)
        same = playback.policy_text(resource, expires_at, source_range).encode() == text
        if same and type(expires_at) is int:
            return keys, expires_at, source_range
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise SignatureRefusedError("the playback signature is not one of this platform")


def _read_resource(resource: str, base_url: str) -> RunKeys:
    start, end = f"{base_url}/{MEDIA_PREFIX}", "/*"
    if not (resource.startswith(start) and resource.endswith(end)):
        raise ValueError(resource)
    region, tenant, video_id, run_id = resource[len(start) : -len(end)].split("/")
    if not (
        is_key_segment(region) and is_key_segment(tenant) and is_id(video_id) and is_id(run_id)
    ):
        raise ValueError(resource)
    return RunKeys(region, tenant, video_id, run_id)


def read_parameters(parameters: Mapping[str, list[str]]) -> tuple[str, str, str]:
    """Return policy, signature and key pair id from the query parameters of a signed URL.

    Raises:
        SignatureRefusedError: If one is missing, doubled, or of another hash algorithm.
    """
    names = playback.QUERY
    values = []
    for name in (names.policy, names.signature, names.key_pair_id, names.hash_algorithm):
        given = parameters.get(name, [])
        if len(given) != 1:
            raise SignatureRefusedError(
                f"the query parameter {name} is given {len(given)} times, not once"
            )
        values.append(given[0])
    if values[3] != playback.HASH_ALGORITHM:
        raise SignatureRefusedError(
            f"the hash algorithm of the playback signature is not {playback.HASH_ALGORITHM}"
        )
    return values[0], values[1], values[2]


def _private_key(pair: SigningKeyPair) -> ec.EllipticCurvePrivateKey:
    """Load a key pair; messages never repeat key material."""
    try:
        key = load_pem_private_key(pair.private_key.encode(), password=None)
    except (TypeError, ValueError):
        raise ValueError("the private half of the signing key cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the signing key is not an ECDSA P-256 key; CloudFront needs one")  # noqa: TRY004
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if public.decode().split() != pair.public_key.split():
        raise ValueError("the halves of the signing key do not belong together")
    return key
