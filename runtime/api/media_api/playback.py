"""Who may play what, and the playlists of players without cookies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
from botocore.exceptions import ClientError

from media_api import playlists
from media_api.aws import error_code
from media_api.delivery import Delivery, DeliveryUnavailableError
from media_api.documents import fetch_document
from media_api.logs import log
from media_api.models import is_playable
from media_api.problems import Kind, Problem, unavailable
from media_api.rules import Client, admit
from media_api.signing import (
    Grant,
    PlaybackSigner,
    SignatureRefusedError,
    expiry,
    read_parameters,
    time_of,
)
from media_api.tokens import Caller
from media_api.videos import Videos
from media_api.views import Views
from media_platform.contract.object_keys import MASTER_PLAYLIST, RunKeys
from media_platform.contract.video import Video, VideoStatus

_RETRY_SECONDS = 10
_LARGEST_PLAYLIST_BYTES = 4 * 1024**2
_LONGEST_CACHE_SECONDS = 3600

_REMEDIES: dict[VideoStatus, str] = {
    VideoStatus.PENDING: "upload its file to the URL that its creation returned",
    VideoStatus.UPLOADED: "wait until its first seconds are encoded, and ask again",
    VideoStatus.PROCESSING: "wait until its first seconds are encoded, and ask again",
    VideoStatus.FAILED: "see its failure, and create a new video with a corrected file",
}


class Admission(NamedTuple):
    """What somebody may play, and how it is signed.

    Attributes:
        video: The video.
        keys: The run that viewers have.
        signer: Signs.
        expires_at: Unix seconds at which signatures end.
        source_range: Addresses for which they hold. ``None``: any.
    """

    video: Video
    keys: RunKeys
    signer: PlaybackSigner
    expires_at: int
    source_range: str | None

    @property
    def expires(self) -> str:
        """The time at which signatures end (RFC 3339, UTC)."""
        return time_of(self.expires_at)

    def url(self, key: str) -> str:
        """Return the URL of one published object, signed for it alone."""
        return self.signer.url(key, self.expires_at, self.source_range)


class Playback(NamedTuple):
    """A granted playback.

    Attributes:
        video: The video.
        grant: The signed permission.
        poster_url: The chosen thumbnail, or the poster of the run; signed.
    """

    video: Video
    grant: Grant
    poster_url: str


@dataclass(frozen=True)
class SignedUrl:
    """The signed URL of one object.

    Attributes:
        url: The URL.
        expires_at: Unix seconds at which it ends.
    """

    url: str
    expires_at: int


@dataclass(frozen=True)
class SignedPlaylist:
    """A playlist whose URIs need no cookies.

    Attributes:
        text: The playlist.
        cache_seconds: How long a player may keep it; 0 for one that still grows.
    """

    text: str
    cache_seconds: int


class PlaybackService:
    """Grants playback and serves signed playlists.

    Args:
        videos: The videos.
        delivery: Knows where and with which key playback is signed.
        views: Counts what is granted.
        s3: An S3 client.
        http: Asks the distribution for what the bucket has no copy of.
        region: The region of the bucket.
        media_bucket: Bucket that holds what workers publish.
        lifetime_seconds: Shortest lifetime of a signature.
        clock: Unix seconds. Default: the system's.
    """

    def __init__(
        self,
        videos: Videos,
        delivery: Delivery,
        views: Views,
        s3: Any,
        http: aiohttp.ClientSession,
        *,
        region: str,
        media_bucket: str,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._videos = videos
        self._delivery = delivery
        self._views = views
        self._s3 = s3
        self._http = http
        self._region = region
        self._media_bucket = media_bucket
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock

    async def grant(self, viewer: Caller | None, video_id: str, client: Client) -> Playback:
        """Grant the playback of a video, which counts as a view.

        Args:
            viewer: Who asks. ``None``: somebody who is not signed in.
            video_id: The video.
            client: Where the request comes from, for the rules of the video.

        Raises:
            Problem: If the viewer may not see it, a rule of it forbids it, it cannot be played yet,
                or the distribution is not known yet.
        """
        admission = await self.admit(viewer, video_id, client)
        video, signer = admission.video, admission.signer
        expires_at, source_range = admission.expires_at, admission.source_range
        grant = signer.grant(admission.keys, expires_at, source_range)
        self._views.count(video.tenant, video_id)
        poster_url = grant.url(admission.keys.poster)
        if video.thumbnail is not None:
            # A thumbnail lies beside the runs, and has a signature of its own.
            poster_url = admission.url(video.thumbnail)
        return Playback(video, grant, poster_url)

    async def admit(self, viewer: Caller | None, video_id: str, client: Client) -> Admission:
        """Decide who may play what, which is what everything is signed by.

        Args:
            viewer: Who asks. ``None``: somebody who is not signed in.
            video_id: The video.
            client: Where the request comes from, for the rules of the video.

        Raises:
            Problem: If the viewer may not see it, a rule of it forbids it, it cannot be played yet,
                or the distribution is not known yet.
        """
        view = await self._videos.get(viewer, video_id)
        video, run = view.video, view.run
        source_range, longest_seconds = None, None
        if video.rules is not None:
            source_range = admit(video_id, video.rules, client)
            longest_seconds = video.rules.max_seconds
        if not is_playable(video, run) or video.current_run is None:
            raise Problem(
                Kind.NOT_PLAYABLE,
                f"video {video_id} is {video.status} and cannot be played; "
                f"{_REMEDIES.get(video.status, 'ask again later')}",
                video_status=video.status.value,
            )
        try:
            signer = await self._delivery.signer()
        except DeliveryUnavailableError:
            raise _no_delivery() from None
        keys = RunKeys(video.media_region, video.tenant, video.video_id, video.current_run)
        expires_at = expiry(self._clock(), self._lifetime_seconds, longest_seconds)
        return Admission(video, keys, signer, expires_at, source_range)

    async def views(self, caller: Caller, video_id: str) -> int:
        """Return how often playback of a video was granted.

        Raises:
            Problem: If the caller may not see it.
        """
        await self._videos.get(caller, video_id)
        return await self._views.total(video_id)

    async def sign(self, key: str) -> SignedUrl:
        """Return the URL of one published object, signed for it alone.

        Raises:
            DeliveryUnavailableError: If the distribution is not known yet.
        """
        signer = await self._delivery.signer()
        expires_at = expiry(self._clock(), self._lifetime_seconds)
        return SignedUrl(signer.url(key, expires_at), expires_at)

    async def playlist(
        self,
        video_id: str,
        run_id: str,
        path: str,
        parameters: Mapping[str, list[str]],
        *,
        address: str | None,
    ) -> SignedPlaylist:
        """Return a playlist of a run to whoever holds the signature of the run.

        The signature is the whole authorization, as it is at the distribution: what it admits was
        decided when it was made.

        Args:
            video_id: The video.
            run_id: The run.
            path: Path of the playlist below the prefix of the run.
            parameters: Query parameters of the request.
            address: IP address of who asks.

        Raises:
            Problem: If the signature does not admit it, or there is no such playlist.
        """
        try:
            grant = await self._verify(video_id, run_id, parameters, address)
        except SignatureRefusedError as error:
            raise Problem(
                Kind.INVALID_SIGNATURE,
                f"{error}; get a new one at /api/videos/<video id>/playback",
            ) from None
        except DeliveryUnavailableError:
            raise _no_delivery() from None
        if not playlists.is_playlist_path(path):
            raise _no_playlist(path)
        text = await self._read(grant.keys, path)
        folder = playlists.folder_of(path)
        try:
            playlist = playlists.rewrite(text, lambda uri: _address(grant, folder + uri))
        except playlists.PlaylistError as error:
            log.error("malformed_playlist", key=grant.keys.prefix + path, error=str(error))
            raise Problem(
                Kind.INTERNAL,
                "the stored playlist is malformed; name the request_id when you ask for help",
            ) from None
        if playlist.kind is playlists.Kind.GROWING:
            return SignedPlaylist(playlist.text, 0)
        left = max(0, int(grant.expires_at - self._clock()))
        return SignedPlaylist(playlist.text, min(left, _LONGEST_CACHE_SECONDS))

    async def _verify(
        self,
        video_id: str,
        run_id: str,
        parameters: Mapping[str, list[str]],
        address: str | None,
    ) -> Grant:
        policy, signature, key_pair_id = read_parameters(parameters)
        signer = await self._delivery.signer_of(key_pair_id)
        grant = signer.verify(policy, signature, now=self._clock(), address=address)
        if (grant.keys.video_id, grant.keys.run_id) != (video_id, run_id):
            raise SignatureRefusedError("the playback signature is one of another video or run")
        return grant

    async def _read(self, keys: RunKeys, path: str) -> str:
        """Return a playlist of a run.

        Raises:
            Problem: If there is none.
        """
        key = keys.prefix + path
        content = await self._held(key, path)
        if content is None and keys.region != self._region:
            # It still grows, or is older than this region, or its copy is on the way.
            content = await self._delivered(key)
        if content is None:
            raise _no_playlist(path)
        return content.decode()

    async def _held(self, key: str, path: str) -> bytes | None:
        """Return an object of the bucket of this region, ``None`` if it has none."""
        try:
            answer = await self._s3.get_object(Bucket=self._media_bucket, Key=key)
            async with answer["Body"] as body:
                if answer["ContentLength"] > _LARGEST_PLAYLIST_BYTES:
                    raise _no_playlist(path)
                content: bytes = await body.read()
        except ClientError as error:
            code = error_code(error)
            if code not in {"NoSuchKey", "AccessDenied"}:
                raise
            if code == "AccessDenied":
                # S3 says this of a missing key too, to a role that may not list the bucket.
                log.warning("playlist_denied", key=key)
            return None
        return content

    async def _delivered(self, key: str) -> bytes | None:
        """Return an object as viewers get it, ``None`` if it cannot be had."""
        try:
            signed = await self.sign(key)
            return await fetch_document(self._http, signed.url, most_bytes=_LARGEST_PLAYLIST_BYTES)
        except (DeliveryUnavailableError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("playlist_not_delivered", key=key, error=repr(error))
            return None


def _address(grant: Grant, path: str) -> str:
    """Return the address of a file of the run: playlists through here, media from the edge."""
    if playlists.is_playlist_path(path):
        return f"{_playlist_path(grant.keys, path)}?{grant.query}"
    return f"/{grant.keys.prefix}{path}?{grant.query}"


def signed_playlist_url(grant: Grant) -> str:
    """Return the multivariant playlist that needs no cookies."""
    return f"{grant.base_url}{_playlist_path(grant.keys, MASTER_PLAYLIST)}?{grant.query}"


def _playlist_path(keys: RunKeys, path: str) -> str:
    return f"/api/videos/{keys.video_id}/runs/{keys.run_id}/hls/{path}"


def _no_playlist(path: str) -> Problem:
    return Problem(
        Kind.NOT_FOUND,
        f"the run has no playlist {path[:128]!r}; start with {MASTER_PLAYLIST} and follow its URIs",
    )


def _no_delivery() -> Problem:
    return unavailable(
        "playback cannot be signed, because the distribution is not deployed yet or its key "
        "cannot be read",
        retry_after_seconds=_RETRY_SECONDS,
    )
