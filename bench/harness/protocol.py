"""A discrete-event simulation of how workers share videos; standard library only.

It knows the protocol and nothing of media: a start message in the express queue stands for plan,
first chunk and sound; later chunks come through the job queue, so many of a video at a time; a
worker does one heavy task at a time and sounds beside it; whoever completes the last part ends the
run. How long things take is measured elsewhere and passed in; what they ask of table, queues and
buckets is counted here, by second, and for the table by video, since a video is one partition.

Left out: bytes on the wire, failures of AWS calls, and throttling: demand is counted, not delayed.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SEGMENT_SECONDS = 4
PAGE = 16
"""Chunks that a look at a run reads at a time."""

MEBIBYTE = 1024 * 1024
_WRITE_BYTES, _READ_BYTES = 1024, 4096
"""What one unit of DynamoDB writes, or reads consistently."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a worker takes for things, in seconds, and what items weigh, in bytes.

    Attributes:
        receive: From a message that waits to the start of its work.
        plan: From there to the plan.
        encode_start: What a chunk takes whatever its length.
        encode: What a second of the picture takes.
        between: From the end of a chunk to the receipt of the next message.
        sound_first: From the plan to the first segment of the sound.
        sound: What a second of the sound takes of a processor.
        sound_weight: Share that one sound gets, by what the picture beside it gets.
        publish: From the last record to the playlists.
        end: From the last part to READY.
        run_bytes: Bytes of the item of a run.
        run_bytes_per_chunk: Further ones for each chunk of its plan.
        part_bytes: Bytes of the item of a chunk.
        part_bytes_per_segment: Further ones for each of its segments.
        tracks: Tracks that have a playlist.
        rungs: Rungs of the picture.
        source_bits: Bits per second of sources.
    """

    receive: float = 0.1
    plan: float = 0.5
    encode_start: float = 0.3
    encode: float = 1.0
    between: float = 0.1
    sound_first: float = 1.0
    sound: float = 0.015
    sound_weight: float = 0.3
    publish: float = 0.1
    end: float = 1.0
    run_bytes: float = 2500.0
    run_bytes_per_chunk: float = 18.0
    part_bytes: float = 300.0
    part_bytes_per_segment: float = 150.0
    tracks: int = 5
    rungs: int = 4
    source_bits: float = 8e6


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is simulated.

    Attributes:
        workers: Number of workers.
        speed: How fast each encodes, by the one whose costs were measured.
        chunk_seconds: Length of a chunk.
        window: Most chunks of a video in the queue at a time.
        playlist_interval: Least seconds between two versions of playlists.
        kills_per_hour: How often a worker is killed without notice.
        lease_seconds: Time after which a part of a killed worker is taken over.
        restart_seconds: Time after which a killed worker is replaced.
        seed: Of all that is random.
    """

    workers: int
    speed: float = 1.0
    chunk_seconds: int = 16
    window: int = 10
    playlist_interval: float = 2.0
    kills_per_hour: float = 0.0
    lease_seconds: float = 120.0
    restart_seconds: float = 60.0
    seed: int = 1


@dataclass(frozen=True)
class Upload:
    """A video that is uploaded.

    Attributes:
        seconds: Its length.
        at: Time at which its start message is in the queue.
        tenant: Whose it is; the job queue is fair between tenants.
    """

    seconds: float
    at: float = 0.0
    tenant: int = 0


@dataclass
class Result:
    """What became of a video.

    Attributes:
        upload: The video.
        playable: Seconds from its message until it could be played.
        ready: Seconds from its message until it was READY.
        peak_writes: Most write units in a second of its partition of the table.
        peak_reads: Most read units in a second of it.
    """

    upload: Upload
    playable: float = math.inf
    ready: float = math.inf
    peak_writes: float = 0.0
    peak_reads: float = 0.0


@dataclass
class Demand:
    """What was asked for, by second from the start.

    Attributes:
        table_writes: Write units.
        table_reads: Read units.
        puts: Objects written.
        gets: Ranges of sources read.
        queue_calls: Calls of SQS.
    """

    table_writes: Counter[int] = field(default_factory=Counter)
    table_reads: Counter[int] = field(default_factory=Counter)
    puts: Counter[int] = field(default_factory=Counter)
    gets: Counter[int] = field(default_factory=Counter)
    queue_calls: Counter[int] = field(default_factory=Counter)


