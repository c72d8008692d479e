"""Who does not answer is waited for as long as is right, and named; proxies are gone by."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3
from loopback_server import QuietHandler, accepting, serving

from mediactl import aws_calls, environment, limits, main, web
from mediactl.client import MediaClient
from mediactl.environment import AwsEnvironment
from mediactl.errors import FAILED, USAGE
from mediactl.failures import explain
from mediactl.limits import AWS, Limits, NoAnswerError, patient, within
from mediactl.web import Web, proxy_of

BRIEF = Limits(answer_seconds=0.2, connect_seconds=0.2, word_seconds=0.05, attempts=2)

ENOUGH = Limits(answer_seconds=60, attempts=2)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, as often as no timeout of a socket ends it."""
    for _ in range(10_000):
        connection.sendall(b" ")
        time.sleep(0.01)


def cut_off(connection: socket.socket) -> None:
    """Begin an answer."""
    connection.sendall(HEAD + b'{"begun')


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be waited for long, and everybody be told of."""
    monkeypatch.setattr(environment, "AWS", BRIEF)
    monkeypatch.setattr(web, "PLANE", BRIEF)
    monkeypatch.setattr(aws_calls, "_told", set())
    monkeypatch.setattr(web, "_told", set())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def cloud() -> AwsEnvironment:
    """An environment in AWS."""
    return AwsEnvironment("cloud", stage="cloud", regions=("us-east-1",), app=Path())


def told(url: str, cloud: AwsEnvironment, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ask AWS at an address, and return what a person is told in the end."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - what it is, is told
        cloud.client("dynamodb").list_tables()
    assert explain(raised.value).exit_code == FAILED
    assert "MEDIACTL_ANSWER_SECONDS=60 waits longer" in str(explain(raised.value).hint)
    return str(explain(raised.value)).replace(url, "URL")


@pytest.mark.parametrize(
    ("server", "seen"),
    [
        (accepting, "nothing within 0.2 s (URL), asked 2 times"),
        (lambda: accepting(drip), "nothing within 0.2 s (URL), asked 2 times"),
        (lambda: accepting(cut_off), "it ended the connection (URL), asked 2 times"),
        (lambda: accepting(lambda _: None), "it ended the connection (URL), asked 2 times"),
    ],
    ids=["silent", "dripping", "cut off", "closed"],
)
def test_a_service_that_does_not_answer_is_named_in_a_line(
    server: Callable[[], AbstractContextManager[str]],
    seen: str,
    cloud: AwsEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with server() as url:
        said = told(url, cloud, monkeypatch)
    assert said == f"DynamoDB in us-east-1 does not answer: {seen}"
    assert capsys.readouterr().err == f"waiting for DynamoDB in us-east-1 ({url}) …\n"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://127.0.0.1:1", "it takes no connection (URL), asked 2 times"),
        ("http://nowhere.invalid", "its host has no address (URL), asked 2 times"),
    ],
)
def test_a_service_that_is_not_reached_is_named_with_the_reason(
    url: str, seen: str, cloud: AwsEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "AWS", ENOUGH)
    assert told(url, cloud, monkeypatch) == f"DynamoDB in us-east-1 does not answer: {seen}"


def test_a_service_is_asked_again_that_missed_its_time_once(
    cloud: AwsEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "AWS", replace(BRIEF, answer_seconds=2))
    late = iter([True, False])
    ended = threading.Event()

    class Late(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802  the name that the server calls
            self.rfile.read(int(self.headers["Content-Length"]))
            if next(late):
                ended.wait()
                return
            self.answer(200, b'{"TableNames": ["one"]}')

    with serving(Late) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert cloud.client("dynamodb").list_tables()["TableNames"] == ["one"]
        ended.set()


def test_what_waits_by_itself_may_take_longer(
    cloud: AwsEnvironment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Poll(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802  the name that the server calls
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(3 * BRIEF.answer_seconds)
            self.answer(200, b"{}")

    with serving(Poll) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        answer = cloud.client("sqs").receive_message(QueueUrl=f"{url}/queue", WaitTimeSeconds=1)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert capsys.readouterr().err == ""


def test_who_interrupts_a_command_need_not_wait_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "_hurried", [])
    monkeypatch.setattr(limits, "HURRY_SECONDS", 0.1)
    ended = threading.Event()
    with pytest.raises(NoAnswerError):
        # The command ends while the call waits.
        within(ended.wait, 3600, word_after=0.01, word=limits.hurry)
    assert within(lambda: "given back", 3600, word_after=1, word=limits.hurry) == "given back"
    ended.set()


def test_a_person_may_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIACTL_ANSWER_SECONDS", "60")
    assert patient(AWS).answer_seconds == 60
    assert patient(AWS).asked == AWS.asked


@pytest.mark.parametrize("given", ["x", "0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mediactl.toml").write_text('[environments.cloud]\nregions = ["us-east-1"]\n')
    monkeypatch.setenv("MEDIACTL_ANSWER_SECONDS", given)
    assert main.run(["dlq", "list", "-e", "cloud"]) == USAGE
    assert f"error: MEDIACTL_ANSWER_SECONDS is {given!r}" in capsys.readouterr().err


@pytest.mark.parametrize("act", [None, drip], ids=["silent", "dripping"])
def test_an_api_that_does_not_answer_is_named_in_a_line(
    act: Callable[[socket.socket], None] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with accepting(act) as url:
        with pytest.raises(urllib3.exceptions.HTTPError) as raised:
            MediaClient(url, "a.b.c", attempts=5).video("x")
        assert (
            str(explain(raised.value))
            == f"the platform does not answer: {url} sends nothing whole within 0.2 s"
        )
        assert capsys.readouterr().err == f"waiting for {url} …\n"


class Proxy(QuietHandler):
    """Answers with what a proxy is asked for."""

    def do_GET(self) -> None:  # noqa: N802  the name that the server calls
        """Tell the URL, and who asks."""
        asked = [self.path, self.headers.get("Proxy-Authorization")]
        self.answer(200, json.dumps({"asked": asked}).encode())


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A proxy that the person goes by."""
    with serving(Proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url.replace("//", "//ada:p%40ss@"))
        monkeypatch.setenv("NO_PROXY", "inside.example.com")
        yield url


def test_the_platform_is_asked_by_the_proxy_of_the_person(proxy: str) -> None:
    answer = MediaClient("http://video.example.com", "a.b.c").video("x")
    assert answer["asked"] == [
        "http://video.example.com/api/videos/x",
        urllib3.make_headers(proxy_basic_auth="ada:p@ss")["proxy-authorization"],
    ]
    assert json.loads(Web().request("GET", "http://x.example/").data)["asked"][0] == (
        "http://x.example/"
    )


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8", "http://localhost/x", "http://[::1]:8", "http://inside.example.com/x"],
)
def test_no_proxy_is_asked_for_what_it_does_not_reach(url: str, proxy: str) -> None:
    assert proxy_of("http://outside.example.com") is not None
    assert proxy_of(url) is None


def test_a_proxy_may_be_named_without_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url.removeprefix("http://"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert MediaClient("http://video.example.com", "a.b.c").video("x")["asked"]
