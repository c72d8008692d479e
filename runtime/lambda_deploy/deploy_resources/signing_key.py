"""``Custom::SigningKey``: the key pair that playback is signed with.

Handler ``deploy_resources.signing_key.handle``; no environment; timeout 120 s, and the custom
resource with ``ServiceTimeout`` 180. Properties ``KmsKeyId`` (a symmetric key), ``SecretId``
(name or ARN of a secret in this region) and ``Number`` (of the key, default 1); attribute
``PublicKey`` (PEM, SubjectPublicKeyInfo).

The private half exists in the memory of this function and in the secret, nowhere else. A secret
that holds the pair of that number keeps it, so repeats, updates and a lost answer change nothing.
A pair of another number takes its place only where the resource is made anew, once the slot was
empty: the public key at CloudFront cannot be changed, and an update that failed there would have
lost the key that signs. The secret itself, and with it the key, goes with its own resource.

The role needs exactly this, beside writing its own logs:

- the key: ``kms:GenerateDataKeyPair``;
- the secret: ``secretsmanager:GetSecretValue``, ``secretsmanager:PutSecretValue``;
- where the secret has a customer managed key, on that key: ``kms:Decrypt``,
  ``kms:GenerateDataKey``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import boto3

from deploy_resources.custom_resource import (
    CLIENT_CONFIG,
    CustomResourceError,
    Request,
    Result,
    serve,
)
from deploy_resources.pem import pem
from media_platform.contract.delivery import FIRST_KEY, SigningKeyPair

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

KEY_PAIR_SPEC: Final = "ECC_NIST_P256"
"""The elliptic curve that CloudFront verifies."""


def handle(event: Mapping[str, Any], _context: object) -> None:
    """Answer one request of CloudFormation."""
    serve(event, fulfil)


def fulfil(request: Request) -> Result:
    """See that the secret holds the key pair of a number and return the public half.

    Raises:
        CustomResourceError: If a property is missing, or the slot has another key.
    """
    if request.is_delete:
        return Result(physical_id=request.physical_id or "")
    secret_id, key_id = request.text("SecretId"), request.text("KmsKeyId")
    number = _number(request)
    physical_id = f"signing-key/{secret_id}" + (f"/{number}" if number != FIRST_KEY else "")
    if request.physical_id not in {None, physical_id}:
        raise CustomResourceError(
            f"the slot has another key than {number}; set its number to 0 first, then to {number}"
        )
    pair = _stored_pair(secret_id)
    if pair is None or pair.number != number:
        pair = _new_pair(key_id, number)
        _secrets().put_secret_value(SecretId=secret_id, SecretString=pair.to_json())
    return Result(physical_id=physical_id, attributes={"PublicKey": pair.public_key})


def _number(request: Request) -> int:
    text = str(request.properties.get("Number", FIRST_KEY))
    if not text.isdecimal():
        raise CustomResourceError(f"Number is {text!r}, allowed are whole numbers; count keys")
    return int(text)


def _stored_pair(secret_id: str) -> SigningKeyPair | None:
    """Return the pair in the secret; ``None`` if it is empty or holds CloudFormation's filler."""
    client = _secrets()
    try:
        text = client.get_secret_value(SecretId=secret_id).get("SecretString", "")
    except client.exceptions.ResourceNotFoundException:
        # Also the answer for a secret without a value; one that does not exist fails at the put.
        return None
    try:
        return SigningKeyPair.from_json(text)
    except ValueError:
        return None


def _new_pair(key_id: str, number: int) -> SigningKeyPair:
    client: KMSClient = boto3.client("kms", config=CLIENT_CONFIG)
    made = client.generate_data_key_pair(KeyId=key_id, KeyPairSpec=KEY_PAIR_SPEC)
    return SigningKeyPair(
        private_key=pem("PRIVATE KEY", made["PrivateKeyPlaintext"]),
        public_key=pem("PUBLIC KEY", made["PublicKey"]),
        number=number,
    )


def _secrets() -> SecretsManagerClient:
    return boto3.client("secretsmanager", config=CLIENT_CONFIG)
