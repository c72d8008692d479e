"""The tasks of the API, which sign playback: for how long, and whether they know with which key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from media_platform.contract.delivery import longest_grant_seconds
from media_platform.contract.outputs import MediaOutput
from mediactl.environment import Environment

COMPLAINTS = ("delivery_unavailable", "other_key_unavailable")
"""Messages of a task that cannot read which key signs, as it logs them every few seconds."""

_LIFETIME = "playback_expiry_seconds".upper()
"""Variable of ``ApiEnvironment``; others of it may be missing where an older one is deployed."""

_LAST_BYTES = 16 * 1024**2
"""How much of a log of a local plane is looked at, from its end."""


def longest_grant(environment: Environment, region: str) -> int:
    """Return how many seconds a grant of a region holds at most.

    Args:
        environment: The stage.
        region: The region.
    """
    return max(
        longest_grant_seconds(int(variables[_LIFETIME]))
        for _, variables in _containers(environment, region)
    )


def last_complaint(environment: Environment, region: str, *, since: datetime) -> datetime | None:
    """Return when a task last could not read which key signs; it signs with the old one then.

    Args:
        environment: The stage.
        region: The region.
        since: Earlier lines do not count.

    Returns:
        The time, ``None`` if all tasks could read it.
    """
    lines = (
        _lines_of_plane(environment, region)
        if environment.is_local
        else _lines_in_aws(environment, region, since)
    )
    moments = [moment for line in lines if (moment := _complained_at(line)) is not None]
    return max((moment for moment in moments if moment >= since), default=None)


def _complained_at(line: str) -> datetime | None:
    if not any(message in line for message in COMPLAINTS):
        return None
    try:
        content = json.loads(line)
        return datetime.fromisoformat(content["time"]) if content["message"] in COMPLAINTS else None
    except (KeyError, TypeError, ValueError):
        return None


def _lines_of_plane(environment: Environment, region: str) -> Iterator[str]:
    service = environment.output(MediaOutput.API_SERVICE_NAME, region)
    path = environment.plane().state.service_log_file(service, region)
    if not path.exists():
        return
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LAST_BYTES))
        for line in log:
            yield line.decode(errors="replace")


def _lines_in_aws(environment: Environment, region: str, since: datetime) -> Iterator[str]:
    pattern = " ".join(f'?"{message}"' for message in COMPLAINTS)
    pages = environment.client("logs", region).get_paginator("filter_log_events")
    groups = {
        container["logConfiguration"]["options"]["awslogs-group"]
        for container, _ in _containers(environment, region)
    }
    for group in groups:
        for page in pages.paginate(
            logGroupName=group, startTime=int(since.timestamp() * 1000), filterPattern=pattern
        ):
            for event in page["events"]:
                yield event["message"]


def _containers(
    environment: Environment, region: str
) -> Iterator[tuple[Mapping[str, Any], dict[str, str]]]:
    """Yield the containers that sign, and their variables; those of a deployment too."""
    ecs = environment.client("ecs", region)
    (service,) = ecs.describe_services(
        cluster=environment.output(MediaOutput.CLUSTER_NAME, region),
        services=[environment.output(MediaOutput.API_SERVICE_NAME, region)],
    )["services"]
    for name in sorted({one["taskDefinition"] for one in service["deployments"]}):
        task = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
        for container in task["containerDefinitions"]:
            variables = {one["name"]: one["value"] for one in container.get("environment", [])}
            # Others stand beside it, such as a collector of spans.
            if _LIFETIME in variables:
                yield container, variables
