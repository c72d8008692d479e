"""Traces: every request is part of one, and what it begins continues it.

FastAPI makes the spans and OpenTelemetry sends them, where the environment says where to; the
modules that do it are imported only there. Everywhere else a request has ids and nothing more,
which its log line and the videos that it creates carry all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from media_platform import __version__
from media_platform.contract.environment import LIVE_PATH, READY_PATH
from media_platform.contract.tracing import TRACEPARENT, TraceContext, is_exported

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

QUIET_PATHS = frozenset({LIVE_PATH, READY_PATH})
"""What is asked every few seconds and tells nothing: no spans and no log lines."""

_HEADER = TRACEPARENT.encode()
_QUERY = "url.query"
_REST_SECONDS = 3


def make_provider(
    variables: Mapping[str, str], *, service: str, stage: str, region: str
) -> TracerProvider | None:
    """Return what records and sends spans, or ``None`` if the environment does not say where to.

    Args:
        variables: The environment of the process; OpenTelemetry reads it by itself.
        service: ``service.name``, unless ``OTEL_SERVICE_NAME`` says otherwise.
        stage: Name of the stage.
        region: The region.
    """
    if not is_exported(variables):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - see above
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    class WithoutQueries(SpanProcessor):
        """Takes queries out of spans: what is in one may open something."""

        def on_start(self, span: trace.Span, parent_context: object = None) -> None:
            """Replace the query, if there is one."""
            del parent_context
            if _QUERY in (getattr(span, "attributes", None) or {}):
                span.set_attribute(_QUERY, "REDACTED")

    named = {} if variables.get("OTEL_SERVICE_NAME") else {"service.name": service}
    resource = Resource.create(
        {
            **named,
            "service.version": __version__,
            "deployment.environment.name": stage,
            "cloud.region": region,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(WithoutQueries())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def send_rest(provider: TracerProvider) -> None:
    """Send the spans that were not sent yet, for a few seconds at most."""
    closing = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
    closing.start()
    closing.join(_REST_SECONDS)


def telemetry(provider: TracerProvider | None) -> TelemetryConfig:
    """Return what FastAPI is told: one span a request, from our provider, and nothing else."""
    return {
        "auto_configure": False,
        "tracing": provider is not None,
        "tracer_provider": provider,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": lambda scope: scope.get("path") in QUIET_PATHS,
    }


def context_of(headers: Mapping[bytes, bytes]) -> TraceContext:
    """Return the context of a request: what it begins continues it.

    It is that of the span that FastAPI made; without one, that of the client is continued by ids
    alone, or a trace begins. What is no valid context is ignored.

    Args:
        headers: The headers of the request.
    """
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return TraceContext.of(span.trace_id, span.span_id, span.trace_flags)
    given = TraceContext.parse(headers.get(_HEADER, b"").decode("latin-1"))
    return TraceContext.new() if given is None else given.child()
