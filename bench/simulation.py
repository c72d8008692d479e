"""The protocol at a thousand workers: what comes next, and how soon videos play.

A discrete-event simulation (``harness/protocol.py``) with constants that were measured: the times
are those of ``scale.py``, the sizes of items and the numbers of calls those of a real run through a
counting server. It is held against the real runs on one and on two workers first, and then asked
for what no laptop can show: 1,000 workers, 10,000 videos, one video of ten hours.

    python bench/simulation.py [--json] [--quick] [--measured FILE] [--processors N]
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import scale
from harness import peers, sources
from harness.figures import Figure, arguments, console, median, report, say, show
from harness.measured import FILE, Measured
from harness.protocol import Costs, Outcome, Setup, Upload, peak, percentile, simulate
from harness.stage import cores, running_stage

ERROR_AIM = 1.15

MUX = (
    ("0-1 min", 10, 60, 0.40, 1.8, 3.6),
    ("1-5 min", 60, 300, 0.30, 2.6, 18.7),
    ("5-20 min", 300, 1200, 0.18, 5.5, 37.0),
    ("20-60 min", 1200, 3600, 0.09, 27.0, 660.0),
    ("over 60 min", 3600, 4 * 3600, 0.03, 50.0, 960.0),
)
"""Lengths in seconds, the share of uploads that has them (ours to assume), and what Mux states of
their time to playable: median and 95th percentile in seconds."""

INTAKE_SECONDS = 1.0
"""From the end of an upload to its message on AWS: event, rule, function. An assumption, added to
every time to playable; a warm function takes 0.13 s on the emulator."""

EFFICIENCY = 0.9
"""What a processor more adds to a worker; an assumption, the spikes saw 0.9 to 0.95 for two."""

TENANTS = 200
LONG_VIDEO_SECONDS = 36_000.0

PARTITION_WRITES, PARTITION_READS = 1000, 3000
"""Units a second that a partition of DynamoDB gives; a video is one item collection of it.
Source: Amazon DynamoDB Developer Guide, "Designing partition keys to distribute your workload"."""

TABLE_WRITES, TABLE_READS = 40_000, 40_000
"""Units a second of a table on demand. Source: the same, "Service, account, and table quotas"."""

NEW_TABLE_WRITES, NEW_TABLE_READS = 4_000, 12_000
"""What a new table on demand gives before it has seen more. Source: the same, "On-demand mode"."""

PREFIX_PUTS, PREFIX_GETS = 3_500, 5_500
"""Requests a second of an S3 prefix, which S3 splits further under load. Source: Amazon S3 User
Guide, "Best practices design patterns: optimizing Amazon S3 performance"."""


@dataclass(frozen=True)
class Counted:
    """What a real run asked for.

    Attributes:
        calls: Calls by kind, as the simulation names them.
        details: The same as they were counted.
        run_bytes: Bytes of the item of the run, without its chunks.
        run_bytes_per_chunk: Further ones by chunk.
        part_bytes: Bytes of the item of a chunk, without its segments.
        part_bytes_per_segment: Further ones by segment.
        seconds: Length of the film.
        encode: Seconds that a second of it took.
    """

    calls: Counter[str]
    details: Counter[tuple[str, str, str]]
    run_bytes: float
    run_bytes_per_chunk: float
    part_bytes: float
    part_bytes_per_segment: float
    seconds: float
    encode: float


def item_bytes(item: dict[str, Any]) -> int:
    """Return the size of an item as DynamoDB counts it: names and values, numbers by digits."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(wire: dict[str, Any]) -> int:
    ((kind, value),) = wire.items()
    match kind:
        case "S":
            return len(value.encode())
        case "N":
            return len(value.lstrip("-0.").replace(".", "")) // 2 + 2
        case "M":
            return 3 + sum(len(k.encode()) + 1 + _value_bytes(v) for k, v in value.items())
        case "L":
            return 3 + sum(1 + _value_bytes(v) for v in value)
        case _:
            return 1


