"""Key pairs that sign playback: made at deploy time, the private half in a secret alone."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._deploy_resource import (
    DeployResource,
    deploy_function,
    deploy_resource,
)
from media_platform.constructs._replication import key_arn_in
from media_platform.contract.delivery import signing_secret_name


class SigningKeyMaker(Construct):
    """What makes key pairs: a KMS key that generates them, and the function that asks it to.

    Args:
        scope: Parent.
        construct_id: Id in it.
        removal_policy: What happens to the KMS key when it leaves the template.

    Attributes:
        key: The KMS key.
        function: The function.

    Source: AWS KMS API Reference, GenerateDataKeyPair.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, removal_policy: cdk.RemovalPolicy
    ) -> None:
        super().__init__(scope, construct_id)
        self.key = kms.Key(
            self,
            "Key",
            description="Generates the key pairs that sign playback",
            enable_key_rotation=True,
            removal_policy=removal_policy,
        )
        self.function: lambda_.Function = deploy_function(
            self, "Maker", resource=DeployResource.SIGNING_KEY
        )
        # The plain private half is in the answer of this one call; nothing is decrypted later.
        self.key.grant(self.function, "kms:GenerateDataKeyPair")


class SigningKey(Construct):
    """One slot of the key group: a secret with the pair, and the public half at CloudFront.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage.
        slot: Name of the slot.
        maker: What makes the pair.
        replica_regions: Other regions that need the secret.
        encryption_key: Key of the secret, which the other regions have, too. Default: the one that
            Secrets Manager has in the account.
        removal_policy: What happens to the secret when it leaves the template.

    Attributes:
        secret: The secret.
        public_key: The CloudFront public key.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str,
        slot: str,
        maker: SigningKeyMaker,
        replica_regions: Sequence[str],
        encryption_key: kms.IKey | None,
        removal_policy: cdk.RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        # A physical name, because the APIs of all regions read it before this stack exists.
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            secret_name=signing_secret_name(stage, slot),
            description=f"Key pair that signs playback, slot {slot}",
            encryption_key=encryption_key,
            removal_policy=removal_policy,
            replica_regions=[
                secretsmanager.ReplicaRegion(
                    region=region, encryption_key=self._key_in(region, encryption_key)
                )
                for region in replica_regions
            ]
            or None,
        )
        accept(self.secret, Accepted.KEY_SLOTS)
        iam.Grant.add_to_principal(
            grantee=maker.function,
            actions=["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
            resource_arns=[self.secret.secret_arn],
        )
        if encryption_key is not None:
            encryption_key.grant(maker.function, "kms:Decrypt", "kms:GenerateDataKey")
        pair = deploy_resource(
            self,
            "Pair",
            resource=DeployResource.SIGNING_KEY,
            function=maker.function,
            properties={
                "KmsKeyId": maker.key.key_arn,
                "SecretId": self.secret.secret_arn,
            },
        )
        self.public_key = cloudfront.PublicKey(
            self, "PublicKey", encoded_key=pair.get_att_string("PublicKey")
        )

    def _key_in(self, region: str, key: kms.IKey | None) -> kms.IKey | None:
        """Return the replica of a multi-region key."""
        if key is None:
            return None
        keys = Construct(self, f"Key-{region}")
        return kms.Key.from_key_arn(keys, "Key", key_arn_in(self, key, region))
