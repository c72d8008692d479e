"""Workers that are killed, frozen and cut off at random while they work: what is left in the end.

Run it from the top of the repository, with the tests' settings of ``PYTHONPATH``::

    python tests/integration/soak.py --jobs 10 --kills 50 --seed 1

It prints what happened and ends with one JSON line; the exit code tells whether all held.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from emulator import running_emulator
from faulty_aws import BRIEF, PATIENT, Fault, FaultPlan, FaultyAws, faulty_aws
from worker_stage import MEDIA, Stage, WorkerProcess, decode, make_clip, make_stage

from media_platform.contract.events import EventType
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.run import SOUND, RunStatus
from media_platform.contract.video import VideoStatus
from media_worker import ffmpeg

LEASE_SECONDS = 6
"""A part that nobody renews is free after this; a message comes back."""

CHUNK_SECONDS = 8
SEGMENT_SECONDS = 4
SOUND_RATE = 48_000
APART_SECONDS = 0.02
"""Most by which sound and picture may end apart."""

LOOK_SECONDS = 0.25
EXIT_SECONDS = 5
"""A worker that is asked to go has gone by then."""

_SHAPES = (("320x180", 25), ("256x144", 30), ("640x480", 25))
_SEGMENT = re.compile(r"([a-z0-9]+)/(\d+)/(\d{6})\.m4s")
_FAULTS = (
    "ClientError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "EndpointConnectionError",
    "IncompleteReadError",
    "OSError",
    "ReadTimeoutError",
    "ResponseParserError",
    "ResponseStreamingError",
    "TransientError: the source could not be read",
)
"""What parts may fail of: to be killed, asked to go or overtaken is no failure."""

_TROUBLE = {
    "failed, will be tried again",
    "gave up",
    "given up",
    "heartbeat failed",
    "interrupted, the job goes back",
    "polling failed",
    "the job could not be given back in time",
    "the job is left to the queue",
    "video failed",
    "worker crashed",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a soak does.

    Attributes:
        jobs: Videos at least; more come while there are kills left.
        kills: Workers that are killed.
        stops: Workers that are asked to go.
        freezes: Workers that are stopped for longer than their leases, and then go on.
        workers: Workers at a time.
        seed: Start of the random numbers.
        seconds_per_clip: Length of the videos on average.
        fault_rate: Share of the calls of S3 and SQS that meet a fault.
        table_fault_rate: Share of the calls of DynamoDB that do.
        patient: Whether some calls take as long as a worker waits for them.
        twice_within_seconds: Time within which every message comes a second time; 0 for once only.
        pause_seconds: Time between two blows on average.
        patience_seconds: Longest time for all.
    """

    jobs: int = 10
    kills: int = 50
    stops: int = 6
    freezes: int = 3
    workers: int = 2
    seed: int = 1
    seconds_per_clip: float = 24.0
    fault_rate: float = 0.05
    table_fault_rate: float = 0.05
    patient: bool = False
    twice_within_seconds: float = 8.0
    pause_seconds: float = 4.0
    patience_seconds: float = 360.0

    @property
    def faults(self) -> FaultPlan:
        """What the proxy does."""
        return FaultPlan(
            rates={
                "s3": self.fault_rate,
                "sqs": self.fault_rate,
                "dynamodb": self.table_fault_rate,
            },
            weights=PATIENT if self.patient else BRIEF,
            twice_within_seconds=self.twice_within_seconds or None,
        )


@dataclass(frozen=True)
class Clip:
    """A source."""

    body: bytes
    rate: int
    frames: int
    rungs: int


