"""What the log says of whom, and which trace messages carry on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from structlog.contextvars import bound_contextvars, get_contextvars

from media_platform.contract.ids import new_id
from media_platform.contract.jobs import DEAD_LETTER_REASON, TranscodeJob
from media_platform.contract.tracing import TraceContext
from media_worker.cancellation import Cancellation
from media_worker.job_queue import Heartbeat, JobQueue, Message
from media_worker.threads import as_here, make_pool, start_thread
from media_worker.tracing import Tracer, make_tracer

TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
JOB = TranscodeJob(
    video_id=new_id(),
    run_id=new_id(),
    tenant="acme",
    bucket="raw",
    key="raw/acme/ada/film.mp4",
    version_id="1",
    size_bytes=1,
    queued_at="2026-01-01T00:00:00.000Z",
)
SENT = {
    "MessageAttributes": TRACE.message_attributes(),
    "MessageSystemAttributes": TRACE.system_attributes(),
}


def test_threads_log_for_what_their_maker_works() -> None:
    found: list[Mapping[str, Any]] = []

    def look() -> None:
        found.append(get_contextvars())

    with bound_contextvars(video_id="a"):
        thread = start_thread("thread", look)
        with make_pool("pool", 2) as pool:
            pool.submit(look).result()
        here = as_here(look)
    thread.join()
    bare = threading.Thread(target=here)
    bare.start()
    bare.join()
    with bound_contextvars(video_id="b"):
        here()
    look()
    assert found[:2] == [{"video_id": "a"}] * 2
    assert found[-1] == {}
    assert found[2:-1] == [{"video_id": "a"}] * 2


def test_jobs_at_the_same_time_are_kept_apart() -> None:
    """Every thread of one job meets those of the other while its ids are bound."""
    both = threading.Barrier(4)
    found: dict[str, set[str]] = {"a": set(), "b": set()}

    def job(video_id: str) -> None:
        def look() -> None:
            both.wait(10)
            found[video_id].add(get_contextvars()["video_id"])

        with bound_contextvars(video_id=video_id):
            helper = start_thread("helper", look)
            look()
            helper.join()

    threads = [start_thread("job", as_job) for as_job in (lambda: job("a"), lambda: job("b"))]
    for thread in threads:
        thread.join()
    assert found == {"a": {"a"}, "b": {"b"}}


def test_heartbeat_logs_for_its_job() -> None:
    seen = threading.Event()
    found: list[Mapping[str, Any]] = []

    def beat() -> None:
        found.append(get_contextvars())
        seen.set()

    with (
        bound_contextvars(video_id="a"),
        Heartbeat(beat, interval_seconds=0.001, cancellation=Cancellation()),
    ):
        assert seen.wait(10)
    assert found[0] == {"video_id": "a"}


def test_spans_below_each_other_are_of_one_trace_without_anybody_who_records() -> None:
    tracer = Tracer()
    with tracer.message("start", TRACE) as message:
        assert (message.context.trace_id, message.context.sampled) == (TRACE.trace_id, True)
        assert message.context.span_id != TRACE.span_id
        with tracer.span("plan") as plan:
            plan.note(media__part="a")
        assert plan.context.trace_id == TRACE.trace_id
        found: list[str] = []

        def work() -> None:
            with tracer.span("sound") as sound:
                found.append(sound.context.trace_id)

        start_thread("sound", work).join()
        assert found == [TRACE.trace_id]
    with tracer.message("start", None) as other:
        assert other.context.trace_id != TRACE.trace_id


def test_what_is_not_sampled_stays_so() -> None:
    unsampled = TraceContext(TRACE.trace_id, TRACE.span_id, sampled=False)
    with Tracer().message("start", unsampled) as message, Tracer().span("plan") as plan:
        assert not message.context.sampled
        assert not plan.context.sampled


def queue(*, expect: tuple[str, dict[str, Any], dict[str, Any]]) -> tuple[JobQueue, Stubber]:
    client = boto3.client("sqs", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(client)
    stub.add_response(expect[0], expect[1], expect[2])
    stub.activate()
    return JobQueue(client, "queue", "dead"), stub


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [(str(TRACE), TRACE), ("00-nothing-of-use-01", None), (None, None)],
)
def test_trace_and_time_of_a_message_are_read(
    traceparent: str | None, trace: TraceContext | None
) -> None:
    message: dict[str, Any] = {
        "Body": JOB.to_json(),
        "ReceiptHandle": "r",
        "MessageId": "m",
        "Attributes": {"SentTimestamp": "1700000000123"},
    }
    if traceparent is not None:
        message["MessageAttributes"] = {
            "traceparent": {"DataType": "String", "StringValue": traceparent}
        }
    asked = {
        "QueueUrl": "queue",
        "MaxNumberOfMessages": 1,
        "WaitTimeSeconds": 0,
        "VisibilityTimeout": 10,
        "MessageAttributeNames": [DEAD_LETTER_REASON, "traceparent"],
        "MessageSystemAttributeNames": ["SentTimestamp"],
    }
    jobs, _ = queue(expect=("receive_message", {"Messages": [message]}, asked))
    found = jobs.receive(wait_seconds=0, hide_seconds=10)
    assert found == Message(JOB.to_json(), "r", "m", None, 1700000000.123, trace)


def test_message_carries_the_trace_on() -> None:
    sent = {
        "QueueUrl": "queue",
        "MessageBody": JOB.to_json(),
        "MessageGroupId": "acme",
        "DelaySeconds": 0,
        **SENT,
    }
    jobs, stub = queue(expect=("send_message", {}, sent))
    jobs.send(JOB, trace=TRACE)
    stub.assert_no_pending_responses()


def test_dead_letter_keeps_the_trace() -> None:
    reason = {DEAD_LETTER_REASON: {"DataType": "String", "StringValue": "why"}}
    sent = {
        "QueueUrl": "dead",
        "MessageBody": "body",
        **SENT,
        "MessageAttributes": {**TRACE.message_attributes(), **reason},
    }
    jobs, stub = queue(expect=("send_message", {}, sent))
    jobs.dead_letter(Message("body", "r", trace=TRACE), "why")
    stub.assert_no_pending_responses()


LOGGING = """
import logging, threading
import structlog
from media_worker.logs import configure_logging
from media_worker.threads import start_thread

