"""Signatures for playback: ours, made anew and kept, and botocore's."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from harness.figures import median
from media_api.signing import PlaybackSigner
from media_platform.contract.delivery import SigningKeyPair
from media_platform.contract.ids import new_id
from media_platform.contract.object_keys import RunKeys

BASE_URL = "https://media.example"
_EXPIRES_AT = 2_000_000_000
_HOT_RUNS = 10
_TURN = 500


@cache
def rsa_signature() -> Callable[[bytes], bytes]:
    """Return what signs with a new RSA-2048 key, as CloudFront's own examples do."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    # CloudFront verifies SHA-1 unless it is told otherwise, and botocore tells it nothing.
    return lambda message: key.sign(message, padding.PKCS1v15(), SHA1())  # noqa: S303


@cache
def key_pair() -> SigningKeyPair:
    """Return a new ECDSA P-256 key pair."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return SigningKeyPair(private_key=private.decode(), public_key=public.decode())


@dataclass(frozen=True)
class SignedUrls:
    """Signed URLs a processor second.

    Attributes:
        fresh: Ours, each for another run and therefore signed.
        kept: Ours, of a few runs within a slot and therefore kept.
        peer: Those of botocore's signer, which keeps none.
    """

    fresh: float
    kept: float
    peer: float


def signed_urls(seconds: float) -> SignedUrls:
    """Measure how many URLs are signed.

    Args:
        seconds: For how long.
    """
    signer = PlaybackSigner(key_pair(), key_pair_id="KA", base_url=BASE_URL)
    peer = CloudFrontSigner("KA", rsa_signature())
    made = [RunKeys("eu-central-1", "acme", new_id(), new_id()) for _ in range(10_000)]
    runs, hot_runs = itertools.cycle(made), itertools.cycle(made[:_HOT_RUNS])

    def fresh() -> str:
        keys = next(runs)
        return signer.grant(keys, _EXPIRES_AT).url(keys.poster)

    def kept() -> str:
        keys = next(hot_runs)
        return signer.grant(keys, _EXPIRES_AT).url(keys.poster)

    def theirs() -> str:
        keys = next(runs)
        expires_at = datetime.fromtimestamp(_EXPIRES_AT, UTC)
        policy = peer.build_policy(f"{BASE_URL}/{keys.prefix}*", expires_at)
        return str(peer.generate_presigned_url(f"{BASE_URL}/{keys.poster}", policy=policy))

    turns: dict[Callable[[], str], list[float]] = {fresh: [], kept: [], theirs: []}
    end = time.monotonic() + seconds
    # In turns, and by processor time, so that what else goes on disturbs all alike.
    while time.monotonic() < end:
        for sign, rates in turns.items():
            begun = time.process_time()
            for _ in range(_TURN):
                sign()
            rates.append(_TURN / (time.process_time() - begun))
    return SignedUrls(*(median(rates) for rates in turns.values()))
