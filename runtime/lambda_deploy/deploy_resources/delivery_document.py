"""``Custom::DeliveryDocument``: tells the signers of one region about the distribution.

Handler ``deploy_resources.delivery_document.handle``; no environment; timeout 120 s, and the
custom resource with ``ServiceTimeout`` 180. Properties ``Region``, ``ParameterName``, ``BaseUrl``,
``KeyPairId``, ``SigningSecret`` and, if there are other keys, ``OtherSecrets`` (a list of
``KeyPairId`` and ``SigningSecret``); no attributes. It writes to another region, for which
CloudFormation has no resource.

The role needs exactly this, beside writing its own logs:

- ``arn:<partition>:ssm:<Region>:<account>:parameter<ParameterName>`` of each region:
  ``ssm:PutParameter``, ``ssm:DeleteParameter``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3

from deploy_resources.custom_resource import CLIENT_CONFIG, Request, Result, serve
from media_platform.contract.delivery import DeliveryDocument

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


def handle(event: Mapping[str, Any], _context: object) -> None:
    """Answer one request of CloudFormation."""
    serve(event, fulfil)


def fulfil(request: Request) -> Result:
    """Write the document, or delete it.

    The physical id names the parameter, so that another region or name is a replacement: the new
    parameter is written first, and the old one deleted at the end of the update.

    Raises:
        CustomResourceError: If a property is missing.
    """
    if request.is_delete:
        _delete(request.physical_id or "")
        return Result(physical_id=request.physical_id or "")
    region, name = request.text("Region"), request.text("ParameterName")
    document = DeliveryDocument(
        base_url=request.text("BaseUrl").rstrip("/"),
        key_pair_id=request.text("KeyPairId"),
        signing_secret=request.text("SigningSecret"),
        other_secrets={
            other["KeyPairId"]: other["SigningSecret"]
            for other in request.properties.get("OtherSecrets", [])
        },
    )
    _parameters(region).put_parameter(
        Name=name, Value=document.to_json(), Type="String", Overwrite=True
    )
    return Result(physical_id=f"{region}:{name}")


def _delete(physical_id: str) -> None:
    """Delete the parameter that ``physical_id`` names, if there is one."""
    region, colon, name = physical_id.partition(":")
    if not colon:
        return  # it was never created
    client = _parameters(region)
    try:
        client.delete_parameter(Name=name)
    except client.exceptions.ParameterNotFound:
        return


def _parameters(region: str) -> SSMClient:
    return boto3.client("ssm", region_name=region, config=CLIENT_CONFIG)
