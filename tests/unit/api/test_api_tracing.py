"""Spans that nobody takes: the API answers and ends as if there were none to send."""

from __future__ import annotations

from pathlib import Path

from media_platform.contract.tracing import exporting
from tests.unit.api.api_issuer import Issuer
from tests.unit.api.api_process import api_environment, free_port, running_api

_STOP_SECONDS = 30
"""What its task gives it from SIGTERM on."""


def test_a_collector_that_is_away_is_felt_by_nobody(issuer: Issuer, tmp_path: Path) -> None:
    away = {
        **exporting(f"http://127.0.0.1:{free_port()}", share="1"),
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
    }
    with running_api(api_environment(token_jwks_url=issuer.url), away, tmp_path) as api:
        token = issuer.user("user-1", "acme", "editor")
        # More than its queue of spans holds.
        statuses = [
            api.call("POST", "/api/videos", token=token, body={"title": ""}).status
            for _ in range(50)
        ]
        assert statuses == [422] * 50
        # By this the alarm knows of it.
        told = api.log_message("Queue full, dropping Span.")
        assert told["logger"].startswith("opentelemetry")
        api.process.terminate()
        assert api.process.wait(_STOP_SECONDS) == 0
