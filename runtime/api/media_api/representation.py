"""A video as an answer: its JSON, its entity tag, and the conditions of requests on it.

An entity tag is ``"<version>-<hash>"``. The hash is of the whole answer, so that pollers learn of
progress, which is no change of the video. The version alone is what a change depends on: it rises
with every change and with nothing else. So ``If-None-Match`` compares the whole tag, and
``If-Match`` its version: a client may change what it has read although the progress has moved since
then, and may not although only a title was changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from starlette.responses import Response

from media_api.models import PublicVideoBody, VideoBody, public_video_body, video_body
from media_platform.contract.run import Run
from media_platform.contract.video import Video

REVALIDATED = "private, no-cache"
"""``Cache-Control`` of what belongs to a caller and may change."""

_STRONG_TAG = re.compile(r'(?<![^\s,])"(\d{1,18})(?:-[0-9a-f]+)?"')


@dataclass(frozen=True)
class Representation:
    """A video as it is sent.

    Attributes:
        content: The body.
        entity_tag: Its entity tag, strong.
    """

    content: bytes
    entity_tag: str

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer that carries it: who keeps it asks again."""
        return [
            *json_headers(self.content),
            (b"cache-control", REVALIDATED.encode()),
            (b"etag", self.entity_tag.encode()),
        ]


class PreparedResponse(Response):
    """An answer that was made before; equal ones have the same, but for the id of the request.

    Args:
        content: The body.
        headers: All headers that it brings along; they are only read.
    """

    def __init__(self, content: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        # What else the base does was done when they were made.
        self.status_code = 200
        self.background = None
        self.body = content
        self.raw_headers = headers


def json_headers(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that every body of JSON has."""
    return [
        (b"content-length", str(len(content)).encode()),
        (b"content-type", b"application/json"),
    ]


@dataclass(frozen=True, kw_only=True)
class VideoView:
    """A video with what its runs add.

    Attributes:
        video: The video.
        run: Its current run, if a worker took it.
        next_run: The run that will replace it, if a worker took it.
        of_tenant: Whether the viewer is of its tenant, and sees more than what is PUBLIC.
        may_change: Whether the viewer may change it, and sees its rules.
    """

    video: Video
    run: Run | None = None
    next_run: Run | None = None
    of_tenant: bool = True
    may_change: bool = False

    @cached_property
    def representation(self) -> Representation:
        """The video as it is sent; made once for as long as the view is kept."""
        body = body_of(self).model_dump_json().encode()
        digest = hashlib.sha256(body).hexdigest()[:16]
        return Representation(body, f'"{self.video.version}-{digest}"')


def body_of(view: VideoView) -> VideoBody | PublicVideoBody:
    """Return a video as its viewer sees it."""
    if not view.of_tenant:
        return public_video_body(view.video, view.run)
    return video_body(view.video, view.run, view.next_run, with_rules=view.may_change)


def is_known(if_none_match: str | None, entity_tag: str) -> bool:
    """Tell whether ``If-None-Match`` names an entity tag (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    given = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in given or entity_tag in given


def is_expected(if_match: str | None, version: int) -> bool:
    """Tell whether ``If-Match`` is absent, ``*``, or names a version (RFC 9110, section 13.1.1).

    Weak tags never match.
    """
    if if_match is None or if_match.strip() == "*":
        return True
    return str(version) in _STRONG_TAG.findall(if_match)
