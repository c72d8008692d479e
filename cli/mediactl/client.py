"""A client of the video API: what a program does that signs in, uploads and plays."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import urllib3

from media_platform.contract.ids import new_id
from mediactl.limits import CONNECT_SECONDS
from mediactl.web import LateError, Web, in_time, limits_of

SENDING_TIMEOUT = urllib3.Timeout(connect=CONNECT_SECONDS, read=120)
"""Longest wait for a block to leave, and for the answer: a slow line holds much that was sent."""

TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed a moment later."""

CONNECTIONS = 64
"""Most connections to one host that are kept open."""

_MAKES_FILE_SECONDS = 50.0
"""Seconds beyond others that S3 may take to make a file of its parts (a CloudFront distribution
waits for 60 at most)."""

_UNAUTHENTICATED = 401
_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0


class ApiError(Exception):
    """The API, or S3 behind a URL that it signed, refused a request.

    Attributes:
        status: HTTP status.
        problem: The problem document (RFC 9457), or the start of whatever came instead.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        """Keep the answer; the message is its detail."""
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.status = status
        self.problem = problem

    @property
    def kind(self) -> str:
        """What the type of the problem ends in, e.g. ``quota-exceeded``."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class Tokens:
    """Access tokens of one user, which threads share.

    Args:
        renew: Returns a new token; called when there is none yet, and when one is refused.
    """

    def __init__(self, renew: Callable[[], str]) -> None:
        self._renew = renew
        self._token: str | None = None
        self._lock = threading.Lock()

    def current(self) -> str:
        """Return the token to send."""
        with self._lock:
            if self._token is None:
                self._token = self._renew()
            return self._token

    def after(self, refused: str) -> str:
        """Return the token to send after one was refused; it is made once, whoever asks."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = self._renew()
            return self._token


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Where and how a file is sent with one PUT.

    Attributes:
        url: Presigned URL, good for one PUT.
        headers: Exactly the headers that the signature binds.
    """

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class UploadInParts:
    """How a file is sent that is too large for one PUT.

    Attributes:
        part_bytes: Size of every part but the last.
        parts: Number of parts.
        arrived: SHA-256 in base64 of the parts that S3 has, by number.
    """

    part_bytes: int
    parts: int
    arrived: dict[int, str] = field(default_factory=dict)


