"""Runs the admin service until it is told to stop."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import aiohttp

from media_api.admin.app import AdminServices, create_app
from media_api.admin.jobs import JobQueues, Jobs
from media_api.admin.settings import AdminSettings
from media_api.admin.tenants import Tenants
from media_api.admin.user_pool import UserPool
from media_api.admin.users import Users
from media_api.admin.videos import AdminVideos
from media_api.audit import AuditTrail
from media_api.aws import open_services
from media_api.calls import Calls
from media_api.idempotency import Idempotency
from media_api.lifecycle import Lifecycle
from media_api.load import Load
from media_api.metrics import Metrics
from media_api.server import run
from media_api.store import VideoTable
from media_api.tokens import KeySet, TokenVerifier, fetch_with
from media_api.videos import video_cache

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


async def serve(settings: AdminSettings, spans: TracerProvider | None = None) -> None:
    """Serve requests until SIGTERM or SIGINT, then finish those in flight.

    Args:
        settings: The settings.
        spans: Records spans of requests. Default: nothing does.
    """
    environment = settings.environment
    region, table_name = environment.home_region, environment.table_name
    load = Load()
    cache = video_cache(environment.cache_url)
    metrics = Metrics(environment.stage, load, cache.counts)
    async with (
        aclosing(cache),
        open_services(
            region,
            *("dynamodb", "cognito-idp", "sqs"),
            cache=cache,
            calls=Calls(metrics, spans),
        ) as (dynamodb, cognito, sqs),
        aiohttp.ClientSession() as http,
    ):
        table = VideoTable(dynamodb, table_name)
        tenants = Tenants(dynamodb, table_name)
        audit = AuditTrail(dynamodb, table_name)
        lifecycle = Lifecycle(table.ping, load)
        services = AdminServices(
            tokens=TokenVerifier(
                KeySet(fetch_with(http, environment.token_jwks_url)),
                issuer=environment.token_issuer,
                client_id=environment.token_client_id,
            ),
            lifecycle=lifecycle,
            metrics=metrics,
            operator_tenant=environment.operator_tenant,
            users=Users(
                UserPool(cognito, environment.user_pool_id),
                tenants,
                audit,
                Idempotency(dynamodb, table_name),
            ),
            tenants=tenants,
            videos=AdminVideos(
                table,
                region=region,
                purge_interval_minutes=environment.purge_interval_minutes,
            ),
            jobs=Jobs(
                JobQueues(
                    sqs,
                    queues=environment.queue_urls,
                    dead_letter_queues=environment.dead_letter_queue_urls,
                ),
                dynamodb,
                table_name,
                region=region,
            ),
            audit=audit,
        )
        await run(create_app(services, spans), services, settings.listening)
