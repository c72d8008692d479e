"""A collector of spans: takes OTLP over HTTP, as any tracing backend does, and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATH = "/v1/traces"


@dataclass(frozen=True)
class Received:
    """A span as it was received.

    Attributes:
        service: Name of the service that sent it.
        process: What tells one process of the service from another.
        name: Its name.
        trace_id: Its trace, in hexadecimal digits.
        span_id: Its id, likewise.
        parent: Id of the span above it, empty if there is none.
        kind: Its kind, e.g. ``SPAN_KIND_SERVER``.
        failed: Whether it says that it failed.
        attributes: What it says besides.
        start: Unix nanoseconds of its start.
        end: Unix nanoseconds of its end.
    """

    service: str
    process: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    kind: str
    failed: bool
    attributes: dict[str, Any]
    start: int
    end: int


@dataclass
class Collector:
    """What was received so far."""

    url: str
    spans: list[Received] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[Received]:
        """Return the spans of a trace."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [
                Received(
                    service=resource["service.name"],
                    process=str(resource.get("service.instance.id", "")),
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=span.SpanKind.Name(span.kind),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=_values(span.attributes),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                )
                for scope in group.scope_spans
                for span in scope.spans
            ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Listen on a free port of the loopback interface while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != PATH:
                self.send_error(404)
                return
            collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
