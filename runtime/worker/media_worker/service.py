"""A worker as a process: its clients, its log, its signals."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping

import boto3
import structlog
from botocore.config import Config

from media_platform.contract.environment import WorkerEnvironment
from media_platform.contract.ladder import ladder_from_json
from media_worker import ffmpeg
from media_worker.budgets import TenantBudgets
from media_worker.ecs_service import Resting, TaskProtection
from media_worker.job_queue import JobQueue
from media_worker.logs import configure_logging
from media_worker.metrics import emit
from media_worker.objects import S3ObjectStore, S3RangeReader
from media_worker.runs import RunLedger
from media_worker.tenants import TenantSlots
from media_worker.tracing import Tracer, make_tracer
from media_worker.worker import Worker, WorkerSettings
from media_worker.workplace import JobSettings, Services

STOP_SECONDS = 4.5
"""Time in which a job is given back; then the process ends anyway."""


_PR_SET_DUMPABLE = 4
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 256 * 1024
_M_ARENA_MAX = -8
_ARENAS = 2


def processors() -> int:
    """Return how many processors this process may use, which may be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def make_worker(environment: WorkerEnvironment, agent_uri: str | None, tracer: Tracer) -> Worker:
    """Return the worker that ``environment`` describes.

    Args:
        environment: The variables of the service.
        agent_uri: The endpoint of the ECS agent, or ``None`` outside of ECS.
        tracer: Makes the spans of its work.
    """
    session = boto3.session.Session(region_name=environment.home_region)
    config = Config(
        connect_timeout=3,
        read_timeout=30,  # above the long poll
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=32,
    )
    s3 = session.client("s3", config=config)
    sqs = session.client("sqs", config=config)
    # Below the shortest lease: a call whose answer is lost is tried again while it still holds.
    dynamodb = session.client("dynamodb", config=config.merge(Config(read_timeout=4)))
    visibility = environment.visibility_timeout_seconds
    protection = TaskProtection(agent_uri)
    express, jobs = (
        JobQueue(sqs, url, environment.dead_letter_queue_url)
        for url in (environment.express_queue_url, environment.queue_url)
    )
    return Worker(
        express=express,
        services=Services(
            jobs=jobs,
            ledger=RunLedger(dynamodb, environment.table_name, environment.home_region, visibility),
            slots=TenantSlots(
                dynamodb,
                environment.table_name,
                limit=environment.max_tenant_parts,
                lease_seconds=visibility,
            ),
            budgets=TenantBudgets(
                dynamodb,
                environment.table_name,
                limit_cpu_seconds=environment.max_tenant_daily_cpu_seconds,
            ),
            store=S3ObjectStore(s3, environment.media_bucket),
            open_source=lambda job: S3RangeReader(s3, job.bucket, job.key, job.version_id),
            open_picture=lambda job, key: S3RangeReader(s3, job.bucket, key, None),
            settings=JobSettings(
                max_pixels=environment.max_pixels,
                max_duration_seconds=environment.max_duration_seconds,
                max_frame_rate=environment.max_frame_rate,
                threads=processors(),
                chunk_seconds=environment.chunk_seconds,
                chunks_in_flight=environment.chunks_in_flight,
                ladder=ladder_from_json(environment.ladder),
                old_run_seconds=environment.old_run_seconds,
                measure_quality=bool(environment.measure_quality),
            ),
            emit=functools.partial(emit, environment.stage),
            tracer=tracer,
        ),
        protection=protection,
        resting=Resting(
            session.client("application-autoscaling", config=config),
            environment.scalable_target,
            environment.idle_seconds,
            protection,
        ),
        settings=WorkerSettings(
            visibility_timeout_seconds=visibility,
            max_failures=environment.max_failures,
        ),
    )


def keep_secrets_from_children() -> None:
    """Let no other process of our user read our environment and memory through ``/proc``.

    Children have no environment of their own, but the path to the role's credentials stands in
    ours. Source: prctl(2), ``PR_SET_DUMPABLE``.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_memory_back() -> None:
    """Let large blocks of memory go back to the system at once, and threads share what they free.

    Blocks of the source pass through many threads, each of which would else keep memory of its own;
    this halves the memory of a busy worker. Source: mallopt(3), ``M_MMAP_THRESHOLD`` and
    ``M_ARENA_MAX``; other C libraries than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


def serve(environment: WorkerEnvironment, variables: Mapping[str, str]) -> int:
    """Work until SIGTERM or SIGINT; return the exit code of the process.

    Args:
        environment: The variables of the service.
        variables: All variables of the process: what ECS and OpenTelemetry say is there, too.
    """
    configure_logging()
    keep_secrets_from_children()
    give_memory_back()
    ffmpeg.binary()  # its absence shows at the start, not with the first job
    tracer = make_tracer(variables, stage=environment.stage, region=environment.home_region)
    worker = make_worker(environment, variables.get("ECS_AGENT_URI"), tracer)
    # A signal may reach any thread, and Python's handlers run in the main thread only, once it
    # wakes up; the write to the wake-up descriptor is what wakes it, from whichever thread.
    wake, notify = os.pipe()
    os.set_blocking(notify, False)
    signal.set_wakeup_fd(notify)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    failed = True

    def work() -> None:
        nonlocal failed
        try:
            worker.run()
            failed = False
        except Exception:  # noqa: BLE001 - logged, and told by the exit code
            structlog.get_logger().exception("worker crashed")
        finally:
            os.write(notify, b"e")

    thread = threading.Thread(target=work, name="worker", daemon=True)
    thread.start()
    os.read(wake, 1)
    last = time.monotonic() + STOP_SECONDS
    worker.stop()
    thread.join(STOP_SECONDS)
    if thread.is_alive():
        structlog.get_logger().warning("the job could not be given back in time")
    tracer.close(max(0.0, last - time.monotonic()))
    return int(failed and not thread.is_alive())
