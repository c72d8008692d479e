"""Regions as accounts have them: apart by partition, and some of them off."""

from __future__ import annotations

from collections.abc import Collection

from aws_cdk import region_info


def region_problem(region: str, *, beside: str, opted_in: Collection[str]) -> str | None:
    """Return why a region cannot hold copies, with the region and the remedy, or ``None``.

    Regions that the CDK does not know yet pass.

    Args:
        region: The region.
        beside: Region whose stacks name it.
        opted_in: Regions that the account has switched on.

    Source: AWS Account Management Reference, "Enable or disable AWS Regions in your account"; S3
    User Guide, "Replicating objects".
    """
    there, here = region_info.RegionInfo.get(region), region_info.RegionInfo.get(beside)
    if there.partition and here.partition and there.partition != here.partition:
        return (
            f"{region!r}, which is in the partition {there.partition}, while {beside!r} is in "
            f"{here.partition}; AWS copies within a partition, so deploy a stage in each"
        )
    if there.is_opt_in_region and region not in opted_in:
        return (
            f"{region!r}, which is off until an account opts in; switch it on for the account, "
            "then add it to opted_in_regions"
        )
    return None
