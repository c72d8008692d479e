"""Signing keys for tests."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from media_platform.contract.delivery import SigningKeyPair


def new_pair(curve: ec.EllipticCurve | None = None) -> SigningKeyPair:
    """Return a new key pair. Default curve: P-256."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return SigningKeyPair(private_key=private.decode(), public_key=public.decode())
