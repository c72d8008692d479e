"""The trace context that videos and messages carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from media_platform.contract.tracing import TraceContext, is_exported

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

MALFORMED = [
    "",
    "0",
    f"00-{TRACE}-{SPAN}",
    f"00-{TRACE}-{SPAN}-",
    f"00-{TRACE}-{SPAN}-0",
    f"00-{TRACE}-{SPAN}-01-",
    f"00-{TRACE}-{SPAN}-01-more",
    f"00-{TRACE}-{SPAN}-01 ",
    f"00-{TRACE}-{SPAN}-01\n",
    f" 00-{TRACE}-{SPAN}-01",
    f"ff-{TRACE}-{SPAN}-01",
    f"0x-{TRACE}-{SPAN}-01",
    f"01-{TRACE}-{SPAN}-01more",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE[1:]}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}0-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE}-{SPAN}-0x",
    f"00-{TRACE}-{SPAN}-\u0661\u0661",
    f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
]


def as_opentelemetry_reads(text: str) -> trace.SpanContext:
    """Return what the reference implementation reads."""
    context = TraceContextTextMapPropagator().extract({"traceparent": text})
    return trace.get_current_span(context).get_span_context()


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_malformed_is_ignored(text: str) -> None:
    assert TraceContext.parse(text) is None


def test_nothing_is_no_context() -> None:
    assert TraceContext.parse(None) is None


@pytest.mark.parametrize(
    ("flags", "sampled", "random"),
    [("00", False, False), ("01", True, False), ("02", False, True), ("ff", True, True)],
)
def test_flags_are_read_one_by_one(flags: str, sampled: bool, random: bool) -> None:
    context = TraceContext.parse(f"00-{TRACE}-{SPAN}-{flags}")
    assert context == TraceContext(TRACE, SPAN, sampled, random)


def test_of_a_later_version_what_is_known_is_read() -> None:
    for text in (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-has"):
        assert TraceContext.parse(text) == TraceContext(TRACE, SPAN, True, False)


@given(st.booleans(), st.booleans())
def test_it_is_written_as_others_read_it(sampled: bool, random: bool) -> None:
    context = TraceContext(TRACE, SPAN, sampled, random)
    assert TraceContext.parse(str(context)) == context
    read = as_opentelemetry_reads(str(context))
    assert (read.trace_id, read.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert read.trace_flags.sampled is sampled


@given(
    st.from_regex(
        r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,2})?", fullmatch=True
    )
)
def test_it_reads_what_opentelemetry_reads(text: str) -> None:
    """Except that bits of a known version which mean nothing to us are not passed on."""
    ours, theirs = TraceContext.parse(text), as_opentelemetry_reads(text)
    assert (ours is not None) is theirs.is_valid
    if ours is not None:
        assert int(ours.trace_id, 16) == theirs.trace_id
        assert int(ours.span_id, 16) == theirs.span_id
        assert ours.sampled is bool(theirs.trace_flags & 1)


def test_a_child_is_another_span_of_the_same_trace_and_as_much_recorded() -> None:
    parent = TraceContext(TRACE, SPAN, sampled=False, random=False)
    child = parent.child()
    assert (child.trace_id, child.sampled, child.random) == (TRACE, False, False)
    assert child.span_id not in {SPAN, parent.child().span_id}
    assert TraceContext.parse(str(child)) == child


def test_new_traces_are_recorded_and_differ() -> None:
    first, second = TraceContext.new(), TraceContext.new()
    assert first.sampled
    assert TraceContext.parse(str(first)) == first
    assert first.trace_id != second.trace_id


def test_x_ray_is_told_the_same() -> None:
    """Source of the form: AWS X-Ray Developer Guide, "Tracing header"."""
    context = TraceContext(TRACE, SPAN, sampled=False)
    root = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736"
    assert context.x_ray == f"{root};Parent={SPAN};Sampled=0"
    assert context.system_attributes() == {
        "AWSTraceHeader": {"DataType": "String", "StringValue": context.x_ray}
    }


@pytest.mark.parametrize(
    ("variables", "exported"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:4318/v1/metrics"}, False),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "TRUE"},
            False,
        ),
    ],
)
def test_spans_are_exported_where_the_environment_says_so(
    variables: dict[str, str], exported: bool
) -> None:
    assert is_exported(variables) is exported