configure_logging()

def break_down():
    secret = "in-a-local-variable"
    raise ValueError("broken")

with structlog.contextvars.bound_contextvars(video_id="a"):
    structlog.get_logger().info("said", seconds=1)
    structlog.get_logger().debug("whispered")
    logging.getLogger("botocore.retries").warning("pool %s", "full")
    logging.getLogger("botocore.retries").info("chatter")
    start_thread("thread", break_down).join()
    try:
        break_down()
    except ValueError:
        structlog.get_logger().exception("caught")
"""


def run(code: str, **variables: str) -> str:
    """Run a program as the worker is run, and return what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path), **variables},
    )
    assert done.stderr == ""
    return done.stdout


def test_all_that_is_logged_is_json_of_one_shape() -> None:
    output = run(LOGGING)
    said, pool, broke, caught = (json.loads(line) for line in output.splitlines())
    for line in (said, pool, broke, caught):
        assert {"time", "level", "logger", "message"} <= line.keys()
    assert (said["message"], said["level"], said["seconds"]) == ("said", "INFO", 1)
    assert (pool["message"], pool["level"]) == ("pool full", "WARNING")
    assert pool["logger"] == "botocore.retries"
    assert (broke["message"], broke["thread"]) == ("a thread broke", "thread")
    assert {said["video_id"], pool["video_id"], caught["video_id"]} == {"a"}
    for line in (broke, caught):
        assert line["level"] == "ERROR"
        assert line["exception"][0]["exc_value"] == "broken"
    assert "in-a-local-variable" not in output


def test_no_module_that_sends_spans_is_loaded_where_none_are_sent() -> None:
    code = """
import os, sys
import media_worker.service
from media_worker.tracing import make_tracer
make_tracer(os.environ, stage="s", region="r")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert run(code).strip() == "[]"


def test_sending_spans_takes_little_memory() -> None:
    code = """
import os
import psutil
import media_worker.service
from media_worker.logs import configure_logging
from media_worker.tracing import make_tracer
configure_logging()
tracer = make_tracer(os.environ, stage="s", region="r")
with tracer.message("start", None):
    pass
tracer.close(0)
# Not the peak that getrusage tells: that of the process which started this one counts there.
print(psutil.Process().memory_info().rss, flush=True)
os._exit(0)
"""
    output = run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    (size,) = [int(line) for line in output.splitlines() if line.isdecimal()]
    assert size < 90 * 1024**2


def test_end_does_not_wait_for_a_collector_that_is_silent() -> None:
    """A collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        code = """
import os
from media_worker.logs import configure_logging
from media_worker.tracing import make_tracer
configure_logging()
tracer = make_tracer(os.environ, stage="s", region="r")
with tracer.message("start", None):
    pass
tracer.close(0.1)
print("closed", flush=True)
os._exit(0)
"""
        assert "closed" in run(code, **variables).splitlines()


def test_tracer_without_a_destination_closes_at_once() -> None:
    make_tracer({}, stage="s", region="r").close(0)
