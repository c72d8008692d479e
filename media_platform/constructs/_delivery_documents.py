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
from media_platform.contract.delivery import delivery_parameter_name, signing_secret_name


class DeliveryDocuments(Construct):
    """One SSM parameter in every region, written while the Edge stack is deployed.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage.
        regions: Regions that sign.
        base_url: Scheme and authority of the one origin that clients know.
        key_pair_id: Id of the CloudFront public key that verifies.
        active_slot: Slot of the key that signs.
        other_key_pair_ids: Ids of the other public keys of the distribution, by their slot.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str,
        regions: Sequence[str],
        base_url: str,
        key_pair_id: str,
        active_slot: str,
        other_key_pair_ids: Mapping[str, str],
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
        secrets = [
            {"KeyPairId": key_pair, "SigningSecret": signing_secret_name(stage, slot)}
            for slot, key_pair in other_key_pair_ids.items()
        ]
        others = {"OtherSecrets": secrets} if secrets else {}
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
                    "KeyPairId": key_pair_id,
                    "SigningSecret": signing_secret_name(stage, active_slot),
                    **others,
                },
            )
