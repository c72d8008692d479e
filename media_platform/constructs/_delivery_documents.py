"""The document that tells signers of every region where and with which key to sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from media_platform.constructs._deploy_resource import (
    DeployResource,
    deploy_function,
    deploy_resource,
)
from media_platform.constructs._signing_key import SigningKey, SigningKeyParameters
from media_platform.contract.delivery import delivery_parameter_name, signing_secret_name


class DeliveryDocuments(Construct):
    """One SSM parameter in every region, written while the Edge stack is deployed.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage.
        regions: Regions that sign.
        base_url: Scheme and authority of the one origin that clients know.
        signing_keys: The keys by slot.
        parameters: What says which of them signs.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str,
        regions: Sequence[str],
        base_url: str,
        signing_keys: Mapping[str, SigningKey],
        parameters: SigningKeyParameters,
    ) -> None:
        super().__init__(scope, construct_id)
        name = delivery_parameter_name(stage)
        function = deploy_function(self, "Writer", resource=DeployResource.DELIVERY_DOCUMENT)
        stack = cdk.Stack.of(self)
        iam.Grant.add_to_principal(
            grantee=function,
            actions=["ssm:DeleteParameter", "ssm:PutParameter"],
            resource_arns=[
                stack.format_arn(
                    service="ssm",
                    region=region,
                    resource="parameter",
                    resource_name=name.removeprefix("/"),
                )
                for region in regions
            ],
        )
        key_pair_ids = {slot: key.public_key.public_key_id for slot, key in signing_keys.items()}
        secrets = {slot: signing_secret_name(stage, slot) for slot in signing_keys}
        others = {
            slot: cdk.Fn.condition_if(
                key.is_used.logical_id,
                [{"KeyPairId": key_pair_ids[slot], "SigningSecret": secrets[slot]}],
                [],
            )
            for slot, key in signing_keys.items()
        }
        documents = Construct(self, "Documents")
        for region in regions:
            deploy_resource(
                documents,
                region,
                resource=DeployResource.DELIVERY_DOCUMENT,
                function=function,
                properties={
                    "Region": region,
                    "ParameterName": name,
                    "BaseUrl": base_url,
                    "KeyPairId": parameters.of_active(key_pair_ids),
                    "SigningSecret": parameters.of_active(secrets),
                    "OtherSecrets": parameters.of_other(others),
                },
            )
