"""CloudFormation gets exactly one answer, whatever happens."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy_resources import custom_resource
from deploy_resources.custom_resource import (
    CustomResourceError,
    Request,
    Result,
    reason_of,
    serve,
)
from deploy_resources.pem import pem


class Door:
    """Where CloudFormation waits for the answer; may be shut for the first calls."""

    def __init__(self) -> None:
        self.refusals = 0
        self.answers: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        door = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if door.refusals:
                    door.refusals -= 1
                    self.send_error(503)
                    return
                door.answers.append(json.loads(body))
                door.headers.append(dict(self.headers.items()))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/answer?signature=s3cr3t"


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(custom_resource, "log_as_json", lambda: None)
    monkeypatch.setattr("deploy_resources.custom_resource.time.sleep", lambda _: None)
    door = Door()
    thread = threading.Thread(target=door.server.serve_forever, args=(0.01,))
    thread.start()
    yield door
    door.server.shutdown()
    door.server.server_close()
    thread.join()


def event(door: Door, kind: str = "Create", **more: Any) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "RequestId": "request",
        "StackId": "stack",
        "ResponseURL": door.url,
        "ResourceType": "Custom::Thing",
        "LogicalResourceId": "Thing",
        "ResourceProperties": {"ServiceToken": "arn", "Name": "n"},
        **more,
    }


def test_success_is_answered_with_the_id_and_the_attributes(door: Door) -> None:
    serve(event(door), lambda r: Result(physical_id=r.text("Name"), attributes={"A": "1"}))
    assert door.answers == [
        {
            "Status": "SUCCESS",
            "PhysicalResourceId": "n",
            "Data": {"A": "1"},
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "Thing",
        }
    ]
    # The address is signed for an empty content type.
    assert door.headers[0]["Content-Type"] == ""


@pytest.mark.parametrize("error", [CustomResourceError("no"), RuntimeError("x"), KeyError("y")])
def test_every_failure_is_answered(door: Door, error: Exception) -> None:
    def fulfil(_: Request) -> Result:
        raise error

    serve(event(door), fulfil)
    assert [a["Status"] for a in door.answers] == ["FAILED"]
    assert door.answers[0]["Reason"]
    assert door.answers[0]["PhysicalResourceId"]


def test_a_failed_update_keeps_the_id(door: Door) -> None:
    def fulfil(_: Request) -> Result:
        raise CustomResourceError("no")

    serve(event(door, "Update", PhysicalResourceId="old"), fulfil)
    assert door.answers[0]["PhysicalResourceId"] == "old"


def test_a_malformed_request_is_answered(door: Door) -> None:
    broken = event(door)
    del broken["RequestType"]
    serve(broken, lambda _: Result(physical_id="x"))
    assert door.answers[0]["Status"] == "FAILED"


def test_a_missing_property_is_named(door: Door) -> None:
    serve(event(door), lambda r: Result(physical_id=r.text("SecretId")))
    assert door.answers[0]["Reason"] == (
        "Custom::Thing has no property 'SecretId'; give it a value in the template"
    )


def test_the_answer_is_sent_until_it_is_taken(door: Door) -> None:
    door.refusals = custom_resource.ANSWER_ATTEMPTS - 1
    serve(event(door), lambda _: Result(physical_id="x"))
    assert len(door.answers) == 1


def test_an_answer_that_is_never_taken_lets_lambda_try_again(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.refusals = 100
    with caplog.at_level(logging.INFO), pytest.raises(RuntimeError) as raised:
        serve(event(door), lambda _: Result(physical_id="x"))
    assert "s3cr3t" not in str(raised.value) + caplog.text


def test_reasons_hold_nothing_secret(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    def fulfil(_: Request) -> Result:
        raise ValueError("-----BEGIN PRIVATE KEY----- s3cr3t")

    with caplog.at_level(logging.DEBUG):
        serve(event(door), fulfil)
    assert door.answers[0]["Reason"] == "internal error: ValueError; see the log of the function"
    assert "s3cr3t" not in caplog.text


def test_invalid_parameters_are_not_quoted() -> None:
    error = ParamValidationError(report="Invalid value s3cr3t")
    assert reason_of(error) == "a service could not be called: ParamValidationError"


def test_reasons_are_one_line_that_fits_the_answer() -> None:
    error = ClientError(
        {"Error": {"Code": "AccessDenied", "Message": "User\n is  not " + "x" * 5000}},
        "PutParameter",
    )
    reason = reason_of(error)
    assert reason.startswith("PutParameter: AccessDenied: User is not xxx")
    assert "\n" not in reason
    assert len(reason) <= custom_resource.MAX_REASON


def test_keys_are_wrapped_as_other_implementations_do() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der, text = serialization.Encoding.DER, serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    assert pem("PRIVATE KEY", key.private_bytes(der, *private)) == (
        key.private_bytes(text, *private).decode()
    )
    assert pem("PUBLIC KEY", key.public_key().public_bytes(der, public)) == (
        key.public_key().public_bytes(text, public).decode()
    )