@dataclass
class Result:
    """What is left.

    Attributes:
        kills: Workers that were killed.
        stops: Workers that were asked to go.
        freezes: Workers that were frozen.
        jobs: Videos.
        seconds: Time from the first job to the end of the last.
        calls: Calls by service.
        faults: Faults by service and kind.
        messages: Messages that workers sent.
        repeated_messages: Those that were delivered twice.
        repeated_seconds: Seconds of picture that were stored and are not listed, in a rung.
        repeated_sound_seconds: The same of the sound.
        failures: Failures that were counted in parts.
        attempts: Times that a part was taken, over the first.
        trouble: Lines of the workers' logs that tell of trouble, by event.
        reasons: Why parts failed.
        wrong: What does not hold.
    """

    kills: int = 0
    stops: int = 0
    freezes: int = 0
    jobs: int = 0
    seconds: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    repeated_messages: int = 0
    repeated_seconds: float = 0.0
    repeated_sound_seconds: float = 0.0
    failures: int = 0
    attempts: int = 0
    trouble: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Workers:
    """Worker processes, each followed at once by another."""

    def __init__(self, stage: Stage, folder: Path, chance: random.Random, count: int) -> None:
        self._stage = stage
        self._folder = folder
        self._chance = chance
        self._running: list[WorkerProcess] = []
        self._leaving: list[tuple[WorkerProcess, float]] = []
        self._frozen: list[tuple[WorkerProcess, float]] = []
        self.started = 0
        self.wrong: list[str] = []
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        log_file = self._folder / f"worker-{self.started:03d}.log"
        self.started += 1
        variables = self._stage.environment.to_variables()
        self._running.append(self._stage.start(variables, log_file))

    def _take(self) -> WorkerProcess:
        worker = self._running.pop(self._chance.randrange(len(self._running)))
        self._start()
        return worker

    def kill(self) -> None:
        """Kill one."""
        self._take().kill()

    def stop(self) -> None:
        """Ask one to go."""
        worker = self._take()
        worker.terminate()
        self._leaving.append((worker, time.monotonic() + EXIT_SECONDS))

    def freeze(self) -> None:
        """Let one sleep for longer than its leases; it has company when it wakes up."""
        worker = self._take()
        worker.process.send_signal(signal.SIGSTOP)
        self._frozen.append((worker, time.monotonic() + 2.5 * LEASE_SECONDS))

    def look(self) -> None:
        """Wake up who has slept enough, and see whether all are well."""
        now = time.monotonic()
        for worker, until in list(self._frozen):
            if now >= until:
                worker.process.send_signal(signal.SIGCONT)
                self._frozen.remove((worker, until))
                self._running.append(worker)
        for worker, until in list(self._leaving):
            if worker.process.poll() is None and now < until:
                continue
            self._leaving.remove((worker, until))
            # One that has just been started has no handler yet, and holds nothing either.
            starting = worker.process.poll() == -signal.SIGTERM and not worker.log()
            if worker.process.poll() != 0 and not starting:
                self.wrong.append(f"{worker.log_file.name} left with {worker.process.poll()}")
                worker.kill()
        for worker in list(self._running):
            if worker.process.poll() is not None:
                self.wrong.append(f"{worker.log_file.name} ended: {worker.process.poll()}")
                self._running.remove(worker)
                self._start()

    def end(self) -> None:
        """Kill all."""
        for worker in [*self._running, *(w for w, _ in [*self._leaving, *self._frozen])]:
            worker.kill()


