"""The runner's main loop: keeps services at what is deployed, and answers about it.

Every round tells the emulator which tasks live and learns the services from the same call, so what
``aws ecs`` shows and what runs here is never more than one round apart. The loop never waits for a
task: starting and stopping go on beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

import aiohttp
from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError

from mediactl.errors import CommandError
from mediactl.local import processes
from mediactl.local.aws import Emulator
from mediactl.local.deploy import Deployed
from mediactl.local.edge.listener import HealthCheck, TargetGroup
from mediactl.local.edge.reader import read_deployed
from mediactl.local.edge.server import Edge, Target
from mediactl.local.gateway import gateway_ports
from mediactl.local.runner import health
from mediactl.local.runner.agent import agent_routes
from mediactl.local.runner.credentials import RoleSessions, read_secrets
from mediactl.local.runner.images import ensure_image
from mediactl.local.runner.scaling import SAMPLE_SECONDS, Scaling
from mediactl.local.runner.scheduling import Restarts, TaskView, decide
from mediactl.local.runner.specs import ServiceSpec, TaskSpec, service_spec, task_spec
from mediactl.local.runner.tasks import (
    RECORD_PREFIX,
    Task,
    TaskState,
    clean_up,
    has_ended,
    launch,
    terminate,
)
from mediactl.local.runner_address import RUNNER_FILE, RunnerAddress
from mediactl.local.state import StateFolder, read_state, write_json

ROUND_SECONDS = 0.4
REFRESH_SECONDS = 10.0
EMULATOR_LOST_SECONDS = 60.0
"""Silence of the emulator after which the runner ends; the next ``up`` starts both anew."""


LOOK_AGAIN_SECONDS = 0.05
FAREWELL_SECONDS = 10
"""Longest time that a task gets after SIGTERM when the whole plane is stopped."""

_LIVE = frozenset({TaskState.PENDING, TaskState.RUNNING, TaskState.DEACTIVATING})
_TEMPORARY = (OSError, BotoCoreError, ClientError, ValueError, KeyError)

logger = logging.getLogger("mediactl.runner")


class Runner:
    """The process runner of one plane.

    Args:
        state: Its state folder.
        emulator: Its emulator.
    """

    def __init__(self, state: StateFolder, emulator: Emulator) -> None:
        self._state = state
        self._emulator = emulator
        self._sessions = RoleSessions(emulator)
        self._scaling = Scaling(emulator)
        self._edge = Edge(emulator, self._healthy_targets)
        self._tasks: dict[str, Task] = {}
        self._services: dict[str, ServiceSpec] = {}
        # By task definition: a new one may start at once, however often the last one failed, and
        # what was wrong with the last one says nothing about it.
        self._restarts: dict[str, Restarts] = {}
        self._definitions: dict[str, TaskSpec] = {}
        self._problems: dict[str, str] = {}
        self._agent_url = ""
        self._beside: set[asyncio.Task[None]] = set()
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        self._refresh = asyncio.Event()
        self._refreshed = 0
        self._rounds = 0
        self._last_contact = time.monotonic()

    async def run(self) -> None:
        """Run until told to stop or until the state folder is gone, then stop every task."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        self._kill_leftovers()
        control = await self._start_agent()
        edge = await self._edge.start()
        loops = [
            self._guarded(self._keep_services(), "services"),
            self._guarded(self._keep_refreshed(), "refresh"),
            self._guarded(self._keep_scaled(), "scaling"),
        ]
        running = [asyncio.create_task(each) for each in loops]
        await self._ended.wait()
        logger.info("stopping")
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await edge.cleanup()
        await self._edge.close()
        await self._stop_all()
        await control.cleanup()

    # --- services -------------------------------------------------------------------------

    async def _keep_services(self) -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:
            while not self._ended.is_set():
                if read_state(self._state.emulator_file, Emulator) != self._emulator:
                    logger.critical("the state folder was removed or is another's; ending")
                    self._ended.set()
                    return
                try:
                    await self._round(session)
                    self._rounds += 1
                    self._last_contact = time.monotonic()
                except _TEMPORARY as error:
                    silence = time.monotonic() - self._last_contact
                    logger.warning("the emulator does not answer: %s", error)
                    if silence > EMULATOR_LOST_SECONDS:
                        logger.critical("the emulator is gone; ending")
                        self._ended.set()
                await asyncio.sleep(ROUND_SECONDS)

    async def _round(self, session: aiohttp.ClientSession) -> None:
        await self._note_ended()
        answer = await asyncio.to_thread(
            self._emulator.control, "tasks", {"tasks": [t.to_ecs() for t in self._tasks.values()]}
        )
        for task in list(self._tasks.values()):
            if task.state is TaskState.STOPPED:
                del self._tasks[task.task_id]
        protected = set(answer["protected"])
        for task in self._tasks.values():
            task.protected = task.arn in protected
            if task.arn in answer["stop"]:
                self._stop(task, "Task stopped by user")
            elif health.should_replace(task):
                self._stop(task, "Task failed ELB health checks")
        found = {service["serviceArn"]: service_spec(service) for service in answer["services"]}
        for task in self._tasks.values():
            if task.service.arn not in found:
                self._stop(task, "Service was deleted")
        self._services = found
        for service in found.values():
            await self._reconcile(service, session)

    async def _note_ended(self) -> None:
        for task in list(self._tasks.values()):
            if task.state is not TaskState.RUNNING or not has_ended(task):
                continue
            task.stop_reason = "Essential container in task exited"
            lived = time.monotonic() - task.started
            restarts = self._restarts.setdefault(task.spec.arn, Restarts())
            delay = restarts.ended(lived_seconds=lived, now=time.monotonic())
            logger.warning(
                "%s: task %s ended with %s after %.1f s; the next starts in %.1f s",
                task.service.name,
                task.task_id,
                task.exit_code,
                lived,
                delay,
            )
            await self._let_go(task)

    async def _reconcile(self, service: ServiceSpec, session: aiohttp.ClientSession) -> None:
        tasks = [
            task
            for task in self._tasks.values()
            if task.service.arn == service.arn
            and task.state in {TaskState.PENDING, TaskState.RUNNING}
        ]
        views = [
            TaskView(task.task_id, task.spec.arn, task.is_ready, task.protected, task.started)
            for task in tasks
        ]
        decision = decide(service, views)
        for task_id in decision.stop:
            self._stop(
                self._tasks[task_id], "Scaling activity initiated by deployment or desired count"
            )
        restarts = self._restarts.setdefault(service.task_definition, Restarts())
        if decision.start and time.monotonic() >= restarts.not_before:
            try:
                spec = await asyncio.to_thread(self._definition, service)
            except ValueError as error:
                self._fail(service, str(error))
                return
            for _ in range(decision.start):
                task = Task(spec=spec, service=service)
                self._tasks[task.task_id] = task
                self._begin(self._start_task(task, session))

    def _definition(self, service: ServiceSpec) -> TaskSpec:
        arn = service.task_definition
        if arn not in self._definitions:
            ecs = self._emulator.client("ecs", service.region)
            answer = ecs.describe_task_definition(taskDefinition=arn)
            self._definitions[arn] = task_spec(answer["taskDefinition"])
        return self._definitions[arn]

    async def _start_task(self, task: Task, session: aiohttp.ClientSession) -> None:
        try:
            image = await asyncio.to_thread(
                ensure_image, self._state, task.spec.image_tag, self._state.log_file("install")
            )
            values = await asyncio.to_thread(
                read_secrets, self._emulator, self._sessions, task.spec, task.task_id
            )
            if task.state is not TaskState.PENDING:
                return
            # In this thread: the kernel ends the process together with the thread that made it.
            launch(
                self._state,
                task,
                image,
                secret_values=values,
                emulator_url=self._emulator.url,
                agent_url=self._agent_url,
            )
        except (*_TEMPORARY, CommandError) as error:
            task.stop_reason = f"CannotStartTask: {error}"
            task.state = TaskState.STOPPED
            self._fail(task.service, str(error))
            return
        self._problems.pop(task.spec.arn, None)
        logger.info("%s: task %s started", task.service.name, task.task_id)
        if task.service.target_groups:
            watching = self._guarded(self._watch_health(task, session), "health checks")
            self._watchers[task.task_id] = asyncio.create_task(watching)

    def _fail(self, service: ServiceSpec, problem: str) -> None:
        restarts = self._restarts.setdefault(service.task_definition, Restarts())
        restarts.ended(lived_seconds=0, now=time.monotonic())
        if self._problems.get(service.task_definition) != problem:
            logger.error("%s: %s", service.name, problem)
        self._problems[service.task_definition] = problem

    async def _watch_health(self, task: Task, session: aiohttp.ClientSession) -> None:
        while task.state is TaskState.RUNNING:
            check = self._health_check(task)
            if check is not None:
                passed = await health.check_once(session, check, task)
                before = task.healthy
                health.note(check, task, passed=passed)
                if task.healthy != before:
                    word = "healthy" if task.healthy else "unhealthy"
                    logger.info("%s: task %s is %s", task.service.name, task.task_id, word)
            await asyncio.sleep(health.interval(check or HealthCheck(), task))

    def _target_group(self, task: Task) -> TargetGroup | None:
        groups = self._edge.deployed.target_groups
        return next(
            (groups[use.arn] for use in task.service.target_groups if use.arn in groups), None
        )

    def _health_check(self, task: Task) -> HealthCheck | None:
        group = self._target_group(task)
        if group is None:
            self._refresh.set()
            return None
        return group.check

    def _healthy_targets(self, group_arn: str) -> list[Target]:
        return [
            task
            for task in self._tasks.values()
            if task.is_ready and any(use.arn == group_arn for use in task.service.target_groups)
        ]

    # --- stopping -------------------------------------------------------------------------

    def _stop(self, task: Task, reason: str) -> None:
        if task.state not in {TaskState.PENDING, TaskState.RUNNING}:
            return
        task.stop_reason = task.stop_reason or reason
        if task.record is None:
            task.state = TaskState.STOPPED
            return
        task.state = TaskState.DEACTIVATING
        logger.info("%s: task %s stops: %s", task.service.name, task.task_id, reason)
        self._begin(self._stop_task(task))

    async def _stop_task(self, task: Task) -> None:
        group = self._target_group(task)
        if group is not None:
            # No new requests reach it any more; those under way may end.
            deadline = time.monotonic() + group.deregistration_seconds
            await _until(lambda: not task.requests or has_ended(task), deadline)
        terminate(task)
        patience = task.spec.stop_seconds
        if self._ended.is_set():
            # Nothing outlives the plane, so nothing is worth a long farewell.
            patience = min(patience, FAREWELL_SECONDS)
        deadline = time.monotonic() + patience
        await _until(lambda: has_ended(task), deadline)
        await self._let_go(task)

    async def _let_go(self, task: Task) -> None:
        """Leave nothing of a task that has ended or must end now."""
        watcher = self._watchers.pop(task.task_id, None)
        if watcher is not None:
            watcher.cancel()
        await asyncio.to_thread(clean_up, self._state, task)
        self._sessions.forget(task.task_id)

    async def _stop_all(self) -> None:
        for task in list(self._tasks.values()):
            task.requests = 0
            self._stop(task, "The local plane is stopped")
        if self._beside:
            await asyncio.wait(self._beside, timeout=2 * FAREWELL_SECONDS)
        with contextlib.suppress(*_TEMPORARY):
            await asyncio.to_thread(
                self._emulator.control,
                "tasks",
                {"tasks": [task.to_ecs() for task in self._tasks.values()]},
            )

    def _kill_leftovers(self) -> None:
        """End tasks of a runner that was killed where the kernel did not."""
        left = [
            record
            for record in processes.records(self._state.processes)
            if record.name.startswith(RECORD_PREFIX)
        ]
        processes.stop(self._state.processes, left, grace_seconds=0)

    # --- edge and scaling -----------------------------------------------------------------

    async def _keep_refreshed(self) -> None:
        while True:
            self._refresh.clear()
            try:
                regions = sorted({spec.region for spec in self._services.values()})
                deployed = read_state(self._state.deployed_file, Deployed) or Deployed()
                regions = sorted({*regions, *deployed.regions})
                self._edge.deployed = await asyncio.to_thread(
                    read_deployed, self._emulator, regions, gateway_ports(self._state)
                )
                self._refreshed += 1
            except _TEMPORARY as error:
                logger.warning("the distribution cannot be read: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refresh.wait(), REFRESH_SECONDS)
            await asyncio.sleep(0.1)

    async def _keep_scaled(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._scaling.step)
            except _TEMPORARY as error:
                logger.warning("scaling could not be applied: %s", error)
            await asyncio.sleep(SAMPLE_SECONDS)

    # --- agent and control ----------------------------------------------------------------

    async def _start_agent(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes(agent_routes(self._emulator, self._sessions, self._live_task))
        app.add_routes(
            [web.get("/plane/status", self._status), web.post("/plane/refresh", self._refresh_now)]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = RunnerAddress(port=runner.addresses[0][1])
        self._agent_url = address.url
        write_json(self._state.root / RUNNER_FILE, asdict(address))
        return runner

    def _live_task(self, task_id: str) -> Task | None:
        task = self._tasks.get(task_id)
        return task if task is not None and task.state in _LIVE else None

    def _check_token(self, request: web.Request) -> None:
        given = request.headers.get("x-mediactl-token", "")
        if not hmac.compare_digest(given.encode(), self._emulator.control_token.encode()):
            raise web.HTTPForbidden(text="the control token is missing or wrong")

    async def _refresh_now(self, request: web.Request) -> web.Response:
        """Read the deployed configuration and services anew, and answer when it is in force."""
        self._check_token(request)
        # A reading that is under way may have begun before what the caller deployed.
        goal, rounds = self._refreshed + 2, self._rounds + 2
        while (self._refreshed < goal or self._rounds < rounds) and not self._ended.is_set():
            self._refresh.set()
            await asyncio.sleep(0.05)
        return web.json_response({"refreshed": self._refreshed})

    async def _status(self, request: web.Request) -> web.Response:
        self._check_token(request)
        services = []
        for service in self._services.values():
            tasks = [
                task
                for task in self._tasks.values()
                if task.service.arn == service.arn and task.state in _LIVE
            ]
            running = [task for task in tasks if task.state is TaskState.RUNNING]
            services.append(
                {
                    "name": service.name,
                    "region": service.region,
                    "task_definition": service.task_definition,
                    "desired": service.desired,
                    "running": len(running),
                    "healthy": sum(task.is_ready for task in running),
                    "current": sum(
                        task.is_ready and task.spec.arn == service.task_definition
                        for task in running
                    ),
                    "stopping": sum(task.state is TaskState.DEACTIVATING for task in tasks),
                    "failures": self._restarts.get(service.task_definition, Restarts()).failures,
                    "problem": self._problems.get(service.task_definition),
                    "tasks": [
                        {
                            "task_id": task.task_id,
                            "pid": task.record.pid if task.record else None,
                            "port": task.port,
                            "state": task.state,
                            "healthy": task.healthy,
                            "protected": task.protected,
                        }
                        for task in tasks
                    ],
                }
            )
        distribution = self._edge.deployed.distribution
        return web.json_response(
            {
                "services": services,
                "distribution": distribution.distribution_id if distribution else None,
            }
        )

    # --- helpers --------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work, "task"))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            # A defect in one part must not leave a runner that looks alive and does nothing.
            logger.exception("%s failed; the runner ends", what)
            self._ended.set()


async def _until(condition: Callable[[], bool], deadline: float) -> None:
    """Wait until something outside of this program is true, at most until a deadline."""
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 - the system tells nobody
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
