"""One request to an endpoint that may be anything: real sockets, real TLS, hostile answers."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media_platform.contract.webhook_urls import Address, parse_networks
from tests.unit.lambdas.webhook_receiver import (
    Behaviour,
    Receiver,
    answer,
    hang,
    hang_up,
    make_certificate,
    never_end,
    serving,
    trickle,
)
from webhook_dispatch.sender import READ_BYTES, Answer, Sender

LOOPBACK = parse_networks("127.0.0.0/8")
HEADERS = {"Webhook-Id": "1", "Connection": "close"}
NAME = "hooks.example.com"
SHORT_SECONDS = 1


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_certificate(tmp_path_factory.mktemp("tls"), NAME)


def leads_to(*addresses: str) -> Callable[[str, int], list[Address]]:
    return lambda _host, _port: [ipaddress.ip_address(text) for text in addresses]


def send(receiver: Receiver, path: str = "/hook") -> Answer:
    sender = Sender(LOOPBACK, total_seconds=SHORT_SECONDS)
    return sender.send(receiver.url(path), b'{"a": 1}', HEADERS)


def test_a_request_arrives_as_it_was_sent(receiver: Receiver) -> None:
    sent = send(receiver, "/hook?a=b")
    assert (sent.status_code, sent.error) == (200, None)
    (came,) = receiver.received("/hook?a=b")
    assert came.body == b'{"a": 1}'
    assert came.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert came.headers["Webhook-Id"] == "1"


@pytest.mark.parametrize("status", [200, 204, 299, 300, 304, 400, 404, 410, 429, 500, 503])
def test_every_status_is_an_answer(receiver: Receiver, status: int) -> None:
    receiver.tell("/hook", answer(status))
    assert send(receiver).status_code == status


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("9" * 40, 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 86_400),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_what_an_endpoint_asks_for_is_read(
    receiver: Receiver, text: str, seconds: int | None
) -> None:
    receiver.tell("/hook", answer(503, **{"Retry-After": text}))
    sent = send(receiver)
    assert (sent.status_code, sent.retry_after_seconds) == (503, seconds)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.tell("/hook", answer(status, Location=receiver.url("/elsewhere")))
    assert send(receiver).status_code == status
    assert receiver.received("/elsewhere") == []


def test_the_beginning_of_an_answer_is_kept(receiver: Receiver) -> None:
    receiver.tell("/hook", answer(500, b"it hurts\xff"))
    assert send(receiver).response == "it hurts�"
    receiver.tell("/hook", answer(200, b"x" * (8 * READ_BYTES)))
    sent = send(receiver)
    assert (sent.status_code, len(sent.response)) == (200, 1024)


@pytest.mark.parametrize("behaviour", [hang, trickle])
def test_an_answer_that_takes_too_long_is_none(receiver: Receiver, behaviour: Behaviour) -> None:
    receiver.tell("/hook", behaviour)
    sent = send(receiver)
    assert (sent.status_code, sent.error) == (None, "no answer within 1 s")


def test_a_status_counts_although_the_body_never_ends(receiver: Receiver) -> None:
    receiver.tell("/hook", never_end)
    assert send(receiver).status_code == 200


def test_a_connection_that_is_closed_is_no_answer(receiver: Receiver) -> None:
    receiver.tell("/hook", hang_up)
    assert send(receiver).error == "the answer is not HTTP: RemoteDisconnected"


def test_nobody_there_is_an_error_in_words() -> None:
    with serving() as receiver:
        pass
    assert send(receiver).error == "Connection refused"


def test_a_name_that_leads_inside_gets_nothing(receiver: Receiver) -> None:
    """By the resolver of the system, as an attacker's name would."""
    sender = Sender(())
    sent = sender.send(f"https://localhost:{receiver.port}/hook", b"{}", HEADERS)
    assert sent.status_code is None
    assert sent.error is not None
    assert "which is not a public address" in sent.error
    assert receiver.received("/hook") == []


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("::1",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("8.8.8.8", "127.0.0.1"),
        ("127.0.0.1", "8.8.8.8"),
        ("169.254.169.254",),
    ],
)
def test_any_address_that_is_not_public_refuses_the_name(addresses: tuple[str, ...]) -> None:
    sent = Sender((), resolve=leads_to(*addresses)).send(f"https://{NAME}/", b"{}", HEADERS)
    assert sent.error is not None
    assert sent.error.startswith(f"nothing was sent: {NAME} leads to ")


def test_a_literal_is_judged_without_a_resolver(receiver: Receiver) -> None:
    sent = Sender(()).send(receiver.url("/hook").replace("http:", "https:"), b"{}", HEADERS)
    assert sent.error is not None
    assert sent.error.startswith("nothing was sent: 127.0.0.1 leads to 127.0.0.1")
    assert receiver.received("/hook") == []


def test_a_name_that_leads_nowhere_is_an_error() -> None:
    def fail(_host: str, _port: int) -> list[Address]:
        raise OSError("no such name")

    assert Sender((), resolve=fail).send(f"https://{NAME}/", b"{}", HEADERS).error == (
        "the name leads to no address"
    )


def test_the_connection_is_pinned_and_still_says_the_name(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name does not exist; only the one look-up, which a second would not repeat, leads on."""
    authority, tls = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    said: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: said.append(name)
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[Address]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1" if len(asked) == 1 else "169.254.169.254")]

    with serving(tls) as receiver:
        sender = Sender(LOOPBACK, resolve=resolve)
        sent = sender.send(receiver.url("/hook", NAME), b"{}", HEADERS)
        assert (sent.status_code, sent.error) == (200, None)
        (came,) = receiver.received("/hook")
        assert came.headers["Host"] == f"{NAME}:{receiver.port}"
    assert asked == [NAME]
    assert said == [NAME]


def test_a_certificate_of_another_name_is_refused(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with serving(tls) as receiver:
        sender = Sender(LOOPBACK, resolve=leads_to("127.0.0.1"))
        sent = sender.send(receiver.url("/hook", "other.example.com"), b"{}", HEADERS)
        assert sent.error is not None
        assert sent.error.startswith("the certificate is not accepted: Hostname mismatch")
        assert receiver.received("/hook") == []


def test_a_certificate_of_an_unknown_authority_is_refused(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    with serving(certificate[1]) as receiver:
        sender = Sender(LOOPBACK, resolve=leads_to("127.0.0.1"))
        sent = sender.send(receiver.url("/hook", NAME), b"{}", HEADERS)
        assert sent.error is not None
        assert sent.error.startswith("the certificate is not accepted: ")
        assert receiver.received("/hook") == []


def test_a_slow_endpoint_holds_up_no_other(receiver: Receiver) -> None:
    receiver.tell("/slow", hang)
    sender = Sender(LOOPBACK, total_seconds=60)
    slow = threading.Thread(
        target=sender.send, args=(receiver.url("/slow"), b"{}", HEADERS), daemon=True
    )
    slow.start()
    assert sender.send(receiver.url("/hook"), b"{}", HEADERS).status_code == 200
    assert slow.is_alive()
