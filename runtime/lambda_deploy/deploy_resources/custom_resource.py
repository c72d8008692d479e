"""The protocol of custom resources: one request in, exactly one answer out, whatever happens.

Source: AWS CloudFormation User Guide, "Custom resource request and response reference".
"""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from media_platform.contract.logs import log_as_json

_LOG = logging.getLogger(__name__)

CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 5},
)
"""Seconds and attempts: three calls in a row end well before the timeout of the function does."""

ANSWER_ATTEMPTS = 5
"""How often the answer is sent; an answer that is lost leaves the stack waiting for an hour."""

ANSWER_TIMEOUT_SECONDS = 5
MAX_REASON = 1000
"""Characters of a reason; the whole answer may have 4,096 bytes."""

NEVER_CREATED = "never-created"
"""Physical id of a resource whose request was too incomplete to name it."""


class CustomResourceError(Exception):
    """The request cannot be fulfilled; the message is shown to whoever deploys."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What CloudFormation asks for.

    Attributes:
        kind: ``Create``, ``Update`` or ``Delete``.
        resource_type: E.g. ``Custom::SigningKey``.
        properties: Properties in the template; primitive values arrive as text.
        physical_id: Id of the resource that is updated or deleted.
    """

    kind: str
    resource_type: str
    properties: Mapping[str, Any] = field(repr=False)
    physical_id: str | None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Request:
        """Read the event of a custom resource."""
        return cls(
            kind=event["RequestType"],
            resource_type=event.get("ResourceType", "AWS::CloudFormation::CustomResource"),
            properties=event.get("ResourceProperties", {}),
            physical_id=event.get("PhysicalResourceId"),
        )

    @property
    def is_delete(self) -> bool:
        """Whether the resource has to go."""
        return self.kind == "Delete"

    def text(self, name: str) -> str:
        """Return a property that has to be there.

        Raises:
            CustomResourceError: If it is missing, empty or not text.
        """
        value = self.properties.get(name)
        if not isinstance(value, str) or not value:
            raise CustomResourceError(
                f"{self.resource_type} has no property {name!r}; give it a value in the template"
            )
        return value


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a request.

    Attributes:
        physical_id: Id of the resource. When an update answers another id than before,
            CloudFormation takes that for a replacement and deletes the old one afterwards.
        attributes: What ``Fn::GetAtt`` returns; never a secret.
    """

    physical_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def serve(event: Mapping[str, Any], fulfil: Callable[[Request], Result]) -> None:
    """Fulfil the request of ``event`` and answer it.

    Every failure is answered, too, since CloudFormation would wait for an hour otherwise.

    Args:
        event: Event of the custom resource.
        fulfil: Does the work; may be called again with the same request.
    """
    log_as_json()
    physical_id = event.get("PhysicalResourceId") or NEVER_CREATED
    fields = {
        "request_type": event.get("RequestType"),
        "resource_type": event.get("ResourceType"),
        "logical_id": event.get("LogicalResourceId"),
    }
    try:
        result = fulfil(Request.from_event(event))
    except Exception as error:  # noqa: BLE001 - whatever it is, CloudFormation has to hear of it
        reason = reason_of(error)
        # The type alone: tracebacks quote what the call was made with.
        _LOG.error("failed: %s", reason, extra={**fields, "error": type(error).__name__})
        answer = {"Status": "FAILED", "Reason": reason, "PhysicalResourceId": physical_id}
    else:
        _LOG.info("done", extra=fields)
        answer = {
            "Status": "SUCCESS",
            "PhysicalResourceId": result.physical_id,
            "Data": dict(result.attributes),
        }
    for name in ("StackId", "RequestId", "LogicalResourceId"):
        answer[name] = event.get(name, "")
    _send(event["ResponseURL"], answer)


def reason_of(error: Exception) -> str:
    """Return one line that says what went wrong, without anything secret.

    Only errors whose text is known to hold no values of ours are quoted.
    """
    if isinstance(error, CustomResourceError):
        text = str(error)
    elif isinstance(error, ClientError):
        details = error.response.get("Error", {})
        text = f"{error.operation_name}: {details.get('Code')}: {details.get('Message')}"
    elif isinstance(error, BotoCoreError):
        text = f"a service could not be called: {type(error).__name__}"
    else:
        text = f"internal error: {type(error).__name__}; see the log of the function"
    return " ".join(text.split())[:MAX_REASON]


def _send(url: str, answer: Mapping[str, Any]) -> None:
    """Put the answer where CloudFormation waits for it; the address is signed, so never logged."""
    body = json.dumps(answer).encode()
    # The address is signed for an empty content type.
    request = urllib.request.Request(  # noqa: S310 - CloudFormation chose the address
        url, data=body, method="PUT", headers={"Content-Type": ""}
    )
    for attempt in range(1, ANSWER_ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_SECONDS):  # noqa: S310
                return
        except OSError as error:
            status = getattr(error, "code", None)
            _LOG.warning(
                "the answer was not taken",
                extra={"attempt": attempt, "error": type(error).__name__, "status": status},
            )
            if attempt < ANSWER_ATTEMPTS:
                time.sleep(0.2 * 2**attempt)
    # Raised, so that Lambda runs the request again: every request may be run twice.
    raise RuntimeError(f"CloudFormation did not take the answer in {ANSWER_ATTEMPTS} attempts")
