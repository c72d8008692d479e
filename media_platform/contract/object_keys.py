"""Object keys in the raw and media buckets.

Raw: ``raw/<tenant>/<user>/<video>.<extension>``.
Media: ``media/<home region>/<tenant>/<video>/<run>/...``, below which everything of one run lies,
so that one signature with a wildcard covers a whole playback; and beside the runs
``.../<video>/<thumbnail>/thumbnail.jpg``, which goes as a run does.
Pictures for thumbnails: ``thumbnails/<tenant>/<video>/<id>`` in the raw bucket, apart from the
uploads that the intake is told of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from media_platform.contract.ids import is_id
from media_platform.contract.media_types import CONTENT_TYPES

RAW_PREFIX = "raw/"
MEDIA_PREFIX = "media/"
PICTURE_PREFIX = "thumbnails/"

KEY_SEGMENT = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"
"""What a tenant or user may be called, so that keys need no escaping anywhere."""

_SEGMENT = re.compile(KEY_SEGMENT)


def is_key_segment(value: str) -> bool:
    """Tell whether ``value`` may stand between two slashes of a key."""
    return _SEGMENT.fullmatch(value) is not None and ".." not in value


@dataclass(frozen=True)
class RawKey:
    """Key of an uploaded file.

    Attributes:
        tenant: Tenant of the video.
        user: User who uploads it (the ``sub`` of the token).
        video_id: The video.
        extension: File extension without the dot, one of ``media_types.CONTENT_TYPES``.
    """

    tenant: str
    user: str
    video_id: str
    extension: str

    def __str__(self) -> str:
        """Return the key."""
        return f"{RAW_PREFIX}{self.tenant}/{self.user}/{self.video_id}.{self.extension}"

    @classmethod
    def parse(cls, key: str) -> RawKey:
        """Read a key.

        Raises:
            ValueError: If it is not the key of an upload; the message says what is wrong.
        """
        parts = key.split("/")
        if len(parts) != 4 or parts[0] + "/" != RAW_PREFIX:  # noqa: PLR2004
            raise ValueError(f"key {key!r} is not of the form raw/<tenant>/<user>/<video>.<type>")
        tenant, user = parts[1], parts[2]
        video_id, _, extension = parts[3].partition(".")
        if not (is_key_segment(tenant) and is_key_segment(user) and is_id(video_id)):
            raise ValueError(f"key {key!r} has a malformed tenant, user or video id")
        if extension not in CONTENT_TYPES:
            raise ValueError(
                f"key {key!r} ends in {extension!r}, which is none of {', '.join(CONTENT_TYPES)}"
            )
        return cls(tenant=tenant, user=user, video_id=video_id, extension=extension)


def video_prefix(region: str, tenant: str, video_id: str) -> str:
    """Return the start of the keys of everything that is published of a video.

    Args:
        region: Home region of the video.
        tenant: Tenant of the video.
        video_id: The video.
    """
    return f"{MEDIA_PREFIX}{region}/{tenant}/{video_id}/"


class RunKeys(NamedTuple):
    """Keys of one run's objects; all start with :attr:`prefix`.

    Attributes:
        region: Home region of the video.
        tenant: Tenant of the video.
        video_id: The video.
        run_id: The run.
    """

    region: str
    tenant: str
    video_id: str
    run_id: str

    @property
    def prefix(self) -> str:
        """The common start of all keys, with a slash at the end."""
        return f"{video_prefix(self.region, self.tenant, self.video_id)}{self.run_id}/"

    @property
    def master_playlist(self) -> str:
        """The HLS multivariant playlist."""
        return f"{self.prefix}{MASTER_PLAYLIST}"

    @property
    def poster(self) -> str:
        """The poster image, a JPEG."""
        return f"{self.prefix}{POSTER}"

    @property
    def dash_manifest(self) -> str:
        """The DASH manifest."""
        return f"{self.prefix}{DASH_MANIFEST}"

    def storyboard(self, name: str) -> str:
        """Return a file of the storyboard: the WebVTT index or a sheet of pictures."""
        return f"{self.prefix}{STORYBOARD_FOLDER}/{name}"

    def download(self, height: int) -> str:
        """Return the progressive MP4 with ``height`` lines."""
        return f"{self.prefix}download/{height}p.mp4"

    def playlist(self, track: str) -> str:
        """Return the media playlist of a track, e.g. ``v720`` or ``audio``."""
        return f"{self.prefix}{track}/{MEDIA_PLAYLIST}"

    def key_frame_playlist(self, track: str) -> str:
        """Return the playlist of the key frames of a track, for seeking with pictures."""
        return f"{self.prefix}{track}/{KEY_FRAME_PLAYLIST}"

    def init(self, track: str, name: str) -> str:
        """Return an init segment of a track; its name tells its content."""
        return f"{self.prefix}{track}/{name}"

    def segment(self, track: str, attempt: int, name: str) -> str:
        """Return a write-once object of a track.

        Args:
            track: The track, e.g. ``v720`` or ``audio``.
            attempt: Attempt of the part that writes it; a late zombie writes elsewhere.
            name: File name, e.g. ``000001.m4s``.
        """
        return f"{self.prefix}{track}/{attempt}/{name}"


def picture_key(tenant: str, video_id: str, upload_id: str) -> str:
    """Return the key, in the raw bucket, of a picture that is uploaded for a thumbnail."""
    return f"{PICTURE_PREFIX}{tenant}/{video_id}/{upload_id}"


def thumbnail_key(region: str, tenant: str, video_id: str, thumbnail_id: str) -> str:
    """Return the key, in the media bucket, of a chosen thumbnail; it is written once, a JPEG."""
    return f"{video_prefix(region, tenant, video_id)}{thumbnail_id}/{THUMBNAIL}"


def thumbnail_of_key(key: str) -> str:
    """Return the id of the thumbnail of which :func:`thumbnail_key` made a key."""
    return key.split("/")[-2]


def region_of_key(key: str) -> str:
    """Return the region in a key of the media bucket."""
    return key.split("/")[1]


REPLICATE_TAG = "replicate"
"""Tag of the objects below ``media/`` that S3 copies to other regions.

Rules of replication choose by what an object has, never by what it lacks; so what is final carries
the tag from its first byte on, and a playlist that still grows does not.
"""

REPLICATE_VALUE = "yes"
"""Value of that tag."""

REPLICATE_TAGGING = f"{REPLICATE_TAG}={REPLICATE_VALUE}"
"""The ``Tagging`` of ``PutObject`` and ``CreateMultipartUpload`` for such an object."""

EMPTIED_TAG = "media-platform-emptied-on-removal"
"""Tag of buckets whose content goes with them."""

MASTER_PLAYLIST = "master.m3u8"
MEDIA_PLAYLIST = "playlist.m3u8"
KEY_FRAME_PLAYLIST = "keyframes.m3u8"
DASH_MANIFEST = "manifest.mpd"
POSTER = "poster.jpg"
THUMBNAIL = "thumbnail.jpg"
STORYBOARD_FOLDER = "storyboard"
STORYBOARD_INDEX = "storyboard.vtt"


def audio_track(number: int) -> str:
    """Return the track of the audio rendition with ``number``, from 0."""
    return f"audio{number}" if number else "audio"


def text_track(number: int) -> str:
    """Return the track of the subtitles with ``number``, from 0."""
    return f"text{number}"


def video_track(height: int) -> str:
    """Return the track of the rendition with ``height`` lines."""
    return f"v{height}"