def count(seconds: int, chunk_seconds: int = 8) -> Counted:
    """Count the calls of a real run, and weigh its items.

    The film is easy to encode and has all four rungs: calls do not depend on what pictures show.
    """
    film = sources.easy(seconds=seconds)
    with running_stage() as stage:
        queues = stage.with_own_queues()
        with queues.workers([None], counted=True, chunk_seconds=chunk_seconds) as (worker,):
            job = queues.upload(film.path.read_bytes())
            stage.front.seen.reset()
            queues.send(job)
            queues.finished(job)
            queues.settled()
            seen = Counter(stage.front.seen.calls)
            items = {item["sk"]["S"]: item for item in queues.items(job)}
            took = [float(line["seconds"]) for line in worker.events(job, "chunk done")]
    run = next(item for key, item in items.items() if key.endswith("#STATE"))
    chunks = [item for key, item in items.items() if "#PART#video#" in key]
    segments = sum(int(span["M"]["segments"]["N"]) for c in chunks for span in c["spans"]["L"])
    weighed = sum(item_bytes(chunk) for chunk in chunks)
    lists = sum(_value_bytes(chunk["key_frames"]) for chunk in chunks)
    # The plan holds two numbers for each chunk; in ten hours of video they have six digits.
    per_chunk = 18.0
    return Counted(
        calls=_by_kind(seen),
        details=seen,
        run_bytes=item_bytes(run) - per_chunk * len(chunks),
        run_bytes_per_chunk=per_chunk,
        part_bytes=(weighed - lists) / len(chunks),
        part_bytes_per_segment=lists / segments,
        seconds=film.seconds,
        encode=sum(took) / film.seconds,
    )


def _by_kind(seen: Counter[tuple[str, str, str]]) -> Counter[str]:
    calls: Counter[str] = Counter()
    for (service, operation, about), number in seen.items():
        if service == "DynamoDB":
            read = operation in {"GetItem", "Query"}
            calls["table read" if read else "table write"] += number
        elif service == "S3" and operation == "PUT":
            calls[f"{about if about in {'segment', 'playlist', 'init'} else 'other'} put"] += number
        elif service == "AmazonSQS":
            calls["queue"] += number
    return calls


def fit(measured: Measured, counted: Counted) -> Costs:
    """Return the constants that the run on one worker tells."""
    run = measured.one
    pure = measured.bare_one / measured.seconds
    later = [chunk for chunk in run.chunks[1:] if chunk[3] - chunk[2] >= run.sound_done]
    later = later or list(run.chunks[1:])
    start = median(took - pure * seconds for _, seconds, took, _ in later)
    if start < 0:  # the bare run met a busier machine
        start, pure = 0.0, median(took / seconds for _, seconds, took, _ in later)
    first = run.chunks[0]
    gaps = [
        after[3] - after[2] - before[3]
        for before, after in zip(run.chunks, run.chunks[1:], strict=False)
    ]
    return Costs(
        receive=max(0.0, run.started),
        plan=run.planned - run.started,
        encode_start=start,
        encode=pure,
        first_extra=max(0.0, run.playable - run.planned - start - pure * first[1]),
        poster=max(0.0, first[3] - run.playable),
        between=max(0.0, median(gaps) - max(0.0, run.started)),
        sound=measured.sound_cpu / measured.seconds,
        end=max(0.0, run.ready - max(run.chunks[-1][3], run.sound_done)),
        run_bytes=counted.run_bytes,
        run_bytes_per_chunk=counted.run_bytes_per_chunk,
        part_bytes=counted.part_bytes,
        part_bytes_per_segment=counted.part_bytes_per_segment,
    )


def check(measured: Measured, counted: Counted, costs: Costs) -> list[Figure]:
    """Hold the simulation against the real runs."""
    film = [Upload(measured.seconds)]
    # Two processes on one machine take something from each other; the bare ones tell how much.
    shared = max(1.0, 2 * measured.bare_two / measured.bare_one)
    figures = []
    for workers, real in ((1, measured.one), (2, measured.two)):
        slower = costs if workers == 1 else _slower(costs, shared)
        setup = Setup(workers=workers, chunk_seconds=measured.chunk_seconds, window=measured.window)
        result = simulate(slower, setup, film).results[0]
        name = f"{'one' if workers == 1 else 'two'}_worker{'s' if workers > 1 else ''}"
        figures += [
            _error(f"{name}_ready", result.ready, real.ready),
            _error(f"{name}_playable", result.playable, real.playable),
        ]
    alone = simulate(
        replace(costs, encode=counted.encode, encode_start=0.0),
        Setup(workers=1, chunk_seconds=8),
        [Upload(counted.seconds)],
    )
    kinds = sorted(counted.calls)
    show(
        f"calls of one run of {counted.seconds:.0f} s",
        ("kind", "real", "simulated"),
        [(kind, counted.calls[kind], alone.calls[kind]) for kind in kinds],
    )
    for kind in ("table read", "table write", "segment put"):
        name = f"calls_{kind.replace(' ', '_')}"
        figures.append(_error(name, alone.calls[kind], counted.calls[kind], unit=""))
    return figures


