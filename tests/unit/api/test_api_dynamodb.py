"""The client of the table against a server that answers as it is told."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from media_api.dynamodb import ATTEMPTS, DynamoDb, RetryAllowance

REGION = "eu-central-1"
KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "session-token")
THROTTLED = (400, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"})


@dataclass
class Script:
    """What is answered, one after the other; the last for good. ``None`` breaks the connection."""

    answers: list[tuple[int, Any] | bytes | None]
    received: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    endpoint: str = ""
    wrong_checksum: bool = False
    stalls: threading.Event | None = None


@contextmanager
def serving(script: Script) -> Iterator[Script]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.received.append((dict(self.headers), json.loads(body)))
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if script.stalls:
                script.stalls.wait(20)
            if answer is None:
                self.close_connection = True
                return
            status, content = (200, answer) if isinstance(answer, bytes) else answer
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("x-amz-crc32", str(zlib.crc32(text) + script.wrong_checksum))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    script.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        if script.stalls:
            script.stalls.set()
        server.shutdown()
        server.server_close()


async def call(
    script: Script,
    work: Callable[[DynamoDb], Any],
    *,
    credentials: ReadOnlyCredentials | None = KEYS,
    read_seconds: float = 20,
) -> Any:
    async def of_the_moment() -> ReadOnlyCredentials | None:
        return credentials

    timeout = aiohttp.ClientTimeout(total=None, sock_read=read_seconds)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        client = DynamoDb(
            session, endpoint=script.endpoint, region=REGION, credentials=of_the_moment
        )
        return await work(client)


def get(client: DynamoDb) -> Any:
    return client.get_item(TableName="videos", Key={"pk": {"S": "ü"}})


@pytest.mark.anyio
async def test_a_request_is_signed_as_botocore_signs_it() -> None:
    with serving(Script([b'{"Item": {"pk": {"S": "x"}}}'])) as script:
        assert await call(script, get) == {"Item": {"pk": {"S": "x"}}}
    headers, body = script.received[0]
    assert body == {"TableName": "videos", "Key": {"pk": {"S": "ü"}}}
    assert headers["X-Amz-Target"] == "DynamoDB_20120810.GetItem"
    names = ("Content-Type", "Host", "X-Amz-Target")
    request = AWSRequest(
        "POST",
        script.endpoint + "/",
        headers={name: headers[name] for name in names},
        data=json.dumps(body).encode(),
    )
    request.context["timestamp"] = headers["X-Amz-Date"]
    request.headers["X-Amz-Date"] = headers["X-Amz-Date"]
    request.headers["X-Amz-Security-Token"] = KEYS.token
    auth = SigV4Auth(KEYS, "dynamodb", REGION)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert headers["Authorization"].endswith(f"Signature={auth.signature(text, request)}")


@pytest.mark.anyio
async def test_what_passes_is_tried_five_times_and_what_does_not_once() -> None:
    refused = (400, {"__type": "x#ConditionalCheckFailedException", "message": "no", "Item": {}})
    for answer, attempts in ((THROTTLED, ATTEMPTS), ((503, b""), ATTEMPTS), (refused, 1)):
        with serving(Script([answer])) as script, pytest.raises(ClientError) as caught:
            await call(script, get)
        assert len(script.received) == attempts
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == answer[0]
    assert caught.value.response["Error"] == {
        "Code": "ConditionalCheckFailedException",
        "Message": "no",
    }
    assert caught.value.response["Item"] == {}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [None, THROTTLED, (500, b"<html>")])
async def test_the_first_good_answer_counts(fault: Any) -> None:
    with serving(Script([fault, fault, b"{}"])) as script:
        assert await call(script, get) == {}
    assert len(script.received) == 3


@pytest.mark.anyio
async def test_a_transaction_is_the_same_one_at_every_attempt() -> None:
    with serving(Script([None, THROTTLED, b"{}"])) as script:
        await call(script, lambda client: client.transact_write_items(TransactItems=[]))
        await call(script, lambda client: client.transact_write_items(TransactItems=[]))
    tokens = [body["ClientRequestToken"] for _, body in script.received]
    assert len(tokens) == 4
    assert len(set(tokens[:3])) == 1
    assert tokens[3] != tokens[0]


@pytest.mark.anyio
async def test_why_a_transaction_was_cancelled_is_told() -> None:
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed"}]
    cancelled = (400, {"__type": "x#TransactionCanceledException", "CancellationReasons": reasons})
    with serving(Script([cancelled])) as script, pytest.raises(ClientError) as caught:
        await call(script, lambda client: client.transact_write_items(TransactItems=[]))
    assert caught.value.response["CancellationReasons"] == reasons
    assert len(script.received) == 1


@pytest.mark.anyio
async def test_an_answer_with_another_checksum_is_none() -> None:
    with (
        serving(Script([b"{}"], wrong_checksum=True)) as script,
        pytest.raises(EndpointConnectionError),
    ):
        await call(script, get)
    assert len(script.received) == ATTEMPTS


@pytest.mark.anyio
async def test_a_table_that_does_not_answer_is_given_up() -> None:
    with (
        serving(Script([b"{}"], stalls=threading.Event())) as script,
        pytest.raises(ReadTimeoutError),
    ):
        await call(script, get, read_seconds=0.05)
    assert issubclass(ReadTimeoutError, BotoCoreError | OSError)


@pytest.mark.anyio
async def test_without_credentials_nothing_is_sent() -> None:
    with serving(Script([b"{}"])) as script, pytest.raises(NoCredentialsError):
        await call(script, get, credentials=None)
    assert not script.received


@pytest.mark.anyio
async def test_retries_stop_while_they_do_not_help_whoever_asks() -> None:
    async def exhausted(client: DynamoDb) -> None:
        while client._allowance.take():
            pass
        await get(client)

    with serving(Script([THROTTLED])) as script, pytest.raises(ClientError):
        await call(script, exhausted)
    assert len(script.received) == 1


def test_what_succeeds_earns_retries() -> None:
    allowance = RetryAllowance()
    taken = 0
    while allowance.take():
        taken += 1
    assert taken == 100
    allowance.refund(2)
    assert (allowance.take(), allowance.take()) == (True, False)
    for _ in range(5):
        allowance.refund(1)
    assert (allowance.take(), allowance.take()) == (True, False)
