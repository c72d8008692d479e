"""Signatures for playback: ours and botocore's, for as many runs as there are."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
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

from media_api.signing import PlaybackSigner
from media_platform.contract.delivery import SigningKeyPair
from media_platform.contract.ids import new_id
from media_platform.contract.object_keys import RunKeys

BASE_URL = "https://media.example"
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


def signatures_a_second(seconds: float) -> tuple[float, float]:
    """Return how many URLs of different runs ours and botocore's signer sign in a second.

    Args:
        seconds: For how long.
    """
    signer = PlaybackSigner(key_pair(), key_pair_id="KA", base_url=BASE_URL)
    peer = CloudFrontSigner("KA", rsa_signature())

    runs = itertools.cycle(
        [RunKeys("eu-central-1", "acme", new_id(), new_id()) for _ in range(10_000)]
    )

    def ours(number: int) -> str:
        keys = next(runs)
        return signer.grant(keys, 2_000_000_000 + number).url(keys.poster)

    def theirs(number: int) -> str:
        keys = next(runs)
        policy = (
            f'{{"Statement":[{{"Resource":"{BASE_URL}/{keys.prefix}*","Condition":'
            f'{{"DateLessThan":{{"AWS:EpochTime":{2_000_000_000 + number}}}}}}}]}}'
        )
        return str(peer.generate_presigned_url(f"{BASE_URL}/{keys.poster}", policy=policy))

    taken = {ours: 0.0, theirs: 0.0}
    signed = {ours: 0, theirs: 0}
    # In turns, and by processor time, so that what else goes on disturbs both alike.
    while sum(taken.values()) < seconds:
        for sign in taken:
            begun = time.process_time()
            for number in range(_TURN):
                sign(number)
            taken[sign] += time.process_time() - begun
            signed[sign] += _TURN
    return signed[ours] / taken[ours], signed[theirs] / taken[theirs]