def _slower(costs: Costs, factor: float) -> Costs:
    return replace(
        costs,
        encode=costs.encode * factor,
        encode_start=costs.encode_start * factor,
        first_extra=costs.first_extra * factor,
    )


def _error(name: str, simulated: float, real: float, unit: str = "s") -> Figure:
    """Return a figure whose ratio is the error, in whichever direction."""
    high, low = max(simulated, real), min(simulated, real)
    say(f"{name}: simulated {simulated:.1f}{unit}, real {real:.1f}{unit}")
    return Figure(name=f"error_{name}", value=high, peer=low, aim=ERROR_AIM, unit=unit)


def mix(number: int, generator: random.Random) -> list[float]:
    """Return lengths of videos in seconds: mostly short ones, and a tail of hours."""
    shares = [share for *_, share, _, _ in MUX]
    lengths = []
    for kind in generator.choices(range(len(MUX)), shares, k=number):
        low, high = MUX[kind][1:3]
        lengths.append(math.exp(generator.uniform(math.log(low), math.log(high))))
    return lengths


def burst(lengths: Sequence[float], generator: random.Random) -> list[Upload]:
    """Return uploads that all arrive at once."""
    return [Upload(seconds, 0.0, generator.randrange(TENANTS)) for seconds in lengths]


def steady(
    lengths: Sequence[float], generator: random.Random, costs: Costs, setup: Setup, load: float
) -> list[Upload]:
    """Return uploads that arrive at random and keep workers busy for a share of the time."""
    work = sum(lengths) / len(lengths) * costs.encode / setup.speed + costs.plan
    rate = load * setup.workers / work
    at, uploads = 0.0, []
    for seconds in lengths:
        at += generator.expovariate(rate)
        uploads.append(Upload(seconds, at, generator.randrange(TENANTS)))
    return uploads


def by_length(outcome: Outcome) -> dict[str, tuple[float, float]]:
    """Return median and 95th percentile of the time to playable, by length."""
    found = {}
    for name, low, high, *_ in MUX:
        some = [
            result.playable + INTAKE_SECONDS
            for result in outcome.results
            if low <= result.upload.seconds < high
        ]
        if some:
            found[name] = (percentile(some, 0.5), percentile(some, 0.95))
    return found


def limits(outcome: Outcome, setup: Setup) -> None:
    """Print which limit comes next, and at how many workers."""
    demand = outcome.demand
    most = max(outcome.results, key=lambda result: result.peak_reads)
    rows = [
        ("table, write units", peak(demand.table_writes), TABLE_WRITES),
        ("table, read units", peak(demand.table_reads), TABLE_READS),
        ("new table, write units", peak(demand.table_writes), NEW_TABLE_WRITES),
        ("new table, read units", peak(demand.table_reads), NEW_TABLE_READS),
        (
            "partition of a video, write units",
            max(result.peak_writes for result in outcome.results),
            PARTITION_WRITES,
        ),
        (
            f"partition of a video ({most.upload.seconds / 60:.0f} min), read units",
            most.peak_reads,
            PARTITION_READS,
        ),
        ("S3, objects written (limit of a prefix)", peak(demand.puts), PREFIX_PUTS),
        ("S3, ranges read (limit of a prefix)", peak(demand.gets), PREFIX_GETS),
        ("SQS, calls (standard queue)", peak(demand.queue_calls), math.inf),
    ]
    rows.sort(key=lambda row: row[1] / row[2], reverse=True)
    show(
        f"limits at {setup.workers} workers, the next one first",
        ("what, a second", "demand", "limit", "reached at workers"),
        [
            (
                name,
                f"{asked:,.0f}",
                "none" if limit == math.inf else f"{limit:,}",
                "-" if limit == math.inf or not asked else f"{setup.workers * limit / asked:,.0f}",
            )
            for name, asked, limit in rows
        ],
    )


