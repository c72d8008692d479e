"""A platform of one video, as far as uploads need it: the API and S3 on one port, with faults."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback_server import QuietHandler, serving

PART = 64 * 1024
VIDEO = "01a00000-0000-7000-8000-000000000001"


@dataclass
class Fault:
    """What becomes of one PUT: a status, or the end of the connection after some bytes."""

    status: int = 0
    after_bytes: int | None = None


@dataclass
class Platform:
    """What it has, and what it does wrong next.

    Attributes:
        size: Size of the file of its video; above ``PART`` it goes in parts.
        parts: Parts that arrived.
        received: Bytes of all PUTs, also of those that failed.
        created: Idempotency keys of requests to create the video.
        faults: Faults of the next PUTs.
        tokens: Tokens that are accepted.
        status: Where the video stands.
        requests: Requests to the API, by method and path.
    """

    size: int = 0
    url: str = ""
    parts: dict[int, bytes] = field(default_factory=dict)
    received: int = 0
    created: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    api_faults: deque[int] = field(default_factory=deque)
    tokens: set[str] = field(default_factory=lambda: {"token"})
    status: str = "PENDING"
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def content(self) -> bytes:
        """What arrived, in order."""
        return b"".join(self.parts[number] for number in sorted(self.parts))

    def upload(self) -> dict[str, Any]:
        """Return how the file is sent."""
        if self.size <= PART:
            headers = {"Content-Length": str(self.size)}
            return {"kind": "single", "url": f"{self.url}/s3/1", "headers": headers}
        arrived = [
            {"number": number, "sha256": digest(part), "size_bytes": len(part), "etag": "e"}
            for number, part in self.parts.items()
        ]
        count = -(-self.size // PART)
        return {"kind": "multipart", "part_bytes": PART, "parts": count, "arrived": arrived}


def digest(content: bytes) -> str:
    """Return the SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


class _Handler(QuietHandler):
    platform: Platform

    def do_PUT(self) -> None:  # noqa: N802 - as http.server calls it
        """Take a part, or do what a fault says."""
        platform, number = self.platform, int(self.path.rpartition("/")[2])
        with platform.lock:
            fault = platform.faults.popleft() if platform.faults else Fault()
        length = int(self.headers["Content-Length"])
        wanted = length if fault.after_bytes is None else fault.after_bytes
        body = self.rfile.read(wanted)
        with platform.lock:
            platform.received += len(body)
        if fault.after_bytes is not None:
            self.close_connection = True
            self.connection.close()
            return
        checksum = self.headers.get("x-amz-checksum-sha256")
        status = fault.status or (400 if checksum and checksum != digest(body) else 200)
        if status == 200:
            with platform.lock:
                platform.parts[number] = body
        said = f"<Message>S3 says {status}</Message><SignatureProvided>secret</SignatureProvided>"
        self.answer(status, f"<Error><Code>Refused</Code>{said}</Error>".encode())

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        """Tell of the video or its upload."""
        self._read()
        if not self._admitted():
            return
        if self.path.endswith("/upload"):
            if self.platform.status == "PENDING":
                self._answer(200, self.platform.upload())
            else:
                self._problem(409, "not-uploading", video_status=self.platform.status)
            return
        self._answer(200, {"video_id": VIDEO, "status": self.platform.status})

    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        """Create the video, sign parts, complete or abort the upload."""
        body = self._read()
        platform = self.platform
        if not self._admitted():
            return
        if self.path == "/api/videos":
            platform.created.append(self.headers["Idempotency-Key"])
            platform.size, platform.status = body["size_bytes"], "PENDING"
            self._answer(201, {"video": {"video_id": VIDEO}, "upload": platform.upload()})
        elif self.path.endswith("/parts"):
            signed = [
                {
                    "number": part["number"],
                    "url": f"{platform.url}/s3/{part['number']}",
                    "headers": {
                        "Content-Length": str(self._length(part["number"])),
                        "x-amz-checksum-sha256": part["sha256"],
                    },
                }
                for part in body["parts"]
            ]
            self._answer(200, {"parts": signed})
        elif self.path.endswith("/complete"):
            missing = [
                n for n in range(1, -(-platform.size // PART) + 1) if n not in platform.parts
            ]
            if missing:
                self._problem(409, "upload-incomplete", missing_parts=missing)
                return
            platform.status = "UPLOADED"
            self._answer(200, {"video_id": VIDEO})
        else:
            platform.status = "FAILED"
            platform.parts.clear()
            self._answer(200, {"video_id": VIDEO})

    def _length(self, number: int) -> int:
        return min(PART, self.platform.size - (number - 1) * PART)

    def _admitted(self) -> bool:
        self.platform.requests.append((self.command, self.path))
        if self.headers["Authorization"].removeprefix("Bearer ") not in self.platform.tokens:
            self._problem(401, "unauthenticated")
            return False
        if self.platform.api_faults:
            self._problem(self.platform.api_faults.popleft(), "unavailable")
            return False
        return True

    def _read(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

    def _problem(self, status: int, kind: str, **more: Any) -> None:
        self._answer(status, {"type": f"urn:media-platform:problem:{kind}", "detail": kind, **more})

    def _answer(self, status: int, body: Any) -> None:
        self.answer(status, json.dumps(body).encode())


@contextmanager
def running_platform() -> Iterator[Platform]:
    """Run one while the block runs."""
    platform = Platform()
    with serving(type("Handler", (_Handler,), {"platform": platform})) as url:
        platform.url = url
        yield platform
