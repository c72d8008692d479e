"""Traces: what a worker does for a video continues the trace of the request that created it.

Spans are sent by OpenTelemetry, whose modules are imported only where the environment says where
spans go. Everywhere else they are ids and nothing more, which messages and log lines carry all the
same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from media_platform import __version__
from media_platform.contract.tracing import TraceContext, is_exported

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

SERVICE = "media-worker"
"""``service.name`` of the worker, unless ``OTEL_SERVICE_NAME`` says otherwise."""

Attribute = str | int | float | bool

_present: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


class Span:
    """A span while it lasts.

    Args:
        context: What messages carry on.
        recorded: The span that is sent, if spans are.
    """

    def __init__(self, context: TraceContext, recorded: trace.Span | None = None) -> None:
        self.context = context
        self._recorded = recorded

    def note(self, **attributes: Attribute) -> None:
        """Add what became known; dots in names are written as ``__``."""
        if self._recorded is not None:
            self._recorded.set_attributes(_dotted(attributes))

    def fail(self, error: BaseException) -> None:
        """Mark it as failed: the kind of the error is told, not its text, which the log has."""
        if self._recorded is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - loaded where it is used

            self._recorded.set_attribute("error.type", type(error).__name__)
            self._recorded.set_status(StatusCode.ERROR)


class Tracer:
    """Makes spans.

    Args:
        provider: Records and sends them. Default: nothing does.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(__package__, __version__) if provider else None

    @contextmanager
    def message(
        self, name: str, parent: TraceContext | None, **attributes: Attribute
    ) -> Iterator[Span]:
        """Do what a message asks for, as a span that continues the trace that the message carries.

        Args:
            name: What is done.
            parent: The context in the message. Default: the trace begins here.
            **attributes: Of the span, with ``__`` for dots.
        """
        with self._span(name, parent, attributes, consumes=True) as span:
            yield span

    @contextmanager
    def span(self, name: str, **attributes: Attribute) -> Iterator[Span]:
        """Do a part of what is being done, as a span below the present one; errors mark it."""
        with self._span(name, _present.get(), attributes) as span:
            try:
                yield span
            except Exception as error:
                span.fail(error)
                raise

    def close(self, seconds: float) -> None:
        """Send what was not sent yet, for ``seconds`` at most."""
        if self._provider is None:
            return
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(seconds)

    @contextmanager
    def _span(
        self,
        name: str,
        parent: TraceContext | None,
        attributes: Mapping[str, Attribute],
        *,
        consumes: bool = False,
    ) -> Iterator[Span]:
        span = self._begin(name, parent, attributes, consumes=consumes)
        token = _present.set(span.context)
        try:
            yield span
        finally:
            _present.reset(token)
            if span._recorded is not None:  # noqa: SLF001 - it is ours
                span._recorded.end()  # noqa: SLF001

    def _begin(
        self,
        name: str,
        parent: TraceContext | None,
        attributes: Mapping[str, Attribute],
        *,
        consumes: bool,
    ) -> Span:
        if self._tracer is None:
            return Span(TraceContext.new() if parent is None else parent.child())
        from opentelemetry import trace  # noqa: PLC0415 - loaded where spans are sent
        from opentelemetry.context import Context  # noqa: PLC0415

        above = Context()
        if parent is not None:
            flags = trace.TraceFlags(parent.flags)
            known = trace.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=consumes,
                trace_flags=flags,
            )
            above = trace.set_span_in_context(trace.NonRecordingSpan(known), above)
        kind = trace.SpanKind.CONSUMER if consumes else trace.SpanKind.INTERNAL
        recorded = self._tracer.start_span(name, above, kind=kind, attributes=_dotted(attributes))
        made = recorded.get_span_context()
        context = TraceContext.of(made.trace_id, made.span_id, made.trace_flags)
        return Span(context, recorded)


def make_tracer(variables: Mapping[str, str], *, stage: str, region: str) -> Tracer:
    """Return what makes spans, which are sent if the environment says where to.

    Args:
        variables: The environment of the process; OpenTelemetry reads it by itself.
        stage: Name of the stage.
        region: The region.
    """
    if not is_exported(variables):
        return Tracer()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - see above
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = {} if variables.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    resource = Resource.create(
        {
            **named,
            "service.version": __version__,
            "deployment.environment.name": stage,
            "cloud.region": region,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)


def _dotted(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {name.replace("__", "."): value for name, value in attributes.items()}
