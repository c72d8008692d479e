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
from functools import partial

SEGMENT_SECONDS = 4
PAGE = 16
"""Chunks that a look at a run reads at a time."""

MEBIBYTE = 1024 * 1024
PEAK_SECONDS = 10
"""Peaks are means over this time: services allow for shorter bursts."""

_SOUND_RECORDS = 3
"""Writes in which a second's segments of a sound are recorded."""

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
        first_extra: What the first chunk takes besides, up to playable: the loudness and the first
            segments of the sound, and the first playlists.
        poster: From playable to the end of the first chunk.
        between: From the end of a chunk to the receipt of the next message.
        sound: What a second of the sound takes of a processor, behind the first chunk.
        sound_weight: What one sound gets of a worker, by what the picture beside it gets.
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
    first_extra: float = 1.0
    poster: float = 0.3
    between: float = 0.1
    sound: float = 0.015
    sound_weight: float = 0.3
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
        peak_writes: Write units a second of its partition of the table, in the busiest seconds.
        peak_reads: Read units a second of it, the same.
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
        calls: Calls by service and kind, over all.
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


def chunk_lengths(seconds: float, chunk_seconds: int) -> list[float]:
    """Return the lengths in seconds of the chunks of a picture, as the planner cuts it."""
    if seconds <= 2 * SEGMENT_SECONDS:
        return [seconds]
    segments = int((seconds - SEGMENT_SECONDS + SEGMENT_SECONDS / 2) // SEGMENT_SECONDS)
    count = -(-segments // max(1, chunk_seconds // SEGMENT_SECONDS))
    each, longer = divmod(segments, count)
    lengths = [float(SEGMENT_SECONDS)]
    lengths += [float((each + (number < longer)) * SEGMENT_SECONDS) for number in range(count - 1)]
    return [*lengths, seconds - sum(lengths)]


class _Video:
    def __init__(self, number: int, upload: Upload, chunks: list[float]) -> None:
        self.number = number
        self.upload = upload
        self.chunks = chunks
        self.left = len(chunks)
        self.recorded = [0.0] * len(chunks)
        self.sound_done = False
        self.ended = False
        self.planned = False
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
        self._workers = [_Worker() for _ in range(setup.workers)]
        self._idle = deque(self._workers)
        self._videos = [
            _Video(number, upload, chunk_lengths(upload.seconds, setup.chunk_seconds))
            for number, upload in enumerate(uploads)
        ]
        self._outcome = Outcome([Result(upload) for upload in uploads], Demand())

    def run(self) -> Outcome:
        """Run to the end of all videos."""
        for video in self._videos:
            self._at(video.upload.at, partial(self._arrive, video))
        while self._events:
            self._now, _, act = heapq.heappop(self._events)
            act()
        out = self._outcome
        out.seconds = max((r.upload.at + r.ready for r in out.results), default=0.0)
        busy = sum(worker.busy for worker in self._workers)
        out.busy = busy / (out.seconds * self._setup.workers) if out.seconds else 0.0
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
            self._receive(self._idle.popleft())

    def _receive(self, worker: _Worker) -> None:
        """Give a worker that is free its next message, or let it wait."""
        message = self._express.popleft() if self._express else self._jobs.take()
        if message is None:
            self._idle.append(worker)
            return
        # It looks at the express queue, receives, hides and deletes.
        self._queue_calls(4)
        self._change(worker, heavy=True)
        # The video, the run, the part; the part is taken; the init segments are compared.
        item = self._run_item(message.video)
        self._use(message.video, self._now, writes=[1], reads=[1, item, 1, item])
        start = self._now + self._costs.receive
        if message.chunk == 0 and not message.video.planned:
            self._at(start + self._costs.plan, partial(self._planned, worker, message))
        else:
            self._at(start, partial(self._encode, worker, message))

    def _planned(self, worker: _Worker, message: _Message) -> None:
        video = message.video
        video.planned = True
        # The plan is written and read again; the sound is claimed, its gain noted.
        item = self._run_item(video)
        self._use(video, self._now, writes=[item, 1, 1, item], reads=[item, 1])
        # Index and tail of the source are read by a few ranges.
        self._outcome.demand.gets[int(self._now)] += 8
        for chunk in range(1, self._setup.window):
            self._send(video, chunk)
        self._encode(worker, message)

    # -- the picture -------------------------------------------------------------------------------

    def _encode(self, worker: _Worker, message: _Message) -> None:
        video, begun = message.video, self._now
        length = video.chunks[message.chunk] - video.recorded[message.chunk]
        when = partial(self._encoded_at, worker, message, begun)
        end, killed = when(length), begun + self._kill_after()
        if killed < end:
            self._at(killed, partial(self._kill, worker, message, begun, when))
            return
        self._record(video, _segment_times(length, when), length)
        worker.busy += end - begun
        self._outcome.encoded += length
        self._at(end, partial(self._encoded, worker, message))

    def _encoded_at(
        self, worker: _Worker, message: _Message, begun: float, seconds: float
    ) -> float:
        """Return when ``seconds`` of a chunk are encoded that was begun at a time."""
        costs = self._costs
        work = costs.encode_start + seconds * costs.encode / self._setup.speed
        if message.chunk == 0:
            work += costs.first_extra
        sound = sum(one.left for one in worker.sounds)
        if not sound:
            return begun + work
        # Beside sounds, the picture gets a share of 1 / slower, until they are done.
        slower = 1 + costs.sound_weight * len(worker.sounds)
        done_beside = sound / (slower - 1)
        if work <= done_beside:
            return begun + work * slower
        return begun + work + done_beside * (slower - 1)

    def _record(self, video: _Video, times: Sequence[float], length: float) -> None:
        """Count what recording segments at ``times`` asks for."""
        costs, item = self._costs, self._costs.part_bytes
        ranges = math.ceil(costs.source_bits / 8 * length / MEBIBYTE) + 2
        for time in times:
            item += costs.part_bytes_per_segment
            self._use(video, time, writes=[item])
            self._put(time, "segment", costs.rungs)
            self._outcome.demand.gets[int(time)] += math.ceil(ranges / len(times))
            self._recorded(video, time)

    def _recorded(self, video: _Video, time: float) -> None:
        """Count new playlists; or, if there were some a moment ago, a look at the run alone."""
        if self._takes_turn(video, time):
            self._use(video, time, reads=self._look(video))
        else:
            self._use(video, time, reads=[self._run_item(video)])

    def _takes_turn(self, video: _Video, time: float) -> bool:
        """Count new playlists if it is time for them; tell whether it is."""
        turn = int(time / self._setup.playlist_interval)
        if turn in video.turns:
            return False
        video.turns.add(turn)
        item = self._run_item(video)
        self._use(video, time, writes=[item, item])
        self._put(time, "playlist", self._costs.tracks)
        return True

    def _encoded(self, worker: _Worker, message: _Message) -> None:
        video, window = message.video, self._setup.window
        video.recorded[message.chunk] = video.chunks[message.chunk]
        video.left -= 1
        # It is noted that the chunk is done, and looked once more.
        self._use(video, self._now, writes=[self._costs.part_bytes], reads=self._look(video))
        self._takes_turn(video, self._now)
        self._put(self._now, "init", self._costs.rungs)
        pause = self._costs.between
        if message.chunk == 0:
            self._outcome.results[video.number].playable = self._now - video.upload.at
            pause += self._costs.poster
            self._put(self._now, "init", self._costs.tracks - self._costs.rungs)
            self._put(self._now, "other", 2)  # the poster, and the multivariant playlist
            self._add_sound(worker, video)
        else:
            self._jobs.done(message)
        self._send(video, message.chunk + window)
        pause += self._finish(video)
        self._at(self._now + pause, partial(self._free, worker))

    def _free(self, worker: _Worker) -> None:
        self._change(worker, heavy=False)
        self._receive(worker)

    def _finish(self, video: _Video) -> float:
        """End a run whose last part is done; return how long that takes."""
        if video.left or not video.sound_done or video.ended:
            return 0.0
        video.ended = True
        costs = self._costs
        item = self._run_item(video)
        pages = [self._page(video)] * math.ceil(len(video.chunks) / PAGE)
        self._use(
            video,
            self._now,
            writes=[1, 1024, 1024, item, costs.part_bytes],
            reads=[1, item, 1, 1, item, 1, 1, *pages],
        )
        self._put(self._now, "playlist", costs.rungs + costs.tracks)
        self._put(self._now, "other", 3)
        result = self._outcome.results[video.number]
        result.ready = self._now + costs.end - video.upload.at
        result.peak_writes = peak(video.writes)
        result.peak_reads = peak(video.reads)
        video.writes.clear()
        video.reads.clear()
        return costs.end

    # -- the sound ---------------------------------------------------------------------------------

    def _add_sound(self, worker: _Worker, video: _Video) -> None:
        self._advance_sounds(worker)
        # One thread works on it at a time, however many processors there are.
        worker.sounds.append(_Sound(video, self._costs.sound * video.upload.seconds))
        self._outcome.most_sounds = max(self._outcome.most_sounds, len(worker.sounds))
        self._plan_sound(worker)

    def _change(self, worker: _Worker, *, heavy: bool) -> None:
        self._advance_sounds(worker)
        worker.heavy = heavy
        self._plan_sound(worker)

    def _sound_rate(self, worker: _Worker) -> float:
        """Return how fast the first sound of a worker gets on; the others wait for it."""
        if not worker.heavy:
            return 1.0
        weight = self._costs.sound_weight * len(worker.sounds)
        return weight / (1 + weight)

    def _advance_sounds(self, worker: _Worker) -> None:
        if worker.sounds:
            done = (self._now - worker.since) * self._sound_rate(worker)
            worker.sounds[0].left = max(0.0, worker.sounds[0].left - done)
        worker.since = self._now

    def _plan_sound(self, worker: _Worker) -> None:
        worker.version += 1
        if worker.sounds:
            due = self._now + worker.sounds[0].left / self._sound_rate(worker)
            self._at(due, partial(self._sound_due, worker, worker.version))

    def _sound_due(self, worker: _Worker, version: int) -> None:
        if worker.version != version:
            return
        self._advance_sounds(worker)
        sound = worker.sounds.popleft()
        self._count_sound(sound.video)
        sound.video.sound_done = True
        self._finish(sound.video)
        self._plan_sound(worker)

    def _count_sound(self, video: _Video) -> None:
        """Count what a sound that is done now asked for on the way."""
        seconds = video.upload.seconds
        took = max(1, int(self._costs.sound * seconds))
        segments = math.ceil(math.ceil(seconds / SEGMENT_SECONDS) / took)
        ranges = math.ceil(self._costs.source_bits / 8 * seconds / MEBIBYTE / took)
        # Segments that are ready at the same time are recorded by one write.
        writes = min(segments, _SOUND_RECORDS)
        # The init segments are compared and noted; in the end, all is looked at once more.
        item = self._run_item(video)
        self._use(video, self._now, writes=[item, 1], reads=[item, 1, *self._look(video)])
        for second in range(took):
            at = max(0, int(self._now) - second)
            self._put(at, "segment", segments)
            self._outcome.demand.gets[at] += ranges
            size = self._costs.part_bytes
            reads = [self._run_item(video)] * writes
            self._use(video, at, writes=[size] * writes, reads=reads)
            self._takes_turn(video, at)

    # -- kills -------------------------------------------------------------------------------------

    def _kill_after(self) -> float:
        if not self._setup.kills_per_hour:
            return math.inf
        return self._random.expovariate(self._setup.kills_per_hour / 3600)

    def _kill(
        self, worker: _Worker, message: _Message, begun: float, when: Callable[[float], float]
    ) -> None:
        """Lose what was not recorded; the next worker goes on behind it once the lease is over."""
        video, out = message.video, self._outcome
        left = video.chunks[message.chunk] - video.recorded[message.chunk]
        times = [time for time in _segment_times(left, when) if time <= self._now]
        kept = float(SEGMENT_SECONDS * len(times))
        self._record(video, times, kept)
        video.recorded[message.chunk] += kept
        worker.busy += self._now - begun
        out.kills += 1
        out.encoded += kept
        out.repeated += min(SEGMENT_SECONDS, left - kept)
        self._change(worker, heavy=False)
        worker.version += 1
        lost = [sound.video for sound in worker.sounds]
        worker.sounds.clear()
        again = self._now + self._setup.lease_seconds
        self._at(again, partial(self._again, message))
        for one in lost:
            self._at(again, partial(self._sound_again, one))
        self._at(self._now + self._setup.restart_seconds, partial(self._receive, worker))

    def _again(self, message: _Message) -> None:
        if message.chunk:
            self._jobs.done(message)
            self._jobs.put(message)
        else:
            self._express.append(message)
        self._hand_out()

    def _sound_again(self, video: _Video) -> None:
        """Let another worker begin anew with a sound."""
        self._add_sound(self._random.choice(self._workers), video)

    # -- what is asked for -------------------------------------------------------------------------

    def _use(
        self,
        video: _Video,
        time: float,
        *,
        writes: Sequence[float] = (),
        reads: Sequence[float] = (),
    ) -> None:
        """Count calls of the table, given the bytes that each is about."""
        second, out = int(time), self._outcome
        units = sum(math.ceil(size / _WRITE_BYTES) for size in writes)
        if units:
            video.writes[second] += units
            out.demand.table_writes[second] += units
            out.calls["table write"] += len(writes)
        units = sum(math.ceil(size / _READ_BYTES) for size in reads)
        if units:
            video.reads[second] += units
            out.demand.table_reads[second] += units
            out.calls["table read"] += len(reads)

    def _run_item(self, video: _Video) -> float:
        return self._costs.run_bytes + self._costs.run_bytes_per_chunk * len(video.chunks)

    def _page(self, video: _Video) -> float:
        """Return the bytes of a page of chunks."""
        segments = self._setup.chunk_seconds / SEGMENT_SECONDS
        full = self._costs.part_bytes + self._costs.part_bytes_per_segment * segments
        return full * min(PAGE, len(video.chunks))

    def _look(self, video: _Video) -> list[float]:
        """Return what a look at how far a run is reads: the run, a page of chunks, the sound."""
        return [self._run_item(video), self._page(video), 1]

    def _put(self, time: float, kind: str, count: int) -> None:
        self._outcome.demand.puts[int(time)] += count
        self._outcome.calls[f"{kind} put"] += count

    def _queue_calls(self, count: int) -> None:
        self._outcome.demand.queue_calls[int(self._now)] += count
        self._outcome.calls["queue"] += count


def _segment_times(length: float, when: Callable[[float], float]) -> list[float]:
    """Return when each segment of a chunk of ``length`` is encoded."""
    count = max(1, math.ceil(length / SEGMENT_SECONDS - 1e-9))
    return [when(min(length, (number + 1) * SEGMENT_SECONDS)) for number in range(count)]


def simulate(costs: Costs, setup: Setup, uploads: Sequence[Upload]) -> Outcome:
    """Simulate ``uploads`` on the workers of ``setup``."""
    return Simulation(costs, setup, uploads).run()


def peak(units: Counter[int]) -> float:
    """Return the highest mean over :data:`PEAK_SECONDS` of what is counted by second."""
    slots: Counter[int] = Counter()
    for second, some in units.items():
        slots[second // PEAK_SECONDS] += some
    return max(slots.values(), default=0) / PEAK_SECONDS


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of all lies; nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
