"""Events reach functions as on AWS: with the object version, with retries, record by record.

MiniStack leaves out three things on which functions of the platform rely:

- the ``version-id`` in the EventBridge events of S3 (Amazon S3 User Guide, "EventBridge event
  message structure");
- the retries and the failure destination of a function that a rule invokes, which are those of
  every asynchronous invocation (AWS Lambda Developer Guide, "Asynchronous invocation");
- the partial batch response of a function behind a table stream, without which records that the
  function reported would be lost ("Reporting batch item failures", DynamoDB streams).
"""

from __future__ import annotations

import contextvars
import json
import logging
from typing import Any

from ministack.services import dynamodb, eventbridge, lambda_svc, s3

logger = logging.getLogger("mediactl.deliveries")

PARTIAL_RESPONSES = "ReportBatchItemFailures"

_object_version: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "object_version", default=None
)


def install() -> None:
    """Put the three in place of what MiniStack does."""
    _name_object_versions()
    eventbridge._dispatch_to_lambda = _invoke_with_retries  # noqa: SLF001
    _FailedRecords().install()


def _name_object_versions() -> None:
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event  # noqa: SLF001

    def fire_with_version(*args: Any, **options: Any) -> None:
        token = _object_version.set(options.get("version_id"))
        try:
            fire(*args, **options)
        finally:
            _object_version.reset(token)

    def dispatch_with_version(event: dict[str, Any], *args: Any, **options: Any) -> Any:
        version_id = _object_version.get()
        if version_id and event.get("Source") == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"].setdefault("version-id", version_id)
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *args, **options)

    s3._fire_s3_event = fire_with_version  # noqa: SLF001
    eventbridge._dispatch_event = dispatch_with_version  # noqa: SLF001


def _invoke_with_retries(arn: str, payload: str) -> None:
    function, config, name = lambda_svc._get_func_record_for_ref(arn)  # noqa: SLF001
    if not function or not config:
        logger.warning("a rule's function does not exist: %s", name)
        return
    record = lambda_svc._execution_record_for_config(function, config)  # noqa: SLF001
    lambda_svc.invoke_async_with_retry(record, json.loads(payload))


class _FailedRecords:
    """Lets a table stream go on from the record that a function reported."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], int] = {}

    def install(self) -> None:
        execute = lambda_svc._execute_function  # noqa: SLF001

        def execute_and_look(function: dict[str, Any], event: Any) -> dict[str, Any]:
            result: dict[str, Any] = execute(function, event)
            mapping = _mapping_of(function, event)
            reported = None if mapping is None else _reported(result)
            if mapping is None or reported is None:
                return result
            self._go_on_from(reported, mapping, function, event["Records"])
            # The poller moves behind the batch on success and stays where it is on an error.
            return {**result, "error": True}

        lambda_svc._execute_function = execute_and_look  # noqa: SLF001

    def _go_on_from(
        self,
        number: str,
        mapping: dict[str, Any],
        function: dict[str, Any],
        records: list[dict[str, Any]],
    ) -> None:
        """Move the mapping to the record, or behind it when its retries are used up."""
        attempts = self._attempts.pop((mapping["UUID"], number), 0) + 1
        most = mapping.get("MaximumRetryAttempts", -1)
        given_up = most is not None and 0 <= int(most) < attempts
        if given_up:
            failed = [r for r in records if r["dynamodb"]["SequenceNumber"] == number]
            lambda_svc._send_ddb_stream_failure_record(  # noqa: SLF001
                mapping, function, failed, mapping["EventSourceArn"], {}, "RetryAttemptsExhausted"
            )
        else:
            self._attempts[mapping["UUID"], number] = attempts
        logger.warning("record %s failed for the %d. time", number, attempts)
        table_name = mapping["EventSourceArn"].split("/")[1]
        start = dynamodb.stream_start_position(table_name)
        for offset, record in enumerate(dynamodb.stream_live_records(table_name)):
            if record["dynamodb"]["SequenceNumber"] == number:
                with lambda_svc._dynamodb_stream_positions_lock:  # noqa: SLF001
                    lambda_svc._dynamodb_stream_positions[mapping["UUID"]] = (  # noqa: SLF001
                        start + offset + (1 if given_up else 0)
                    )
                return


def _mapping_of(function: dict[str, Any], event: Any) -> dict[str, Any] | None:
    """Return the mapping behind a batch of a table stream, if it takes partial responses."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not records or records[0].get("eventSource") != "aws:dynamodb":
        return None
    name = function.get("config", {}).get("FunctionName")
    for _, _, mapping in lambda_svc._iter_all_esms():  # noqa: SLF001
        if (
            mapping["FunctionName"] == name
            and mapping.get("EventSourceArn") == records[0].get("eventSourceARN")
            and PARTIAL_RESPONSES in (mapping.get("FunctionResponseTypes") or ())
        ):
            return dict(mapping)
    return None


def _reported(result: dict[str, Any]) -> str | None:
    """Return the first record that a function reported, ``None`` if it reported none."""
    body = result.get("body")
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except ValueError:
            return None
    if result.get("error") or not isinstance(body, dict):
        return None
    numbers = [str(failure["itemIdentifier"]) for failure in body.get("batchItemFailures") or ()]
    return min(numbers, key=int) if numbers else None
