"""Calls of AWS with limits: how long one waits, and what is said of a service that does not answer.

botocore alone waits for the next byte, again and again, and its errors name neither service nor
region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from urllib3.exceptions import NameResolutionError

from mediactl import output
from mediactl.limits import BLOCK_SECONDS, Limits, NoAnswerError, is_hurried, within

_LONGER = {"FilterLogEvents": 10.0, "Invoke": 50.0, "ReceiveMessage": 20.0}
"""Seconds that an operation may take beyond others: it searches, computes, or waits by itself."""

_told: set[tuple[str, str]] = set()
"""Services and regions of which the person was told that they are waited for."""


@dataclass(frozen=True)
class NoAnswer:
    """What did not answer, and how.

    Attributes:
        service: The service, as AWS calls it.
        region: Its region.
        why: What was seen in place of an answer, and where.
    """

    service: str
    region: str
    why: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.service} in {self.region} does not answer: {self.why}"


def no_answer(error: BaseException) -> NoAnswer | None:
    """Return what did not answer, ``None`` if an error says something else."""
    found: NoAnswer | None = getattr(error, "no_answer", None)
    return found


def limited(limits: Limits, **settings: Any) -> Config:
    """Return the configuration of a client that :func:`hold` is to hold to limits.

    Args:
        limits: The limits.
        **settings: More of it.
    """
    return Config(
        retries={"total_max_attempts": limits.attempts, "mode": "standard"},
        connect_timeout=limits.connect_seconds,
        # Whoever calls waits for less; this ends a call for which nobody waits any more.
        read_timeout=max(BLOCK_SECONDS, limits.answer_seconds),
        **settings,
    )


def hold(client: Any, limits: Limits) -> None:
    """Hold a client to limits.

    Args:
        client: The client, made with the configuration of :func:`limited`.
        limits: The limits.
    """
    calls = _Calls(client, limits)
    client.meta.events.register("before-send", calls.send)
    # Whoever raises here is asked before botocore decides to try again.
    client.meta.events.register_first("needs-retry", calls.judge)


class _Calls:
    """The calls of a client."""

    def __init__(self, client: Any, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._service = str(client.meta.service_model.service_id)
        self._region = str(client.meta.region_name)

    def send(self, request: Any, event_name: str, **_: Any) -> Any:
        """Send a request, in place of botocore, and return the answer to it."""
        more = _LONGER.get(event_name.rpartition(".")[2], 0.0)
        try:
            return within(
                lambda: self._whole_answer(request),
                self._limits.answer_seconds + more,
                word_after=self._limits.word_seconds + more,
                word=lambda: self._tell(request.url),
            )
        except NoAnswerError:
            raise ReadTimeoutError(endpoint_url=request.url) from None

    def _whole_answer(self, request: Any) -> Any:
        """Return the answer to a request; botocore alone would read one that was cut off."""
        answer = self._client._endpoint.http_session.send(request)  # noqa: SLF001 - not given here
        size = answer.headers.get("content-length", "")
        is_read = request.method != "HEAD" and not request.stream_output
        if is_read and size.isdecimal() and len(answer.content) < int(size):
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer

    def judge(
        self,
        request_dict: dict[str, Any],
        attempts: int,
        operation: Any,
        caught_exception: BaseException | None,
        **_: Any,
    ) -> float | None:
        """Say of a call to which there was no answer what was asked, and end it if that took long.

        Returns:
            Seconds until it is tried again; ``None`` leaves that to botocore.
        """
        if not isinstance(caught_exception, HTTPClientError | NoConnectionError):
            return None
        seconds = self._limits.answer_seconds + _LONGER.get(operation.name, 0.0)
        why = f"{self._seen(caught_exception, seconds)} ({_origin(request_dict['url'])})"
        if attempts > 1:
            why += f", asked {attempts} times"
        found = NoAnswer(self._service, self._region, why)
        caught_exception.no_answer = found  # type: ignore[union-attr]
        self._tell(request_dict["url"])
        if not isinstance(caught_exception, ReadTimeoutError | ConnectTimeoutError):
            return None
        longest = self._limits.asked * self._limits.answer_seconds
        if attempts >= self._limits.asked or attempts * seconds >= longest or is_hurried():
            raise caught_exception
        return 0.0

    def _tell(self, url: str) -> None:
        if (self._service, self._region) not in _told:
            _told.add((self._service, self._region))
            output.say(f"waiting for {self._service} in {self._region} ({_origin(url)}) …")

    def _seen(self, error: BaseException, seconds: float) -> str:
        """Return what was seen in place of an answer."""
        cause = error.kwargs.get("error") if isinstance(error, EndpointConnectionError) else None
        if isinstance(cause, NameResolutionError):
            return "its host has no address"
        for kind, seen in (
            (ReadTimeoutError, f"nothing within {seconds:g} s"),
            (ConnectTimeoutError, f"no connection within {self._limits.connect_seconds:g} s"),
            (ConnectionClosedError, "it ended the connection"),
            (ProxyConnectionError, "the proxy cannot be reached"),
            (SSLError, "its certificate is not accepted"),
            (EndpointConnectionError, "it takes no connection"),
        ):
            if isinstance(error, kind):
                return seen
        return " ".join(str(error).split())


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
