"""The trace that a video is part of, from the request that created it to its last segment.

Its context travels as a ``traceparent``: in the request of a client, in the item of the video (the
client's upload to S3 cannot carry one), and as an attribute of every queue message that follows.
Whatever is not a valid one is ignored; nothing ever fails because of it.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

TRACEPARENT = "traceparent"
"""Name of the request header and of the message attribute."""

AWS_TRACE_HEADER = "AWSTraceHeader"
"""Message system attribute by which X-Ray follows a trace through a queue.

Source: Amazon SQS API Reference, ``SendMessage``, ``MessageSystemAttributes``.
"""

OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
"""Variables of OpenTelemetry: where its exporter sends to, and with which headers.

Source: OpenTelemetry, "OTLP Exporter Configuration".
"""

_PATTERN = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_RANDOM = 0x02


@dataclass(frozen=True)
class TraceContext:
    """A span, as those that it causes know it.

    Attributes:
        trace_id: The trace: 32 hexadecimal digits.
        span_id: The span: 16 hexadecimal digits.
        sampled: Whether it is recorded; whoever continues the trace does likewise.
        random: Whether ``trace_id`` is random enough to sample by it.
    """

    trace_id: str
    span_id: str
    sampled: bool = True
    random: bool = True

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read a ``traceparent``; ``None`` if there is none or it is not valid.

        Of versions to come, what the present one has is read.
        """
        found = _PATTERN.fullmatch(text) if text else None
        if found is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        if version == "ff" or (version == "00" and rest is not None):
            return None
        if not trace_id.strip("0") or not span_id.strip("0"):
            return None
        return cls.of(int(trace_id, 16), int(span_id, 16), int(flags, 16))

    @classmethod
    def of(cls, trace_id: int, span_id: int, flags: int) -> Self:
        """Return the context of a span whose ids and flags are numbers."""
        return cls(
            f"{trace_id:032x}", f"{span_id:016x}", bool(flags & _SAMPLED), bool(flags & _RANDOM)
        )

    @classmethod
    def new(cls) -> Self:
        """Return the first span of a new trace, which is recorded."""
        return cls(_random_id(16), _random_id(8))

    def child(self) -> Self:
        """Return a new span of the same trace."""
        return replace(self, span_id=_random_id(8))

    def __str__(self) -> str:
        """Return the ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def flags(self) -> int:
        """The flags as one number."""
        return _SAMPLED * self.sampled | _RANDOM * self.random

    @property
    def x_ray(self) -> str:
        """The same as X-Ray writes it.

        Source: AWS X-Ray Developer Guide, "Tracing header" and "Sending trace data": the first
        eight digits of a W3C trace id stand where X-Ray has the time.
        """
        root = f"1-{self.trace_id[:8]}-{self.trace_id[8:]}"
        return f"Root={root};Parent={self.span_id};Sampled={int(self.sampled)}"

    def message_attributes(self) -> dict[str, dict[str, str]]:
        """Return the attributes by which a queue message carries it on."""
        return {TRACEPARENT: {"DataType": "String", "StringValue": str(self)}}

    def system_attributes(self) -> dict[str, dict[str, str]]:
        """Return the system attributes that tell X-Ray the same; they count towards no quota."""
        return {AWS_TRACE_HEADER: {"DataType": "String", "StringValue": self.x_ray}}


def is_exported(variables: Mapping[str, str]) -> bool:
    """Tell whether the environment of a process says where spans go.

    The variables are those of OpenTelemetry, which its exporter reads itself.
    """
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(
        variables.get(name, "").strip()
        for name in (OTLP_ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def exporting(endpoint: str, *, share: str) -> dict[str, str]:
    """Return the variables by which a process sends spans, all of them for OpenTelemetry.

    Args:
        endpoint: Where to.
        share: Share of the traces that begin here and are recorded, above 0 to 1.

    Source: OpenTelemetry, "Environment Variable Specification".
    """
    return {
        OTLP_ENDPOINT: endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": share,
    }


def _random_id(size: int) -> str:
    """Return ``size`` random bytes in hexadecimal digits that are not all zero.

    They tell requests apart and open nothing.
    """
    return f"{random.getrandbits(8 * size) or 1:0{2 * size}x}"
