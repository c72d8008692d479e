"""The delivery document: what signers need to know of the distribution.

The Edge stack needs the ALB, and the API needs the domain and the active key. The Edge stack breaks
that cycle: it writes this document to an SSM parameter in every region, and the API polls it. That
is also how signing keys rotate without a restart.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

SLOTS: Final = ("a", "b")
"""Slots of the key group: two, so that a new key is trusted before the old one is given up."""

FIRST_KEY: Final = 1
"""Number of the key that a stage begins with, in slot ``a``; each later one has a greater."""

NO_KEY: Final = 0
"""In place of a number: the slot is empty."""

FRESH_SECONDS: Final = 10
"""Age after which signers read the document again."""

FOLLOWED_SECONDS: Final = 20
"""Time after which all signers that can read a new document go by it, attempts included."""

GRANT_STEPS: Final = 4
"""Grants end at whole steps, of which a lifetime has so many, so that equal ones are cached."""


def longest_grant_seconds(lifetime_seconds: int) -> int:
    """Return how long a grant holds at most.

    Args:
        lifetime_seconds: How long it holds at least.
    """
    return lifetime_seconds + max(1, lifetime_seconds // GRANT_STEPS)


def delivery_parameter_name(stage: str) -> str:
    """Return the name of the SSM parameter that holds the document of a stage."""
    return f"/media-platform/{stage}/delivery"


def signing_secret_name(stage: str, slot: str) -> str:
    """Return the name of the secret with the key pair of a slot, a :class:`SigningKeyPair`."""
    return f"media-platform/{stage}/playback-signing-key-{slot}"


@dataclass(frozen=True, kw_only=True)
class SigningKeyPair:
    """The value of a signing secret: an ECDSA P-256 key pair.

    Attributes:
        private_key: PEM, PKCS #8.
        public_key: PEM, SubjectPublicKeyInfo, as CloudFront takes it.
        number: Number of the key, by which a slot tells it from the one that it had before.
    """

    private_key: str = field(repr=False)
    public_key: str
    number: int = FIRST_KEY

    def to_json(self) -> str:
        """Return the value of the secret."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SigningKeyPair:
        """Read the value of a secret; fields that a later version added are ignored.

        Raises:
            ValueError: If it is not a key pair; the message does not repeat the value.
        """
        try:
            content = {"number": FIRST_KEY, **json.loads(text)}
            return cls(**{name: content[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError, ValueError):
            raise ValueError("the signing secret does not hold a key pair") from None


@dataclass(frozen=True, kw_only=True)
class DeliveryDocument:
    """Where and with which key playback is signed.

    Attributes:
        base_url: Scheme and authority of the one origin that clients know, without a final slash.
        key_pair_id: Id of the CloudFront public key whose private half signs now.
        signing_secret: Name of the secret that holds this private half.
        other_secrets: Names of the secrets of the other keys that the distribution accepts, by the
            id of their public key: what they signed before a rotation is still verified.
    """

    base_url: str
    key_pair_id: str
    signing_secret: str
    other_secrets: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the document as it is stored."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DeliveryDocument:
        """Read a stored document; fields that a later version added are ignored.

        Raises:
            ValueError: If it is not a delivery document.
        """
        content = json.loads(text)
        try:
            others = {"other_secrets": content.get("other_secrets", {})}
            return cls(**{name: {**others, **content}[name] for name in cls.__dataclass_fields__})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a delivery document: {error}") from error
