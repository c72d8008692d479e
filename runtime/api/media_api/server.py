"""Runs the service until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import aclosing
from typing import TYPE_CHECKING

import aiohttp
from fastapi import FastAPI
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from media_api.app import Guarded, Services, create_app
from media_api.aws import open_clients, open_tables
from media_api.calls import Calls
from media_api.creation import Creation
from media_api.delivery import Delivery
from media_api.downloads import Downloads
from media_api.idempotency import Idempotency
from media_api.lifecycle import Lifecycle
from media_api.load import Load
from media_api.logs import access_log, grant_log, log
from media_api.metrics import Metrics
from media_api.playback import PlaybackService
from media_api.quotas import Quotas
from media_api.settings import Listening, Settings
from media_api.store import VideoTable
from media_api.thumbnails import Thumbnails
from media_api.tokens import KeySet, TokenVerifier, fetch_with
from media_api.upload_sessions import UploadSessions
from media_api.uploads import RawBucket
from media_api.videos import Videos, video_cache
from media_api.views import Views
from media_api.webhook_store import WebhookTable
from media_api.webhooks import Webhooks
from media_platform.contract.usage import Quota
from media_platform.contract.webhook_urls import parse_networks

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

DRAIN_SECONDS = 20
"""Longest wait for requests in flight; Fargate kills a task 30 s after SIGTERM by default."""

FLUSH_SECONDS = 5
"""Longest wait for answers that slow clients are still reading."""

_CONNECTIONS = 1024
"""Most connections that are served at a time; each may wait for one answer."""

_BACKLOG = 1024
"""Most connections that wait to be served, in the system."""

_GARBAGE_THRESHOLDS = (10_000, 20, 20)
"""When the collector looks: after a few hundred requests that were in flight, not after seven."""

_IDLE_CONNECTION_MILLISECONDS = 75_000
"""Longer than the 60 s for which a load balancer keeps idle connections, so that it never sends a
request into one that closes.

Source: Application Load Balancers guide, "HTTP 502: Bad gateway".
"""


async def serve(settings: Settings, spans: TracerProvider | None = None) -> None:
    """Serve requests until SIGTERM or SIGINT, then finish those in flight.

    One process, one core: more tasks, not more processes, are how the service grows.

    Args:
        settings: The settings.
        spans: Records spans of requests. Default: nothing does.
    """
    environment = settings.environment
    load = Load()
    cache = video_cache(environment.cache_url)
    metrics = Metrics(environment.stage, load, cache.counts)
    calls = Calls(metrics, spans)
    other_regions = [name for name in environment.region_names if name != environment.home_region]
    async with (
        aclosing(cache),
        open_clients(environment.home_region, cache=cache, calls=calls) as clients,
        open_tables(other_regions, cache=cache, calls=calls) as others,
        aiohttp.ClientSession() as http,
    ):
        table = VideoTable(clients.dynamodb, environment.table_name)
        lifecycle = Lifecycle(table.ping, load)
        region, url_seconds = environment.home_region, environment.upload_expiry_seconds
        idempotency = Idempotency(clients.dynamodb, environment.table_name)
        restore_days = environment.restore_days
        elsewhere = {
            other: Videos(
                VideoTable(client, environment.table_name),
                cache,
                Idempotency(client, environment.table_name),
                region=other,
                restore_days=restore_days,
            )
            for other, client in others.items()
        }
        videos = Videos(
            table,
            cache,
            idempotency,
            region=region,
            restore_days=restore_days,
            elsewhere=elsewhere,
        )
        raw = RawBucket(clients.s3, environment.raw_bucket)
        uploads = UploadSessions(videos, table, raw, region=region, url_seconds=url_seconds)
        quotas = Quotas(
            clients.dynamodb,
            environment.table_name,
            region=region,
            default=Quota(
                videos=environment.quota_videos,
                stored_bytes=environment.quota_bytes,
                uploads=environment.quota_uploads,
            ),
        )
        creation = Creation(
            videos,
            table,
            raw=raw,
            sessions=uploads,
            quotas=quotas,
            idempotency=idempotency,
            region=region,
            upload_max_bytes=environment.upload_max_bytes,
            url_seconds=url_seconds,
        )
        views = Views(
            clients.dynamodb,
            environment.table_name,
            region=environment.home_region,
            regions=environment.region_names,
        )
        delivery = Delivery(clients.ssm, clients.secrets, parameter=environment.delivery_parameter)
        playback = PlaybackService(
            videos,
            delivery,
            views,
            clients.s3,
            http,
            region=region,
            media_bucket=environment.media_bucket,
            lifetime_seconds=environment.playback_expiry_seconds,
        )
        services = Services(
            tokens=TokenVerifier(
                KeySet(fetch_with(http, environment.token_jwks_url)),
                issuer=environment.token_issuer,
                client_id=environment.token_client_id,
            ),
            videos=videos,
            creation=creation,
            uploads=uploads,
            quotas=quotas,
            playback=playback,
            thumbnails=Thumbnails(
                videos,
                table,
                playback,
                raw,
                url_seconds=url_seconds,
            ),
            downloads=Downloads(videos, table, playback),
            webhooks=Webhooks(
                WebhookTable(clients.dynamodb, environment.table_name),
                Idempotency(clients.dynamodb, environment.table_name),
                region=environment.home_region,
                allowed_networks=parse_networks(environment.webhook_allowed_networks),
            ),
            lifecycle=lifecycle,
            metrics=metrics,
        )
        async with views.adding(), delivery.reading():
            await run(create_app(services, spans), services, settings.listening)


async def run(app: FastAPI, services: Guarded, listening: Listening) -> None:
    """Serve an application, and write its metrics, until it is told to stop.

    Args:
        app: The application.
        services: What it has in common with others: requests in flight and metrics.
        listening: Where to listen.
    """
    flushing = None
    if services.metrics is not None:
        flushing = asyncio.create_task(services.metrics.flush_regularly())
    try:
        await serve_until_told(app, services.lifecycle, listening)
    finally:
        if flushing is not None:
            flushing.cancel()
            await asyncio.wait({flushing})
        grant_log.flush()
        access_log.flush()


async def serve_until_told(app: FastAPI, lifecycle: Lifecycle, listening: Listening) -> None:
    """Serve an application until SIGTERM or SIGINT, then finish the requests in flight.

    Args:
        app: The application.
        lifecycle: Its requests in flight.
        listening: Where to listen.
    """
    server = Server(
        app,
        address=listening.host,
        port=listening.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_IDLE_CONNECTION_MILLISECONDS),
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_CONNECTIONS,
        log_enabled=False,
    )
    _collect_little_garbage()
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    serving = asyncio.create_task(server.serve())
    telling = asyncio.create_task(told.wait())
    log.info("listening", host=listening.host, port=listening.port)
    await asyncio.wait({serving, telling}, return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    if not serving.done():
        log.info("draining")
        finished = await lifecycle.drain(DRAIN_SECONDS)
        log.info("stopping", all_finished=finished)
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({serving}, timeout=FLUSH_SECONDS)
        if not serving.done():
            log.warning("stopped_before_all_was_read")
            return
    await serving


def _collect_little_garbage() -> None:
    """Let the collector look at what requests leave, and no more at what the process began with.

    A look at all of that would take longer than a hundred requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
