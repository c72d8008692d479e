"""Health: whether the process lives, and whether it should get requests."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from media_api.access import ANYONE, RuledRoute, allow
from media_api.lifecycle import Lifecycle
from media_api.models import HealthBody
from media_api.openapi import problems
from media_api.problems import Kind, unavailable
from media_platform.contract.environment import LIVE_PATH, READY_PATH

router = APIRouter(tags=["health"], route_class=RuledRoute)
_OK = HealthBody().model_dump_json()
_RETRY_SECONDS = 5


@router.get(LIVE_PATH, operation_id="live", response_model=HealthBody)
@allow(ANYONE)
async def live() -> Response:
    """Tell that the process runs; asks nothing of anyone else."""
    return Response(_OK, media_type="application/json")


@router.get(
    READY_PATH,
    operation_id="ready",
    response_model=HealthBody,
    responses=problems(Kind.UNAVAILABLE),
)
@allow(ANYONE)
async def ready(request: Request) -> Response:
    """Tell whether the service can work: its table answers and it is not stopping."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    fault = await lifecycle.fault()
    if fault:
        raise unavailable(fault, retry_after_seconds=_RETRY_SECONDS)
    return Response(_OK, media_type="application/json")