def many(costs: Costs, setup: Setup, videos: int) -> list[Figure]:
    """Simulate many videos: all at once, at a steady load, and with workers that are killed."""
    generator = random.Random(setup.seed)  # noqa: S311 - repeatable, not secret
    lengths = mix(videos, generator)
    say(f"{videos} videos of {sum(lengths) / 3600:,.0f} hours on {setup.workers} workers")
    scenes = {
        "all at once": (burst(lengths, generator), setup),
        "steady, 70 % busy": (steady(lengths, generator, costs, setup, 0.7), setup),
        "steady, each killed every 2 h": (
            steady(lengths, generator, costs, setup, 0.7),
            replace(setup, kills_per_hour=0.5),
        ),
    }
    outcomes = {}
    for name, (uploads, how) in scenes.items():
        begun = time.monotonic()
        out = outcomes[name] = simulate(costs, how, uploads)
        last = max(result.ready for result in out.results)
        say(
            f"{name}: over after {out.seconds / 60:.0f} min, workers busy {out.busy:.0%}, "
            f"longest time to READY {last / 60:.0f} min, at most {out.most_sounds} sounds on a "
            f"worker; {out.kills} kills, {out.repeated:,.0f} s of {out.encoded:,.0f} s of picture "
            f"encoded again (simulated in {time.monotonic() - begun:.0f} s)"
        )
    tables = {name: by_length(out) for name, out in outcomes.items()}
    show(
        f"time to playable, seconds, p50 / p95 (with {INTAKE_SECONDS:g} s for the intake)",
        ("length", "Mux", *tables),
        [
            (
                name,
                f"{p50:g} / {p95:g}",
                *(
                    "{:.1f} / {:.1f}".format(*table[name]) if name in table else "-"
                    for table in tables.values()
                ),
            )
            for name, *_, p50, p95 in MUX
        ],
    )
    limits(outcomes["all at once"], setup)
    found = tables["steady, 70 % busy"]
    return [
        Figure(name=f"playable_{share}_{name.replace(' ', '_')}", value=ours, peer=theirs, aim=1.0)
        for name, *_, p50, p95 in MUX
        if name in found
        for share, ours, theirs in zip(("p50", "p95"), found[name], (p50, p95), strict=True)
    ]


def one_long(costs: Costs, setup: Setup, seconds: float) -> None:
    """Print how one long video fares on more workers, and what it asks of its partition."""
    rows = []
    for workers in (1, 10, 100, 300, 1000):
        how = replace(setup, workers=workers, window=max(setup.window, workers))
        result = simulate(costs, how, [Upload(seconds)]).results[0]
        rows.append(
            (
                workers,
                f"{result.playable + INTAKE_SECONDS:.1f} s",
                f"{result.ready / 60:.1f} min",
                f"{result.peak_writes:,.0f}",
                f"{result.peak_reads:,.0f}",
            )
        )
    show(
        f"one video of {seconds / 3600:g} hours, its window as large as there are workers; its "
        f"partition gives {PARTITION_WRITES:,} and {PARTITION_READS:,}",
        ("workers", "playable", "ready", "write units/s", "read units/s"),
        rows,
    )
    entries = math.ceil(seconds / 4)
    say(
        f"its sound alone takes {seconds * costs.sound / 60:.1f} min, as it is one part; at the "
        f"end a playlist has {entries:,} entries, {entries * 40 / 1e3:,.0f} kB, and "
        f"{costs.tracks} of them are written every {setup.playlist_interval:g} s"
    )


def main() -> None:
    """Measure what is missing, simulate, and print."""
    parser = arguments((__doc__ or "").splitlines()[0], runs=1)
    parser.add_argument(
        "--measured", type=Path, default=FILE, help="what scale.py measured; else it is done now"
    )
    parser.add_argument(
        "--processors", type=int, default=4, help="processors of a simulated worker (default 4)"
    )
    asked = parser.parse_args()
    begun = time.monotonic()
    if asked.measured.exists():
        measured = Measured.load(asked.measured)
        say(f"constants of {asked.measured.name}")
    else:
        film = sources.minute(seconds=40, lines=360, kilobits=2000)
        with running_stage() as stage:
            measured = scale.measure(stage, film, runs=1, chunk_seconds=8)
    counted = count(20 if asked.quick else 60)
    costs = fit(measured, counted)
    figures = check(measured, counted, costs)
    # The constants are of one processor and of the film of that run; simulated is 1080p.
    full = sources.minute(seconds=8)
    costs = replace(costs, encode=peers.whole(full, threads=1, on=[cores()[0]]) / full.seconds)
    speed = 1 + (asked.processors - 1) * EFFICIENCY
    # What the first chunk takes besides is spread over the processors as well.
    costs = replace(costs, first_extra=costs.first_extra / min(speed, 2.0))
    console.print(costs)
    say(f"a worker has {asked.processors} processors and encodes {speed:.1f} x as fast as one")
    setup = Setup(workers=50 if asked.quick else 1000, speed=speed)
    figures += many(costs, setup, 500 if asked.quick else 10_000)
    one_long(costs, setup, LONG_VIDEO_SECONDS)
    say(f"took {time.monotonic() - begun:.0f} s")
    report("simulation", figures, as_json=asked.json)


if __name__ == "__main__":
    main()