class MediaClient:
    """Calls the API of one platform for one signed-in user; threads may share it.

    Args:
        base_url: The one origin that clients know, without a final slash.
        access_token: Cognito access token, or what makes new ones when one has expired.
        headers: Sent with every request to the API. Default: none.
        attempts: How often a request is sent, in all, while the API does not answer or says that
            it cannot just now. Default: once.
    """

    def __init__(
        self,
        base_url: str,
        access_token: str | Tokens,
        *,
        headers: Mapping[str, str] | None = None,
        attempts: int = 1,
    ) -> None:
        self.base_url = base_url
        tokens = access_token
        self._tokens = tokens if isinstance(tokens, Tokens) else Tokens(lambda: tokens)
        self._headers = dict(headers or {})
        self._attempts = attempts
        self._asked = limits_of(base_url).asked
        self._http = Web(CONNECTIONS)

    def create(
        self, body: Mapping[str, Any], *, key: str | None = None
    ) -> tuple[dict[str, Any], Upload | UploadInParts | None]:
        """Create a video, and return it with how to send its file; ``None`` if none is needed.

        Args:
            body: The fields, as ``docs/api.md`` lists them.
            key: Idempotency key: with the same, the same body is done once. Default: one that holds
                for the attempts of this call.

        Raises:
            ApiError: If the API refuses it.
        """
        headers = {"Idempotency-Key": key} if key else None
        answer = self.call("POST", "/api/videos", body, headers=headers)
        upload = answer["upload"]
        return answer["video"], None if upload is None else _upload_of(upload)

    def upload_of(self, video_id: str) -> Upload | UploadInParts:
        """Return how the file of a video is sent, and what of it arrived.

        Raises:
            ApiError: If the API refuses it, with status 409 if the video waits for no file.
        """
        return _upload_of(self.call("GET", f"/api/videos/{video_id}/upload"))

    def sign_parts(self, video_id: str, digests: Mapping[int, str]) -> dict[int, Upload]:
        """Return where parts of a file are sent, by number.

        Args:
            video_id: The video.
            digests: SHA-256 of the parts in base64, by number; at most 100.

        Raises:
            ApiError: If the API refuses it.
        """
        wanted = [{"number": number, "sha256": sha256} for number, sha256 in digests.items()]
        path = f"/api/videos/{video_id}/upload/parts"
        answer = self.call("POST", path, {"parts": wanted}, repeatable=True)
        return {
            part["number"]: Upload(url=part["url"], headers=part["headers"])
            for part in answer["parts"]
        }

    def complete_upload(self, video_id: str) -> dict[str, Any]:
        """Make the file of its parts, and return the video; it may be repeated.

        Raises:
            ApiError: If the API refuses it, with status 409 if parts are missing.
        """
        path = f"/api/videos/{video_id}/upload/complete"
        return self.call("POST", path, {}, repeatable=True, more_seconds=_MAKES_FILE_SECONDS)

    def abort_upload(self, video_id: str) -> dict[str, Any]:
        """Give the upload of a video up, and return the video; it may be repeated.

        Raises:
            ApiError: If the API refuses it, with status 409 once the file is there.
        """
        return self.call("POST", f"/api/videos/{video_id}/upload/abort", {}, repeatable=True)

    def put(self, upload: Upload, body: Iterator[bytes]) -> None:
        """Send a file, or a part of one, straight to S3, once.

        Args:
            upload: Where to.
            body: Its bytes.

        Raises:
            ApiError: If S3 refuses it.
        """
        answer = self._http.request(
            "PUT", upload.url, body=body, headers=upload.headers, timeout=SENDING_TIMEOUT
        )
        if answer.status != 200:  # noqa: PLR2004
            raise ApiError(answer.status, {"detail": storage_refusal(answer.data)})

    def video(self, video_id: str) -> dict[str, Any]:
        """Return a video.

        Raises:
            ApiError: If the API refuses it.
        """
        return self.call("GET", f"/api/videos/{video_id}")

    def playback(self, video_id: str) -> dict[str, Any]:
        """Return a grant to play a video.

        Raises:
            ApiError: If the API refuses it, with status 409 while the video is not playable.
        """
        return self.call("GET", f"/api/videos/{video_id}/playback")

    def listed(
        self, path: str, what: str, query: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Go through a list, page by page; a page may be short and not be the last.

        Args:
            path: Path, from ``/api``.
            what: What the pages call their entries.
            query: Parameters. Default: none.

        Raises:
            ApiError: If the API refuses it.
        """
        cursor = None
        while True:
            page = self.call("GET", path, query={**(query or {}), "cursor": cursor})
            yield from page[what]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        more_seconds: float = 0,
    ) -> dict[str, Any]:
        """Call the API, and return what it answers: an empty object if that is nothing.

        A token that has expired meanwhile is replaced. A POST that is sent again carries a key, so
        that what was done by the first is not done twice.

        Args:
            method: HTTP method.
            path: Path, from ``/api``.
            body: What is sent, as JSON. Default: nothing.
            query: Parameters; those that are ``None`` are left out. Default: none.
            headers: More headers. Default: none.
            repeatable: Whether a POST may be repeated by itself, and needs no key.
            more_seconds: How long it may take beyond others.

        Raises:
            ApiError: If the API refuses it.
            urllib3.exceptions.HTTPError: If it does not answer.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.base_url}{path}{f'?{urlencode(given)}' if given else ''}"
        sent = {**self._headers, **(headers or {})}
        if method == "POST" and not repeatable and self._attempts > 1:
            sent.setdefault("Idempotency-Key", new_id())
        pauses = backoff(self._attempts)
        late = 0
        while True:
            pause = next(pauses, None)
            try:
                answer = self._authorized(method, url, body, sent, more_seconds)
            except urllib3.exceptions.HTTPError as error:
                late += isinstance(error, LateError)
                if pause is None or late == self._asked:
                    raise
            else:
                if answer.status not in TRANSIENT or pause is None:
                    return _content(answer)
                pause = max(pause, _retry_after(answer))
            time.sleep(pause)

    def _authorized(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        more_seconds: float,
    ) -> urllib3.BaseHTTPResponse:
        def send(token: str) -> urllib3.BaseHTTPResponse:
            sent = {"Authorization": f"Bearer {token}", **headers}
            return in_time(
                lambda: self._http.request(method, url, json=body, headers=sent),
                url,
                more=more_seconds,
            )

        token = self._tokens.current()
        answer = send(token)
        if answer.status == _UNAUTHENTICATED:
            renewed = self._tokens.after(token)
            if renewed != token:
                return send(renewed)
        return answer


def storage_refusal(content: bytes) -> str:
    """Return why S3 or the distribution refuses something.

    The rest of such an answer is left out: it repeats the signature.
    """
    text = content.decode(errors="replace")
    code, message = (re.search(rf"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message"))
    if code is None:
        return "the storage refuses it without saying why"
    return f"the storage says {code[1]}{f': {message[1]}' if message else ''}"


def backoff(attempts: int) -> Iterator[float]:
    """Return the seconds to wait between attempts, of which there is one more.

    They double, and are drawn, so that many who failed together do not come back together.

    Args:
        attempts: Number of attempts.
    """
    for attempt in range(attempts - 1):
        longest = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**attempt)
        yield longest * random.uniform(0.5, 1)  # noqa: S311


def _retry_after(answer: urllib3.BaseHTTPResponse) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_SECONDS) if text.isdecimal() else 0.0


def _content(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    try:
        content = json.loads(answer.data or b"{}")
    except ValueError:
        content = {"detail": answer.data[:500].decode(errors="replace")}
    if answer.status >= 400:  # noqa: PLR2004
        raise ApiError(answer.status, content if isinstance(content, dict) else {})
    if not isinstance(content, dict):
        raise ApiError(answer.status, {"detail": "the answer is not a JSON object"})
    return content


def _upload_of(body: Mapping[str, Any]) -> Upload | UploadInParts:
    if body["kind"] == "multipart":
        return UploadInParts(
            part_bytes=body["part_bytes"],
            parts=body["parts"],
            arrived={part["number"]: part["sha256"] or "" for part in body["arrived"]},
        )
    return Upload(url=body["url"], headers=body["headers"])