@dataclass
class Outcome:
    """What a simulation yields.

    Attributes:
        results: By video, in the order of the uploads.
        demand: What was asked of the services.
        seconds: Time of the last event.
        busy: Share of the time that workers encoded.
        encoded: Seconds of picture that were encoded.
        repeated: Seconds of picture that were encoded again after a kill.
        kills: Workers that were killed in the middle of a chunk.
        calls: Calls by kind, over all.
        most_sounds: Most sounds that one worker had beside it.
    """

    results: list[Result]
    demand: Demand
    seconds: float = 0.0
    busy: float = 0.0
    encoded: float = 0.0
    repeated: float = 0.0
    kills: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    most_sounds: int = 0


def chunk_segments(seconds: float, chunk_seconds: int) -> list[float]:
    """Return the lengths in seconds of the chunks of a picture, as the planner cuts it."""
    if seconds <= 2 * SEGMENT_SECONDS:
        return [seconds]
    length = max(1, chunk_seconds // SEGMENT_SECONDS) * SEGMENT_SECONDS
    last = seconds - max(length // 2, SEGMENT_SECONDS / 2)
    cuts = [0.0]
    at = float(SEGMENT_SECONDS)
    while at < max(SEGMENT_SECONDS + 1e-9, last):
        cuts.append(at)
        at += length
    return [after - before for before, after in zip(cuts, [*cuts[1:], seconds], strict=True)]


class _Video:
    def __init__(self, number: int, upload: Upload, chunks: list[float]) -> None:
        self.number = number
        self.upload = upload
        self.chunks = chunks
        self.left = len(chunks)
        self.recorded = [0.0] * len(chunks)
        self.sound_done = False
        self.ended = False
        self.turns: set[int] = set()
        self.writes: Counter[int] = Counter()
        self.reads: Counter[int] = Counter()


class _Sound:
    def __init__(self, video: _Video, work: float) -> None:
        self.video = video
        self.left = work


class _Worker:
    def __init__(self) -> None:
        self.sounds: deque[_Sound] = deque()
        self.heavy = False
        self.since = 0.0
        self.version = 0
        self.alive = True
        self.busy = 0.0


@dataclass(frozen=True)
class _Message:
    video: _Video
    chunk: int


class _FairQueue:
    """Hands out messages of the tenant with the fewest in work, then the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[_Message]] = {}
        self._working: Counter[int] = Counter()
        self._order: list[tuple[int, int, int]] = []
        self._count = 0
        self.size = 0

    def put(self, message: _Message) -> None:
        tenant = message.video.upload.tenant
        self._waiting.setdefault(tenant, deque()).append(message)
        self.size += 1
        self._note(tenant)

    def take(self) -> _Message | None:
        while self._order:
            working, _, tenant = heapq.heappop(self._order)
            waiting = self._waiting.get(tenant)
            if not waiting or working != self._working[tenant]:
                continue
            message = waiting.popleft()
            self.size -= 1
            self._working[tenant] += 1
            self._note(tenant)
            return message
        return None

    def done(self, message: _Message) -> None:
        tenant = message.video.upload.tenant
        self._working[tenant] -= 1
        self._note(tenant)

    def _note(self, tenant: int) -> None:
        if self._waiting.get(tenant):
            self._count += 1
            heapq.heappush(self._order, (self._working[tenant], self._count, tenant))


class Simulation:
    """Simulates uploads on workers.

    Args:
        costs: What things take.
        setup: What is simulated.
        uploads: The videos.
    """

    def __init__(self, costs: Costs, setup: Setup, uploads: Sequence[Upload]) -> None:
        self._costs = costs
        self._setup = setup
        self._random = random.Random(setup.seed)  # noqa: S311 - repeatable, not secret
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._now = 0.0
        self._express: deque[_Message] = deque()
        self._jobs = _FairQueue()
        self._idle: deque[_Worker] = deque(_Worker() for _ in range(setup.workers))
        self._workers = list(self._idle)
        self._videos = [
            _Video(number, upload, chunk_segments(upload.seconds, setup.chunk_seconds))
            for number, upload in enumerate(uploads)
        ]
        self._outcome = Outcome([Result(upload) for upload in uploads], Demand())

    def run(self) -> Outcome:
        """Run to the end of all videos."""
        for video in self._videos:
            self._at(video.upload.at, lambda video=video: self._arrive(video))  # type: ignore[misc]
        while self._events:
            self._now, _, act = heapq.heappop(self._events)
            act()
        out = self._outcome
        out.seconds = max((r.upload.at + r.ready for r in out.results), default=0.0)
        total = sum(worker.busy for worker in self._workers)
        out.busy = total / (out.seconds * len(self._workers)) if out.seconds else 0.0
        return out

    def _at(self, time: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, act))

    # -- messages ----------------------------------------------------------------------------------

    def _arrive(self, video: _Video) -> None:
        self._queue_calls(1)
        self._express.append(_Message(video, 0))
        self._hand_out()

    def _send(self, video: _Video, chunk: int) -> None:
        if chunk < len(video.chunks):
            self._queue_calls(1)
            self._jobs.put(_Message(video, chunk))
            self._hand_out()

    def _hand_out(self) -> None:
        while self._idle and (self._express or self._jobs.size):
            worker = self._idle.popleft()
            self._receive(worker)

    def _receive(self, worker: _Worker) -> None:
        """Give a worker that is free its next message, or let it wait."""
        message = self._express.popleft() if self._express else self._jobs.take()
        if message is None:
            self._idle.append(worker)
            return
        # Looks at the express queue, receive, hide, delete.
        self._queue_calls(4)
        self._change(worker, heavy=True)
        self._run_calls(message.video, self._now, open_=True)
        start = self._now + self._costs.receive
        if message.chunk == 0 and message.video.recorded[0] == 0:
            planned = start + self._costs.plan
            self._at(planned, lambda: self._planned(worker, message))
        else:
            self._at(start, lambda: self._encode(worker, message))

    def _planned(self, worker: _Worker, message: _Message) -> None:
        video = message.video
        self._use(video, self._now, writes=self._run_writes(video))
        for chunk in range(1, self._setup.window):
            self._send(video, chunk)
        # Uploads have an index and a tail to be read, by a few ranges.
        self._outcome.demand.gets[int(self._now)] += 8
        self._add_sound(worker, video)
        self._encode(worker, message)

    # -- the picture -------------------------------------------------------------------------------

    def _encode(self, worker: _Worker, message: _Message) -> None:
        video, costs, speed = message.video, self._costs, self._setup.speed
        length = video.chunks[message.chunk] - video.recorded[message.chunk]
        slower = 1 + costs.sound_weight * len(worker.sounds)
        begun = self._now

        def when(seconds: float) -> float:
            work = costs.encode_start + seconds * costs.encode / speed
            return begun + self._stretched(worker, work, slower)

        end = when(length)
        killed = self._kill_time()
        if begun + killed < end:
            self._at(begun + killed, lambda: self._kill(worker, message, begun, when))
            return
        times = self._segment_times(length, when)
        self._record(video, message.chunk, times, length)
        worker.busy += end - begun
        self._outcome.encoded += length
        self._at(end, lambda: self._encoded(worker, message))

    def _stretched(self, worker: _Worker, work: float, slower: float) -> float:
        """Return how long heavy work takes beside the sounds of its worker."""
        sound = sum(one.left for one in worker.sounds)
        if not sound:
            return work
        # While sounds last, the heavy task gets a share of 1 / slower.
        lasts = sound * slower / (slower - 1)
        done = lasts / slower
        return work * slower if work <= done else lasts + work - done

    def _segment_times(self, length: float, when: Callable[[float], float]) -> list[float]:
        count = max(1, math.ceil(length / SEGMENT_SECONDS - 1e-9))
        return [when(min(length, (n + 1) * SEGMENT_SECONDS)) for n in range(count)]

    def _record(self, video: _Video, chunk: int, times: Sequence[float], length: float) -> None:
        """Count what recording segments at ``times`` asks for."""
        costs = self._costs
        out = self._outcome
        item = costs.part_bytes
        page = min(PAGE, len(video.chunks))
        full = costs.part_bytes + costs.part_bytes_per_segment * (
            self._setup.chunk_seconds / SEGMENT_SECONDS
        )
        read = math.ceil(costs.source_bits / 8 * length / MEBIBYTE) + 2
        for number, time in enumerate(times):
            item += costs.part_bytes_per_segment
            self._use(
                video,
                time,
                writes=math.ceil(item / _WRITE_BYTES),
                # A look at how far the run is: the run, a page of chunks, the sound.
                reads=self._run_reads(video) + math.ceil(page * full / _READ_BYTES) + 1,
            )
            out.calls.update({"record": 1, "look": 1, "segment put": costs.rungs})
            out.demand.puts[int(time)] += costs.rungs
            out.demand.gets[int(time)] += math.ceil(read / len(times))
            turn = int(time / self._setup.playlist_interval)
            if turn not in video.turns:
                video.turns.add(turn)
                self._use(video, time, writes=2 * self._run_writes(video))
                out.demand.puts[int(time)] += costs.tracks
                out.calls.update({"turn": 1, "playlist put": costs.tracks})
        del chunk

    def _encoded(self, worker: _Worker, message: _Message) -> None:
        video, result = message.video, self._outcome.results[message.video.number]
        video.recorded[message.chunk] = video.chunks[message.chunk]
        video.left -= 1
        # It is noted that the chunk is done, and looked once more.
        self._run_calls(video, self._now, open_=False)
        if message.chunk == 0:
            first_sound = video.upload.at + 0.0
            result.playable = max(self._now, first_sound) + self._costs.publish - video.upload.at
        else:
            self._jobs.done(message)
            self._send(video, message.chunk + self._setup.window)
        end = self._finish(video)
        self._at(self._now + end + self._costs.between, lambda: self._free(worker))

    def _free(self, worker: _Worker) -> None:
        if not worker.alive:
            return
        self._change(worker, heavy=False)
        self._receive(worker)

    def _finish(self, video: _Video) -> float:
        """End a run whose last part is done; return how long that takes."""
        if video.left or not video.sound_done or video.ended:
            return 0.0
        video.ended = True
        out, costs = self._outcome, self._costs
        pages = math.ceil(len(video.chunks) / PAGE)
        full = costs.part_bytes + costs.part_bytes_per_segment * 4
        self._use(
            video,
            self._now,
            writes=self._run_writes(video) + 12,
            reads=3 * self._run_reads(video) + pages * math.ceil(PAGE * full / _READ_BYTES),
        )
        out.demand.puts[int(self._now)] += 2 * costs.rungs + costs.tracks + 5
        result = out.results[video.number]
        result.ready = self._now + costs.end - video.upload.at
        result.peak_writes = max(video.writes.values())
        result.peak_reads = max(video.reads.values())
        video.writes.clear()
        video.reads.clear()
        return costs.end

    # -- the sound ---------------------------------------------------------------------------------

    def _add_sound(self, worker: _Worker, video: _Video) -> None:
        self._advance_sounds(worker)
        # One thread of it works at a time, however many processors there are.
        work = self._costs.sound_first + self._costs.sound * video.upload.seconds
        worker.sounds.append(_Sound(video, work))
        self._outcome.most_sounds = max(self._outcome.most_sounds, len(worker.sounds))
        self._plan_sound(worker)

    def _change(self, worker: _Worker, *, heavy: bool) -> None:
        self._advance_sounds(worker)
        worker.heavy = heavy
        self._plan_sound(worker)

    def _sound_rate(self, worker: _Worker) -> float:
        if not worker.heavy:
            return 1.0
        weight = self._costs.sound_weight * len(worker.sounds)
        return weight / (1 + weight)

    def _advance_sounds(self, worker: _Worker) -> None:
        done = (self._now - worker.since) * self._sound_rate(worker) if worker.sounds else 0.0
        worker.since = self._now
        if worker.sounds:
            worker.sounds[0].left = max(0.0, worker.sounds[0].left - done)

    def _plan_sound(self, worker: _Worker) -> None:
        worker.version += 1
        if not worker.sounds:
            return
        version = worker.version
        due = self._now + worker.sounds[0].left / self._sound_rate(worker)
        self._at(due, lambda: self._sound_due(worker, version))

    def _sound_due(self, worker: _Worker, version: int) -> None:
        if worker.version != version or not worker.alive:
            return
        self._advance_sounds(worker)
        sound = worker.sounds.popleft()
        sound.video.sound_done = True
        segments = math.ceil(sound.video.upload.seconds / SEGMENT_SECONDS)
        out, took = self._outcome, max(1, int(self._costs.sound * sound.video.upload.seconds))
        ranges = self._costs.source_bits / 8 * sound.video.upload.seconds / MEBIBYTE
        for second in range(took):
            at = max(0, int(self._now) - second)
            out.demand.puts[at] += math.ceil(segments / took)
            out.demand.gets[at] += math.ceil(ranges / took)
            self._use(
                sound.video,
                at,
                writes=math.ceil(segments / took),
                reads=math.ceil(segments / took) * (self._run_reads(sound.video) + 2),
            )
        self._finish(sound.video)
        self._plan_sound(worker)

    # -- kills -------------------------------------------------------------------------------------

    def _kill_time(self) -> float:
        if not self._setup.kills_per_hour:
            return math.inf
        return self._random.expovariate(self._setup.kills_per_hour / 3600)

    def _kill(
        self, worker: _Worker, message: _Message, begun: float, when: Callable[[float], float]
    ) -> None:
        """Lose what was not recorded; the next worker goes on behind it once the lease is over."""
        video = message.video
        left = video.chunks[message.chunk] - video.recorded[message.chunk]
        kept = 0.0
        times = []
        while kept + SEGMENT_SECONDS < left and when(kept + SEGMENT_SECONDS) <= self._now:
            kept += SEGMENT_SECONDS
            times.append(when(kept))
        self._record(video, message.chunk, times, kept)
        video.recorded[message.chunk] += kept
        worker.busy += self._now - begun
        worker.alive = False
        out = self._outcome
        out.kills += 1
        out.encoded += kept
        out.repeated += min(
            SEGMENT_SECONDS, (self._now - begun) * self._setup.speed / self._costs.encode - kept
        )
        lost = [sound.video for sound in worker.sounds]
        again = self._now + self._setup.lease_seconds
        if message.chunk:
            self._at(again, lambda: self._again(message))
        else:
            self._at(again, lambda: self._restart(message))
        for one in lost:
            if one is not video or message.chunk:
                self._at(again, lambda one=one: self._sound_again(one))  # type: ignore[misc]
        self._at(self._now + self._setup.restart_seconds, self._replace_worker)

    def _again(self, message: _Message) -> None:
        self._jobs.done(message)
        self._jobs.put(message)
        self._hand_out()

    def _restart(self, message: _Message) -> None:
        self._express.append(message)
        self._hand_out()

    def _sound_again(self, video: _Video) -> None:
        worker = self._random.choice(self._workers)
        while not worker.alive:
            worker = self._random.choice(self._workers)
        self._add_sound(worker, video)

    def _replace_worker(self) -> None:
        worker = _Worker()
        worker.since = self._now
        self._workers.append(worker)
        self._idle.append(worker)
        self._hand_out()

    # -- what is asked for -------------------------------------------------------------------------

    def _use(self, video: _Video, time: float, *, writes: float = 0, reads: float = 0) -> None:
        second, demand = int(time), self._outcome.demand
        if writes:
            video.writes[second] += math.ceil(writes)
            demand.table_writes[second] += math.ceil(writes)
        if reads:
            video.reads[second] += math.ceil(reads)
            demand.table_reads[second] += math.ceil(reads)

    def _run_item(self, video: _Video) -> float:
        return self._costs.run_bytes + self._costs.run_bytes_per_chunk * len(video.chunks)

    def _run_writes(self, video: _Video) -> int:
        return math.ceil(self._run_item(video) / _WRITE_BYTES)

    def _run_reads(self, video: _Video) -> int:
        return math.ceil(self._run_item(video) / _READ_BYTES)

    def _run_calls(self, video: _Video, time: float, *, open_: bool) -> None:
        """Count what opens a message and claims its part, or what its end asks for."""
        run = self._run_reads(video)
        if open_:
            # The video, the run, the part; the part is taken; the inits are compared.
            self._use(video, time, writes=1, reads=3 + 2 * run)
        else:
            page = min(PAGE, len(video.chunks))
            full = self._costs.part_bytes + self._costs.part_bytes_per_segment * 4
            self._use(
                video, time, writes=2, reads=run + math.ceil(page * full / _READ_BYTES) + 1
            )

    def _queue_calls(self, count: int) -> None:
        self._outcome.demand.queue_calls[int(self._now)] += count


def simulate(costs: Costs, setup: Setup, uploads: Sequence[Upload]) -> Outcome:
    """Simulate ``uploads`` on the workers of ``setup``."""
    return Simulation(costs, setup, uploads).run()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of all lies; nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