def make_clips(folder: Path, seconds: float, chance: random.Random) -> list[Clip]:
    """Make sources of several shapes and lengths, with motion and sound."""
    clips = []
    for number, (size, rate) in enumerate(_SHAPES):
        frames = round(seconds * chance.uniform(0.6, 1.4) * rate)
        length = float(Fraction(frames, rate))
        path = make_clip(
            folder / f"clip-{number}.mp4",
            *("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}"),
            *("-f", "lavfi", "-i", f"sine=f=440:r=44100:d={length}"),
            *("-frames:v", str(frames), "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
        )
        clips.append(Clip(path.read_bytes(), rate, frames, 2 if size == "640x480" else 1))
    return clips


class Soak:
    """One soak.

    Args:
        settings: What it does.
        stage: Where, without faults.
        proxy: The way of the workers to it.
        folder: For logs and clips.
    """

    def __init__(self, settings: Settings, stage: Stage, proxy: FaultyAws, folder: Path) -> None:
        self._settings = settings
        self._stage = stage
        self._proxy = proxy
        self._folder = folder
        self._chance = random.Random(settings.seed)  # noqa: S311 - it is to come again
        self._clips = make_clips(folder, settings.seconds_per_clip, self._chance)
        self._jobs: dict[str, tuple[TranscodeJob, Clip]] = {}
        self._open: set[str] = set()
        self._result = Result()
        self._needed = 0
        self._window = stage.environment.chunks_in_flight

    def run(self) -> Result:
        """Do it."""
        settings, result = self._settings, self._result
        cut_off = replace(
            self._stage, emulator=replace(self._stage.emulator, endpoint=self._proxy.endpoint)
        )
        begun = time.monotonic()
        workers = Workers(cut_off, self._folder, self._chance, settings.workers)
        try:
            self._strike(workers, begun + settings.patience_seconds)
            result.seconds = round(time.monotonic() - begun, 1)
            self._await_silence(workers, begun + settings.patience_seconds)
        finally:
            workers.end()
        result.wrong += workers.wrong
        for job, clip in self._jobs.values():
            self._check(job, clip)
        self._check_queues()
        self._read_logs()
        result.jobs = len(self._jobs)
        result.calls = dict(self._proxy.calls)
        result.faults = {
            f"{service} {fault}": count
            for (service, fault), count in sorted(self._proxy.faults.items())
        }
        result.messages = self._proxy.sent
        result.repeated_messages = self._proxy.repeated
        self._hold_costs()
        return result

    def _hold_costs(self) -> None:
        """See that a blow costs no more than a chunk, and that messages do not multiply.

        A call that outlasts a lease is a blow, too.
        """
        result, faults = self._result, self._proxy.faults
        waits = {Fault.STALLED, Fault.LATE}
        blows = result.kills + result.stops + result.freezes
        blows += sum(count for (_, fault), count in faults.items() if fault in waits)
        repeated = result.repeated_seconds + result.repeated_sound_seconds
        if repeated > blows * CHUNK_SECONDS:
            result.wrong.append(f"{repeated} s were repeated after {blows} blows")
        again = waits | {Fault.LOST, Fault.CUT}
        unheard = sum(faults["sqs", fault] for fault in again)
        allowed = self._needed + result.attempts * self._window + unheard
        if result.messages > allowed:
            result.wrong.append(f"{result.messages} messages were sent, not {allowed} at most")

    def _strike(self, workers: Workers, deadline: float) -> None:
        """Send jobs, and hit workers, until none of either is left."""
        settings, result = self._settings, self._result
        blows = [
            *["kill"] * settings.kills,
            *["stop"] * settings.stops,
            *["freeze"] * settings.freezes,
        ]
        self._chance.shuffle(blows)
        due = time.monotonic() + self._pause()
        while time.monotonic() < deadline:
            while len(self._open) < settings.workers + 1 and (
                blows or len(self._jobs) < settings.jobs
            ):
                self._send()
            if blows and time.monotonic() >= due:
                blow = blows.pop()
                getattr(workers, blow)()
                setattr(result, f"{blow}s", getattr(result, f"{blow}s") + 1)
                due = time.monotonic() + self._pause()
            workers.look()
            self._open -= {video_id for video_id in self._open if self._ended(video_id)}
            if not self._open and not blows:
                return
            time.sleep(LOOK_SECONDS)
        result.wrong.append(f"{len(self._open)} videos are not finished, {len(blows)} blows left")

    def _pause(self) -> float:
        return self._chance.uniform(0.1, 2 * self._settings.pause_seconds)

    def _send(self) -> None:
        clip = self._clips[len(self._jobs) % len(self._clips)]
        job = self._stage.upload(clip.body)
        self._jobs[job.video_id] = (job, clip)
        self._open.add(job.video_id)
        self._stage.send(job)
        if self._settings.twice_within_seconds:
            self._stage.emulator.client("sqs").send_message(
                QueueUrl=self._stage.environment.express_queue_url,
                MessageBody=job.to_json(),
                DelaySeconds=self._chance.randint(0, int(self._settings.twice_within_seconds)),
            )

    def _ended(self, video_id: str) -> bool:
        status = self._stage.video(self._jobs[video_id][0]).status
        return status in {VideoStatus.READY, VideoStatus.FAILED}

    def _await_silence(self, workers: Workers, deadline: float) -> None:
        """Wait until no message is left: also the last repetitions are dealt with."""
        while self._stage.left():
            if time.monotonic() > deadline:
                self._result.wrong.append(f"{self._stage.left()} messages are left")
                return
            workers.look()
            time.sleep(LOOK_SECONDS)

    # -- what is left ------------------------------------------------------------------------------

    def _check(self, job: TranscodeJob, clip: Clip) -> None:
        """Hold everything that is left of a job against its clip."""
        video, run, parts = self._stage.video(job), self._stage.run(job), self._stage.parts(job)

        def hold(what: object, expected: object, name: str) -> None:
            if what != expected:
                self._result.wrong.append(f"{job.video_id}: {name} is {what!r}, not {expected!r}")

        hold(video.status, VideoStatus.READY, "status")
        hold(run and run.status, RunStatus.COMPLETE, "status of the run")
        events = [event.event_type for event in self._stage.events(job)]
        hold(events, [EventType.VIDEO_READY], "list of events")
        hold([name for name, part in parts.items() if not part.done], [], "list of parts in work")
        self._result.failures += sum(part.failures for part in parts.values())
        self._result.attempts += sum(part.attempt - 1 for part in parts.values())
        self._needed += sum(name.startswith("video#") for name in parts) - 1
        if run is None or run.status is not RunStatus.COMPLETE:
            return
        hold([one.frames for one in run.renditions], [clip.frames] * clip.rungs, "frames of rungs")
        versions = self._versions(job)
        for name, etags in versions.items():
            if _SEGMENT.fullmatch(name) or "/init-" in name:
                hold(len(set(etags)), 1, f"number of contents of {name}")
        folder = self._stage.download(job)
        for playlist in sorted(folder.rglob("*.m3u8")):
            for uri in _uris(playlist.read_text()):
                hold((playlist.parent / uri).is_file(), True, f"presence of {uri} in {playlist}")
        segments = -(-clip.frames // (clip.rate * SEGMENT_SECONDS))
        tracks = {f"v{one.height}": one.frames for one in run.renditions}
        repeated: dict[str, float] = {}
        for track in (*tracks, "audio"):
            text = (folder / track / "playlist.m3u8").read_text()
            listed = [f"{track}/{uri}" for uri in _uris(text) if uri.endswith(".m4s")]
            numbers = [int(_matched(name)[3]) for name in listed]
            hold(text.endswith("#EXT-X-ENDLIST\n"), True, f"end of the list of {track}")
            hold(numbers, list(range(segments)), f"list of {track}")
            stored = [name for name in versions if name.startswith(f"{track}/")]
            unlisted = {name for name in stored if _SEGMENT.fullmatch(name)} - set(listed)
            repeated[track] = float(len(unlisted) * SEGMENT_SECONDS)
            self._check_growth(job, track, hold)
        for track, frames in tracks.items():
            hold(decode(folder / track / "playlist.m3u8"), frames, f"frames of {track}")
        apart = _sound_seconds(folder / "audio/playlist.m3u8") - clip.frames / clip.rate
        hold(abs(apart) < APART_SECONDS, True, f"{apart:.3f} s between picture and sound: fit")
        self._result.repeated_sound_seconds += repeated.pop("audio")
        self._result.repeated_seconds += max(repeated.values())
        hold(parts[SOUND].segments, segments, "segments of the sound")

    def _versions(self, job: TranscodeJob) -> dict[str, list[str]]:
        """Return what stands below the run, and every state that it was in, by ETag."""
        found: dict[str, list[str]] = {}
        prefix = self._stage.keys(job).prefix
        pages = self._stage.emulator.client("s3").get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=MEDIA, Prefix=prefix):
            for one in page.get("Versions", []):
                found.setdefault(one["Key"].removeprefix(prefix), []).append(one["ETag"])
        return found

    def _check_growth(self, job: TranscodeJob, track: str, hold: Any) -> None:
        """See that no playlist ever took back what an earlier state of it had listed."""
        s3, key = self._stage.emulator.client("s3"), self._stage.keys(job).playlist(track)
        answer = s3.list_object_versions(Bucket=MEDIA, Prefix=key)
        versions = [one for one in answer["Versions"] if one["Key"] == key]
        lists = [
            _uris(
                s3.get_object(Bucket=MEDIA, Key=key, VersionId=one["VersionId"])["Body"]
                .read()
                .decode()
            )
            for one in reversed(versions)  # the newest comes first
        ]
        for before, after in itertools.pairwise(lists):
            hold(after[: len(before)], before, f"beginning of a later list of {track}")

    def _check_queues(self) -> None:
        dead = self._stage.emulator.messages(self._stage.environment.dead_letter_queue_url)
        for letter in dead:
            self._result.wrong.append(f"dead letter: {letter}")

    def _read_logs(self) -> None:
        trouble: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for path in sorted(self._folder.glob("worker-*.log")):
            for line in WorkerProcess(None, path).log():  # type: ignore[arg-type]
                event = line.get("message", "")
                if event in _TROUBLE:
                    trouble[event if event != "gave up" else f"gave up: {line['why']}"] += 1
                if "reason" in line:
                    reasons[line["reason"][:160]] += 1
        strange = [text for text in reasons if not text.startswith(_FAULTS)]
        self._result.wrong += [f"a part failed without a fault of AWS: {text}" for text in strange]
        self._result.trouble = dict(trouble.most_common())
        self._result.reasons = dict(reasons.most_common())


def _uris(playlist: str) -> list[str]:
    """Return everything that a playlist names, in order."""
    lines = [line for line in playlist.splitlines() if line and not line.startswith("#")]
    return [*re.findall(r'URI="([^"]+)"', playlist), *lines]


def _matched(name: str) -> re.Match[str]:
    found = _SEGMENT.fullmatch(name)
    assert found, name
    return found


def _sound_seconds(playlist: Path) -> float:
    """Decode a playlist of sound strictly; return its length in seconds."""
    result = subprocess.run(
        [
            *(ffmpeg.binary(), "-nostdin", "-v", "error", "-xerror", "-i", playlist),
            *("-f", "s16le", "-ac", "1", "-ar", str(SOUND_RATE), "-"),
        ],
        capture_output=True,
        check=True,
    )
    assert result.stderr == b""
    return len(result.stdout) / 2 / SOUND_RATE


@contextmanager
def soak_stage(folder: Path) -> Iterator[Stage]:
    """Start an emulator with a stage on which leases are short."""
    for name in ("emulator", "worker"):
        (folder / name).mkdir()
    with running_emulator(folder / "emulator") as emulator:
        stage = make_stage(emulator, folder / "worker")
        environment = replace(
            stage.environment,
            visibility_timeout_seconds=LEASE_SECONDS,
            chunk_seconds=CHUNK_SECONDS,
        )
        yield replace(stage, environment=environment)


def soak(settings: Settings, folder: Path) -> Result:
    """Do a soak with an emulator of its own.

    Args:
        settings: What it does.
        folder: Empty folder, for everything that it leaves behind.
    """
    with ExitStack() as stack:
        stage = stack.enter_context(soak_stage(folder))
        proxy = stack.enter_context(
            faulty_aws(stage.emulator.endpoint, settings.faults, settings.seed)
        )
        result = Soak(settings, stage, proxy, folder / "worker").run()
        result.wrong += [f"a call was not allowed: {call}" for call in stage.emulator.denied()]
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Do a soak as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, value in asdict(Settings()).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(option, action="store_true")
        else:
            parser.add_argument(option, type=type(value), default=value)
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back for others")
    parser.add_argument("--folder", type=Path, help="empty folder for logs and state, kept")
    options = vars(parser.parse_args(arguments))
    os.nice(options.pop("nice"))
    folder = options.pop("folder") or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(**options)
    result = soak(settings, folder)
    lines = [f"everything that it left behind is in {folder}"]
    for name, value in asdict(result).items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"{count:8} {key}" for key, count in value.items())]
        elif name != "wrong":
            lines.append(f"{name}: {value}")
    lines += [f"WRONG {text}" for text in result.wrong]
    lines.append(json.dumps({"soak": asdict(settings), **asdict(result)}))
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
