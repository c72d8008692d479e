"""A client of the video API: what a program does that signs in, uploads and plays."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import urllib3

TIMEOUT = urllib3.Timeout(connect=5, read=60)


class ApiError(Exception):
    """The API refused a request.

    Attributes:
        status: HTTP status.
        problem: The problem document (RFC 9457), or the start of whatever came instead.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        """Keep the answer; the message is its detail."""
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.status = status
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Where and how the file of a new video is sent.

    Attributes:
        url: Presigned URL, good for one PUT.
        headers: Exactly the headers that the signature binds.
    """

    url: str
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class UploadInParts:
    """How the file of a new video is sent that is too large for one PUT.

    Attributes:
        video_id: The video.
        part_bytes: Size of every part but the last.
        parts: Number of parts.
    """

    video_id: str
    part_bytes: int
    parts: int


class MediaClient:
    """Calls the API of one platform for one signed-in user.

    Args:
        base_url: The one origin that clients know, without a final slash.
        access_token: Cognito access token.
    """

    def __init__(self, base_url: str, access_token: str) -> None:
        self.base_url = base_url
        self._authorization = {"Authorization": f"Bearer {access_token}"}
        self._http = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def create_video(
        self, *, title: str, file_name: str, content_type: str, size_bytes: int
    ) -> tuple[dict[str, Any], Upload | UploadInParts]:
        """Create a video.

        Returns:
            The video, and how to send its file.

        Raises:
            ApiError: If the API refuses it.
        """
        body = {
            "title": title,
            "file_name": file_name,
            "content_type": content_type,
            "size_bytes": size_bytes,
        }
        answer = self._call("POST", "/api/videos", body)
        video, upload = answer["video"], answer["upload"]
        if upload["kind"] == "multipart":
            return video, UploadInParts(
                video_id=video["video_id"], part_bytes=upload["part_bytes"], parts=upload["parts"]
            )
        return video, Upload(url=upload["url"], headers=upload["headers"])

    def upload(
        self, upload: Upload | UploadInParts, path: Path, progress: Callable[[int], None]
    ) -> None:
        """Send a file to its presigned URLs, straight to S3.

        Args:
            upload: What :meth:`create_video` returned.
            path: The file.
            progress: Called with the number of bytes after every block that was sent.

        Raises:
            ApiError: If S3 refuses it; the problem holds the start of its answer.
        """
        if isinstance(upload, UploadInParts):
            self._upload_parts(upload, path, progress)
            return
        with path.open("rb") as file:
            self._put(upload.url, upload.headers, _blocks(file, progress))

    def _upload_parts(
        self, upload: UploadInParts, path: Path, progress: Callable[[int], None]
    ) -> None:
        """Send one part after the other, then let them become the file."""
        resource = f"/api/videos/{upload.video_id}/upload"
        with path.open("rb") as file:
            for number in range(1, upload.parts + 1):
                content = file.read(upload.part_bytes)
                wanted = {"number": number, "sha256": hashlib.sha256(content).hexdigest()}
                (part,) = self._call("POST", f"{resource}/parts", {"parts": [wanted]})["parts"]
                self._put(part["url"], part["headers"], _blocks(io.BytesIO(content), progress))
        self._call("POST", f"{resource}/complete", {})

    def _put(self, url: str, headers: dict[str, str], body: Iterator[bytes]) -> None:
        answer = self._http.request("PUT", url, body=body, headers=headers)
        if answer.status != 200:  # noqa: PLR2004
            raise ApiError(answer.status, {"detail": answer.data[:500].decode(errors="replace")})

    def video(self, video_id: str) -> dict[str, Any]:
        """Return a video.

        Raises:
            ApiError: If the API refuses it.
        """
        return self._call("GET", f"/api/videos/{video_id}")

    def playback(self, video_id: str) -> dict[str, Any]:
        """Return a grant to play a video.

        Raises:
            ApiError: If the API refuses it, with status 409 while the video is not playable.
        """
        return self._call("GET", f"/api/videos/{video_id}/playback")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.request(
            method, self.base_url + path, json=body, headers=self._authorization
        )
        try:
            content = json.loads(answer.data or b"null")
        except ValueError:
            content = {"detail": answer.data[:500].decode(errors="replace")}
        if answer.status >= 400:  # noqa: PLR2004
            raise ApiError(answer.status, content if isinstance(content, dict) else {})
        if not isinstance(content, dict):
            raise ApiError(answer.status, {"detail": "the answer is not a JSON object"})
        return content


def _blocks(file: IO[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    while block := file.read(1 << 20):
        yield block
        progress(len(block))
