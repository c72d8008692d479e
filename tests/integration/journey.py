"""Ways through the platform that several tests take: users, uploads, and what becomes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from waiting import eventually

from media_platform.contract.identity import EDITOR_GROUP
from mediactl.access.sessions import UserPool
from mediactl.client import MediaClient, Upload
from mediactl.environment import Environment

FINAL = {"READY", "FAILED", "DELETED"}


@dataclass(frozen=True)
class Person:
    """A user who signed in."""

    client: MediaClient
    token: str
    base_url: str

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Call the API with the person's token."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return send(method, self.base_url + path, headers=headers, **options)

    def create(self, content: bytes, **changes: Any) -> tuple[dict[str, Any], Upload]:
        """Create a video for ``content``, which is small enough for one PUT."""
        values = {
            "title": "A film",
            "file_name": "film.mp4",
            "content_type": "video/mp4",
            "size_bytes": len(content),
        }
        video, upload = self.client.create({**values, **changes})
        assert isinstance(upload, Upload)
        return video, upload

    def upload(self, content: bytes, **changes: Any) -> str:
        """Create a video, send ``content``, and return the id."""
        video, upload = self.create(content, **changes)
        answer = send("PUT", upload.url, body=content, headers=upload.headers)
        assert answer.status == 200, answer.data[:300]
        return str(video["video_id"])

    def when(self, video_id: str, *statuses: str) -> dict[str, Any]:
        """Return the video as soon as it is in one of ``statuses``; in another end, fail."""

        def look() -> dict[str, Any] | None:
            video = self.client.video(video_id)
            if video["status"] in statuses:
                return video
            assert video["status"] not in FINAL, video
            return None

        return eventually(look, f"video {video_id} becomes {' or '.join(statuses)}")


def send(method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
    """Send one request, follow nothing, try once."""
    return urllib3.request(method, url, retries=False, redirect=False, timeout=60, **options)


def uploads_during(
    work: Future[Any], person: Person, content: bytes, *, every_seconds: float = 5
) -> Iterator[str]:
    """Upload ``content`` now and then until ``work`` is done; yield the ids."""
    while True:
        yield person.upload(content)
        try:
            work.result(timeout=every_seconds)
        except TimeoutError:
            continue
        return


def sign_in(platform: Environment, name: str, *, tenant: str, group: str = EDITOR_GROUP) -> Person:
    """Create a user of ``tenant`` and sign in."""
    token = UserPool.of(platform).sign_in_as(name, tenant=tenant, groups=[group])
    return Person(MediaClient(platform.base_url, token), token, platform.base_url)


def unique(base: Path, name: str, make: Callable[[Path], None]) -> bytes:
    """Return the content of a file that is made once per session."""
    path = base / hashlib.sha256(name.encode()).hexdigest()[:16]
    if not path.exists():
        make(path)
    return path.read_bytes()


@contextmanager
def relay_stopped(functions: Any) -> Iterator[None]:
    """Let a region publish nothing while the block runs: its relay is not called.

    Args:
        functions: A Lambda client of the region.
    """
    (mapping,) = [
        one
        for one in functions.list_event_source_mappings()["EventSourceMappings"]
        if ":dynamodb:" in one["EventSourceArn"]
    ]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
