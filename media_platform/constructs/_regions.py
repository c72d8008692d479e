"""Regions as accounts have them: apart by partition, and some of them off."""

from __future__ import annotations

import functools
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
    (there, is_opt_in_region), (here, _) = _known(region), _known(beside)
    if there and here and there != here:
        return (
            f"{region!r}, which is in the partition {there}, while {beside!r} is in {here}; "
            "AWS copies within a partition, so deploy a stage in each"
        )
    if is_opt_in_region and region not in opted_in:
        return (
            f"{region!r}, which is off until an account opts in; switch it on for the account, "
            "then add it to opted_in_regions"
        )
    return None


@functools.cache
def _known(region: str) -> tuple[str | None, bool]:
    """Return the partition of a region, if the CDK knows it, and whether accounts opt in."""
    info = region_info.RegionInfo.get(region)
    return info.partition, info.is_opt_in_region
