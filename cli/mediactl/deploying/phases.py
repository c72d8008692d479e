"""In which deployments the regions of a stage become its members.

AWS needs the other side first (``docs/decisions/regions-join.md``): a region that is new gets its
store while it is named in the context ``joining``, and becomes a member with the next deployment,
one after the other. Which are members is read from the table that is deployed, so that a deployment
that was interrupted goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Sequence

from media_platform.contract.outputs import StackPart
from mediactl.environment import Environment
from mediactl.regions.replicas import replica_regions


def waiting_regions(environment: Environment) -> list[str]:
    """Return the regions that the stage is to have, and that have no replica of the table yet.

    One that has a replica must not be held back any more: it would lose it.
    """
    there = {environment.home_region, *replica_regions(environment)}
    return [region for region in environment.stage_regions if region not in there]


def phases(environment: Environment, regions: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """Return which regions are ``joining``, deployment by deployment, until regions are members.

    One becomes a member with each, those whose store is there first: CloudFormation adds one
    replica of a table at a time.

    Args:
        environment: The environment.
        regions: Regions that become members, while others stay behind. Default: all that wait.
    """
    waiting = waiting_regions(environment)
    begun = environment.stands(StackPart.STORE, environment.home_region)
    with_store = {
        region
        for region in {*waiting, *(regions or ())}
        if begun and environment.stands(StackPart.STORE, region)
    }
    coming = sorted(waiting if regions is None else regions, key=lambda one: one not in with_store)
    stores = [tuple(waiting)] if coming and coming[0] not in with_store else []
    return [
        *stores,
        *(
            tuple(one for one in waiting if one not in coming[:number])
            for number in range(1, len(coming) + 1)
        ),
    ]
