"""``Custom::VpcRestrictDefaultSG``: takes all rules from the default security group of a network.

Handler ``deploy_resources.default_group.handle``; no environment; timeout 120 s, and the custom
resource with ``ServiceTimeout`` 180. Property ``DefaultSecurityGroupId``; no attributes. A new
network has the group with two rules, and CloudFormation cannot take them away.

The role needs exactly this, beside writing its own logs:

- the security group: ``ec2:RevokeSecurityGroupEgress``, ``ec2:RevokeSecurityGroupIngress``.

Source: Amazon VPC User Guide, "Default security groups for your VPCs".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError

from deploy_resources.custom_resource import CLIENT_CONFIG, Request, Result, serve

_GONE = "InvalidPermission.NotFound"


def handle(event: Mapping[str, Any], _context: object) -> None:
    """Answer one request of CloudFormation."""
    serve(event, fulfil)


def fulfil(request: Request) -> Result:
    """Revoke the rules that AWS makes; those that somebody else added stay.

    Nothing is given back when the resource goes, since the network goes with it.

    Raises:
        CustomResourceError: If the property is missing.
    """
    if request.is_delete:
        return Result(physical_id=request.physical_id or "")
    group_id = request.text("DefaultSecurityGroupId")
    client = boto3.client("ec2", config=CLIENT_CONFIG)
    for revoke, peers in (
        (client.revoke_security_group_ingress, {"UserIdGroupPairs": [{"GroupId": group_id}]}),
        (client.revoke_security_group_egress, {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}),
    ):
        try:
            revoke(GroupId=group_id, IpPermissions=[{"IpProtocol": "-1", **peers}])
        except ClientError as error:
            if error.response["Error"]["Code"] != _GONE:
                raise
    return Result(physical_id=f"default-group/{group_id}")
