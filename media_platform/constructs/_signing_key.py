"""Key pairs that sign playback: made at deploy time, the private half in a secret alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

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
from media_platform.contract.delivery import FIRST_KEY, NO_KEY, SLOTS, signing_secret_name


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


class SigningKeyParameters(Construct):
    """Parameters of the stack that say which keys there are: they are changed where it runs.

    A rotation takes days to leave everybody who plays alone, and belongs to what runs, not to the
    source: whoever deploys the stack meanwhile changes nothing of it, since the CDK CLI keeps the
    values of parameters.

    Args:
        scope: Parent.
        construct_id: Id in it.

    Attributes:
        keys: Number of the key in each slot, by slot; 0 for none. Default 1 in slot ``a``.
        active_slot: Slot that signs. Default ``a``.

    Source: AWS CDK CLI reference, ``cdk deploy --previous-parameters``.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        first, second = SLOTS
        self.keys = {
            slot: cdk.CfnParameter(
                self,
                slot.upper(),
                type="Number",
                default=number,
                min_value=NO_KEY,
                description=f"Number of the key in slot {slot} that signs playback, 0 for none; "
                "`mediactl keys rotate` changes it",
            )
            for slot, number in ((first, FIRST_KEY), (second, NO_KEY))
        }
        self.active_slot = cdk.CfnParameter(
            self,
            "ActiveSlot",
            allowed_values=list(SLOTS),
            default=first,
            description="Slot whose key signs playback; `mediactl keys rotate` changes it",
        )
        self._second_signs = cdk.CfnCondition(
            self,
            "SecondSigns",
            expression=cdk.Fn.condition_equals(self.active_slot.value_as_string, second),
        )

    def of_active(self, values: Mapping[str, Any]) -> cdk.IResolvable:
        """Return which of two values, by slot, is that of the slot that signs."""
        first, second = SLOTS
        return cdk.Fn.condition_if(self._second_signs.logical_id, values[second], values[first])

    def of_other(self, values: Mapping[str, Any]) -> cdk.IResolvable:
        """Return which of two values, by slot, is that of the other slot."""
        first, second = SLOTS
        return cdk.Fn.condition_if(self._second_signs.logical_id, values[first], values[second])


class SigningKey(Construct):
    """One slot of the key group: a secret for a pair, and the public half at CloudFront.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage.
        slot: Name of the slot.
        number: Number of the key, which only the deployed stack knows; 0 for none.
        maker: What makes the pair.
        replica_regions: Other regions that need the secret.
        encryption_key: Key of the secret, which the other regions have, too. Default: the one that
            Secrets Manager has in the account.
        removal_policy: What happens to the secret when it leaves the template.

    Attributes:
        secret: The secret. It outlives its keys, since its name is free again only after weeks.
        public_key: The CloudFront public key.
        is_used: Whether there is a key in the slot.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str,
        slot: str,
        number: cdk.CfnParameter,
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
        self.is_used = cdk.CfnCondition(
            self,
            "IsUsed",
            expression=cdk.Fn.condition_not(
                cdk.Fn.condition_equals(number.value_as_string, str(NO_KEY))
            ),
        )
        pair = deploy_resource(
            self,
            "Pair",
            resource=DeployResource.SIGNING_KEY,
            function=maker.function,
            properties={
                "KmsKeyId": maker.key.key_arn,
                "SecretId": self.secret.secret_arn,
                "Number": number.value_as_string,
            },
        )
        self.public_key = cloudfront.PublicKey(
            self, "PublicKey", encoded_key=pair.get_att_string("PublicKey")
        )
        self._name_by_number(number)
        for made in (pair, self.public_key):
            cast("cdk.CfnResource", made.node.default_child).cfn_options.condition = self.is_used

    def _name_by_number(self, number: cdk.CfnParameter) -> None:
        """Give later keys of the slot names of their own, as CloudFront may remember old ones.

        Source: CloudFront API Reference, CreatePublicKey, ``CallerReference``.
        """
        is_first = cdk.CfnCondition(
            self,
            "IsFirst",
            expression=cdk.Fn.condition_equals(number.value_as_string, str(FIRST_KEY)),
        )
        later = cdk.Fn.condition_if(is_first.logical_id, "", f"-{number.value_as_string}")
        resource = cast("cloudfront.CfnPublicKey", self.public_key.node.default_child)
        config = cast("cloudfront.CfnPublicKey.PublicKeyConfigProperty", resource.public_key_config)
        for name, first in (
            ("CallerReference", config.caller_reference),
            ("Name", config.name),
        ):
            resource.add_property_override(
                f"PublicKeyConfig.{name}", cdk.Fn.join("", [first, cdk.Token.as_string(later)])
            )

    def _key_in(self, region: str, key: kms.IKey | None) -> kms.IKey | None:
        """Return the replica of a multi-region key."""
        if key is None:
            return None
        keys = Construct(self, f"Key-{region}")
        return kms.Key.from_key_arn(keys, "Key", key_arn_in(self, key, region))
