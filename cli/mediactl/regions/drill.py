"""Exercises for the day on which a region is lost: what goes on, how soon, and what is missing.

A drain leads everybody to another region first, waits until nothing is left, and lets that region
take the videos over: nothing is lost. A cut takes a region of a local plane away at once, as a
failure does, and names every video that the other has not or not as a whole.

Both end with the region given back. Repeated after an interruption, a drain goes on and ends so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property

import urllib3

from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput
from mediactl.access import sessions
from mediactl.checking import journey
from mediactl.checking.smoke import CLIP
from mediactl.client import ApiError, MediaClient, Upload
from mediactl.deployed import in_flight
from mediactl.environment import Environment
from mediactl.errors import REFUSED, USAGE, CommandError
from mediactl.local import player
from mediactl.regions.takeover import RegionStore, Report

NAMES_SECONDS = 180
"""Time until nobody is led to a region any more whose health check says so: Route 53 and the time
for which names are kept."""

ARRIVAL_SECONDS = 60
"""Longest wait for changes of the table on their way to the other region."""

POLL_SECONDS = 10
LOCAL_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class DrillStep:
    """What was done.

    Attributes:
        name: What.
        seconds: How long it took.
        detail: What was seen.
    """

    name: str
    seconds: float
    detail: str


@dataclass(frozen=True, kw_only=True)
class DrillReport:
    """What an exercise showed.

    Attributes:
        kind: ``drain`` or ``cut``.
        region: Region that was taken away.
        by: Region that stood in.
        playback_seconds: Time from then until the other served a playback.
        upload_seconds: Time from then until the other accepted an upload.
        taken: Videos that are at home in the other now.
        left: Why a video was left to its region, by video.
        unknown: Videos of which the other knew nothing until the region returned.
        lost: Videos that the other has not in the end, either.
        seconds: How long the whole took.
        steps: The steps, in order.
    """

    kind: str
    region: str
    by: str
    playback_seconds: float
    upload_seconds: float
    taken: list[str]
    left: dict[str, str]
    unknown: list[str]
    lost: list[str]
    seconds: float
    steps: list[DrillStep]


@dataclass
class _Pair:
    """The two regions, and somebody near the one that is taken away."""

    environment: Environment
    region: str
    by: str

    @cached_property
    def client(self) -> MediaClient:
        """A client near the region; in AWS, wherever the operator is."""
        headers: dict[str, str] = {}
        if self.environment.is_local:
            from mediactl.local.edge.server import VIEWER_REGION  # noqa: PLC0415 - slow to import

            headers = {VIEWER_REGION: self.region}
        return MediaClient(
            self.environment.base_url, sessions.tokens(self.environment), headers=headers
        )

    @cached_property
    def stores(self) -> dict[str, RegionStore]:
        """The stores of both regions."""
        return {name: RegionStore(self.environment, name) for name in (self.region, self.by)}

    def plays(self, video_id: str) -> bool:
        """Tell whether a video plays: a grant, and all files by cookies."""
        with suppress(ApiError, CommandError, urllib3.exceptions.HTTPError):
            grant = self.client.playback(video_id)
            player.fetch_all(grant["playlist_url"], grant["cookies"])
            return True
        return False

    def uploads(self) -> tuple[str, bool] | None:
        """Upload a clip; return the video and whether another region took it, if any did."""
        with suppress(ApiError, urllib3.exceptions.HTTPError):
            video, upload = self.client.create(
                {
                    "title": f"drill of {self.region}",
                    "file_name": CLIP.name,
                    "content_type": "video/mp4",
                    "size_bytes": CLIP.stat().st_size,
                    "visibility": "PRIVATE",
                    "duplicates": "keep",
                }
            )
            assert isinstance(upload, Upload)  # noqa: S101 - the clip is small
            self.client.put(upload, iter([CLIP.read_bytes()]))
            bucket = self.environment.output(StoreOutput.RAW_BUCKET, self.region)
            return video["video_id"], bucket not in upload.url
        return None

    @property
    def poll_seconds(self) -> float:
        """Time between two looks."""
        return LOCAL_POLL_SECONDS if self.environment.is_local else POLL_SECONDS


@dataclass
class Drill:
    """An exercise.

    Attributes:
        environment: The stage.
        region: Region that is taken away.
        by: Region that stands in.
        say: Tells the person what happens.
        patience_seconds: Longest wait for what is under way in the region.
    """

    environment: Environment
    region: str
    by: str
    say: Callable[[str], None]
    patience_seconds: float
    _steps: list[DrillStep] = field(default_factory=list, init=False)
    _probes: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        known = self.environment.regions
        for region in (self.region, self.by):
            if region not in known:
                raise CommandError(
                    f"{region!r} is no region of {self.environment.name}, which has "
                    f"{', '.join(known)}",
                    exit_code=USAGE,
                )
        if self.region == self.by:
            raise CommandError(
                f"{self.region} cannot stand in for itself",
                hint="name another region with --by",
                exit_code=USAGE,
            )
        self._pair = _Pair(self.environment, self.region, self.by)
        self._patient_until = time.monotonic() + self.patience_seconds

    def drain(self) -> DrillReport:
        """Lead everybody to the other region, let it take the videos over, and give back.

        Raises:
            CommandError: If nothing can lead users away from the region.
        """
        began = time.monotonic()
        check = self._health_check()
        film = self._ready_video()
        report = Report()
        try:
            with self._step("users are led to the other region"):
                self._lead(check, away=True)
                away = time.monotonic()
                playback, upload = self._until_served(film, away)
            with self._step("nothing is under way in the region") as seen:
                seen.append(self._until_idle())
            with self._step("its videos are taken over") as seen:
                report = self._until_taken()
                seen.append(f"{len(report.taken)} taken, {len(report.left)} left")
            with self._step("what was played is played by the other region"):
                self._until(lambda: self._pair.plays(film), f"video {film} plays")
        finally:
            with self._step("the region is given back"):
                self._lead(check, away=False)
                self._give_back()
        lost = self._lost(self._videos(self.region))
        self._remove_probes()
        return self._report("drain", began, playback, upload, report, unknown=[], lost=lost)

    def cut(self) -> DrillReport:
        """Take the region away at once, let the other take over, and let it return.

        Raises:
            CommandError: If the environment is in AWS, where no region can be taken away.
        """
        began = time.monotonic()
        plane = self.environment.plane()
        film = self._ready_video()
        with self._step("the other region has it"):
            # What is under way when the region is cut off arrives only after it returned.
            self._until(self._has_arrived, "all that waited arrives")
        # Nothing can be asked of a region that is gone.
        stores = self._pair.stores
        report = Report()
        try:
            try:
                with self._step("the region is cut off"):
                    away = time.monotonic()
                    plane.cut(self.region)
                with self._step("the other region serves"):
                    playback, upload = self._until_served(film, away)
                with self._step("its videos are taken over") as seen:
                    known = self._videos(self.by)
                    store = stores[self.by]
                    store.begin(self.region)
                    report = store.take_over(self.region)
                    seen.append(f"{len(report.taken)} taken, {len(report.left)} left")
            finally:
                with self._step("the region returns"):
                    plane.rejoin(self.region)
                    self._until(self._has_arrived, "all that waited arrives")
            unknown = sorted(self._videos(self.by, home=self.region) - known - set(self._probes))
        finally:
            # Also after Ctrl-C: nobody else lets in again what only was tried out.
            with self._step("it publishes its events itself again"):
                self._give_back()
        lost = self._lost(known | {*unknown})
        self._remove_probes()
        return self._report("cut", began, playback, upload, report, unknown=unknown, lost=lost)

    # --- steps ----------------------------------------------------------------------------

    def _ready_video(self) -> str:
        with self._step("a video is uploaded and ready") as seen:
            made = self._pair.uploads()
            if made is None:
                raise CommandError(
                    f"{self.environment.name} takes no upload",
                    hint="see what is wrong: mediactl status, mediactl smoke",
                )
            video_id, _ = made
            self._probes.append(video_id)
            for _ in journey.follow(self._pair.client, video_id, deadline=self._patient_until):
                pass
            seen.append(video_id)
        return video_id

    def _until_served(self, film: str, away: float) -> tuple[float, float]:
        """Return after how long the other region serves a playback and takes an upload."""
        self._until(lambda: self._pair.plays(film), "a video plays")
        playback = time.monotonic() - away

        def uploaded() -> bool:
            made = self._pair.uploads()
            if made is not None:
                self._probes.append(made[0])
            return made is not None and made[1]

        self._until(uploaded, f"an upload is taken by {self.by}")
        return playback, time.monotonic() - away

    def _until_idle(self) -> str:
        """Wait until no video is under way in the region, for as long as patience lasts."""
        told = -1
        while (count := len(self._in_flight())) and time.monotonic() < self._patient_until:
            if count != told:
                told = count
                self.say(f"{count} videos are under way in {self.region}")
            time.sleep(self._pair.poll_seconds)
        return f"{count} videos are still under way" if count else "none"

    def _until_taken(self) -> Report:
        """Take over until nothing is left, for as long as patience lasts."""
        store = self._pair.stores[self.by]
        store.begin(self.region)
        whole = Report()
        while True:
            report = store.take_over(self.region)
            whole.taken += report.taken
            whole.left = report.left
            if not report.left or time.monotonic() > self._patient_until:
                return whole
            time.sleep(self._pair.poll_seconds)

    def _give_back(self) -> None:
        """Let the region publish its own events again, if it was taken over."""
        store = self._pair.stores[self.by]
        if store.is_taken_over(self.region):
            store.end(self.region)

    def _lead(self, check: str, *, away: bool) -> None:
        """Have users led away from the region, or to it: its health counts as its opposite."""
        route53 = self.environment.client("route53")
        route53.update_health_check(HealthCheckId=check, Inverted=away)
        if self.environment.is_local:
            self.environment.plane().refresh()
        elif away:
            self.say(f"names are kept for up to {NAMES_SECONDS} s")
            time.sleep(NAMES_SECONDS)

    def _health_check(self) -> str:
        outputs = self.environment.outputs(StackPart.MEDIA, self.region)
        if MediaOutput.HEALTH_CHECK_ID not in outputs:
            raise CommandError(
                f"{self.region} has no health check of Route 53, so nobody can be led away from it",
                hint="give its region a health_check_prefix_list in cdk.json, and deploy",
                exit_code=REFUSED,
            )
        return outputs[MediaOutput.HEALTH_CHECK_ID]

    # --- what there is --------------------------------------------------------------------

    def _videos(self, region: str, *, home: str | None = None) -> set[str]:
        """Return the videos that the table of a region has, those at home somewhere or all."""
        return set(self._pair.stores[region].videos(home=home))

    def _lost(self, known: set[str]) -> list[str]:
        """Return which of these videos the other region does not have, once all has arrived."""
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while missing := known - self._videos(self.by):
            if time.monotonic() > deadline:
                break
            time.sleep(self._pair.poll_seconds)
        return sorted(missing)

    def _in_flight(self) -> list[str]:
        dynamodb = self.environment.client("dynamodb", self.region)
        table_name = self._pair.stores[self.region].table_name
        return [one["video_id"]["S"] for one in in_flight(dynamodb, table_name, self.region)]

    def _has_arrived(self) -> bool:
        """Tell whether nothing waits between the regions of a local plane."""
        waiting = self.environment.plane().emulator().control("waiting")
        return not any(way["parcels"] for way in waiting)

    def _until(self, look: Callable[[], bool], what: str) -> None:
        while not look():
            if time.monotonic() > self._patient_until:
                raise CommandError(
                    f"{what}: not within {self.patience_seconds / 60:g} minutes",
                    hint="see what is wrong: mediactl status; raise --patience",
                )
            time.sleep(self._pair.poll_seconds)

    def _remove_probes(self) -> None:
        for video_id in self._probes:
            with suppress(ApiError, urllib3.exceptions.HTTPError):
                self._pair.client.call("DELETE", f"/api/videos/{video_id}")

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """Time a step, and tell of it; the block may add what was seen."""
        seen: list[str] = []
        began = time.monotonic()
        yield seen
        step = DrillStep(name, round(time.monotonic() - began, 2), "; ".join(seen))
        self._steps.append(step)
        self.say(f"{step.seconds:7.1f} s  {name}{f': {step.detail}' if step.detail else ''}")

    def _report(
        self,
        kind: str,
        began: float,
        playback: float,
        upload: float,
        report: Report,
        *,
        unknown: list[str],
        lost: list[str],
    ) -> DrillReport:
        own = set(self._probes)
        left: Mapping[str, str] = report.left
        return DrillReport(
            kind=kind,
            region=self.region,
            by=self.by,
            playback_seconds=round(playback, 2),
            upload_seconds=round(upload, 2),
            taken=[one for one in dict.fromkeys(report.taken) if one not in own],
            left={one: reason for one, reason in left.items() if one not in own},
            unknown=unknown,
            lost=[one for one in lost if one not in own],
            seconds=round(time.monotonic() - began, 2),
            steps=self._steps,
        )
