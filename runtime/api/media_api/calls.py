"""What is told of every call to AWS: its time, whether it failed, a span beneath its request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from media_api.aws import error_code, is_passing
from media_api.metrics import Metrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_STATE = "media_api.call"


class Calls:
    """Sees every call.

    Args:
        metrics: Adds up times and failures. Default: nothing does.
        spans: Records spans. Default: nothing does.
    """

    def __init__(self, metrics: Metrics | None = None, spans: TracerProvider | None = None) -> None:
        self._metrics = metrics
        self._tracer = spans.get_tracer("media_api") if spans is not None else None

    @contextmanager
    def call(self, service: str, operation: str) -> Iterator[None]:
        """See the call that the block makes.

        Args:
            service: Name of the service as AWS writes it, e.g. ``DynamoDB``.
            operation: Name of the operation, e.g. ``GetItem``.
        """
        seen = self._begin(service, operation)
        try:
            yield
        except BaseException as error:
            seen.end(error)
            raise
        seen.end(None)

    def watch(self, client: Any) -> None:
        """See every call of a client of aiobotocore."""
        events = client.meta.events
        events.register("before-call", self._before)
        events.register("after-call", _after)
        events.register("after-call-error", _after_error)

    def _before(self, model: Any, context: dict[str, Any], **_: Any) -> None:
        context[_STATE] = self._begin(str(model.service_model.service_id), str(model.name))

    def _begin(self, service: str, operation: str) -> _Seen:
        span = None
        # Calls of no request, such as the look whether the table answers, are nobody's spans.
        if self._tracer is not None and trace.get_current_span().get_span_context().is_valid:
            # Source: OpenTelemetry, "Semantic conventions for AWS SDK client spans".
            span = self._tracer.start_span(
                f"{service}.{operation}",
                kind=SpanKind.CLIENT,
                attributes={
                    "rpc.system": "aws-api",
                    "rpc.service": service,
                    "rpc.method": operation,
                },
            )
        return _Seen(self._metrics, service, span)


class _Seen:
    """A call that is being made."""

    def __init__(self, metrics: Metrics | None, service: str, span: trace.Span | None) -> None:
        self._metrics = metrics
        self._service = service
        self._span = span
        self._begun = time.perf_counter()

    def end(self, error: BaseException | None) -> None:
        """Tell how it went.

        Args:
            error: What was raised, if anything.
        """
        failed = is_passing(error) if isinstance(error, ClientError) else error is not None
        if self._metrics is not None:
            self._metrics.call(self._service, time.perf_counter() - self._begun, failed=failed)
        if self._span is None:
            return
        if error is not None:
            code = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            self._span.set_attribute("error.type", code)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _after(http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    seen = context.pop(_STATE, None)
    if seen is None:
        return
    error = None
    if http_response.status_code >= 300:  # noqa: PLR2004 - HTTP
        error = ClientError(cast("Any", parsed), "")
    seen.end(error)


def _after_error(exception: BaseException, context: dict[str, Any], **_: Any) -> None:
    seen = context.pop(_STATE, None)
    if seen is not None:
        seen.end(exception)
