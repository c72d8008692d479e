"""What ECS puts beside a task: role credentials, metadata, and task scale-in protection.

Source: Amazon ECS Developer Guide, "Task IAM role", "Task metadata endpoint version 4" and "Task
scale-in protection endpoint".
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

from aiohttp import web
from botocore.exceptions import ClientError

from mediactl.local.aws import Emulator
from mediactl.local.runner.credentials import RoleSessions
from mediactl.local.runner.tasks import Task

FindTask = Callable[[str], "Task | None"]


def agent_routes(
    emulator: Emulator, sessions: RoleSessions, find_task: FindTask
) -> list[web.RouteDef]:
    """Return the routes of the agent.

    Args:
        emulator: The emulator.
        sessions: Where role credentials come from.
        find_task: Returns a live task by its id.
    """

    def task_of(request: web.Request) -> Task:
        task = find_task(request.match_info["task_id"])
        if task is None:
            raise web.HTTPNotFound(text="no such task")
        return task

    async def credentials(request: web.Request) -> web.Response:
        task = task_of(request)
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), task.agent_token.encode()):
            raise web.HTTPForbidden(text="the authorization token is not that of the task")
        session = await asyncio.to_thread(
            sessions.get, task.spec.task_role, task.task_id, task.spec.region
        )
        return web.json_response(session.to_agent_json())

    async def protection(request: web.Request) -> web.Response:
        task = task_of(request)
        body = await request.json() if request.method == "PUT" else None
        try:
            answer = await asyncio.to_thread(_protect, emulator, sessions, task, body)
        except ClientError as error:
            detail = error.response["Error"]
            return web.json_response(
                {"error": {"Arn": task.arn, "Code": detail["Code"], "Message": detail["Message"]}},
                status=int(error.response["ResponseMetadata"]["HTTPStatusCode"]),
            )
        return web.json_response(answer)

    async def metadata(request: web.Request) -> web.Response:
        task = task_of(request)
        return web.json_response(
            {
                "Cluster": task.service.cluster_arn,
                "TaskARN": task.arn,
                "Family": task.spec.family,
                "Revision": task.spec.arn.rpartition(":")[2],
                "ServiceName": task.service.name,
                "DesiredStatus": "RUNNING",
                "KnownStatus": task.state,
                "LaunchType": "FARGATE",
                "Name": task.spec.container,
                "Image": task.spec.image_tag,
            }
        )

    return [
        web.get("/v2/credentials/{task_id}", credentials),
        web.get("/api/{task_id}/task-protection/v1/state", protection),
        web.put("/api/{task_id}/task-protection/v1/state", protection),
        web.get("/v4/{task_id}", metadata),
        web.get("/v4/{task_id}/task", metadata),
    ]


def _protect(
    emulator: Emulator, sessions: RoleSessions, task: Task, body: dict[str, Any] | None
) -> dict[str, Any]:
    """Read or set protection with the task's own role, which must be allowed to."""
    credentials = sessions.get(task.spec.task_role, task.task_id, task.spec.region)
    ecs = emulator.client("ecs", task.spec.region, **credentials.to_client_arguments())
    cluster = task.service.cluster_arn.rpartition("/")[2]
    if body is None:
        answer = ecs.get_task_protection(cluster=cluster, tasks=[task.arn])
    else:
        request: dict[str, Any] = {"protectionEnabled": bool(body.get("ProtectionEnabled"))}
        if body.get("ExpiresInMinutes") is not None:
            request["expiresInMinutes"] = int(body["ExpiresInMinutes"])
        answer = ecs.update_task_protection(cluster=cluster, tasks=[task.arn], **request)
    if answer["failures"]:
        return {"failure": {"Arn": task.arn, "Reason": answer["failures"][0].get("reason", "")}}
    state = answer["protectedTasks"][0]
    task.protected = bool(state["protectionEnabled"])
    described: dict[str, Any] = {
        "TaskArn": task.arn,
        "ProtectionEnabled": task.protected,
    }
    if state.get("expirationDate"):
        described["ExpirationDate"] = state["expirationDate"].isoformat()
    return {"protection": described}
