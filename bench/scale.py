"""Two workers of one processor each beside one, against two bare ffmpegs beside one.

The film is one video, so its chunks go through the queue to whoever is free. Of the bare ffmpegs
each gets one half, which is as evenly as work can be shared; they lose to each other what two
processes on one machine lose, and so do the workers.

    python bench/scale.py [--json] [--quick] [--runs N] [--source FILE]

What the runs took is kept in ``.local/bench/measured.json`` for ``simulation.py``.
"""

from __future__ import annotations

import time
from pathlib import Path

from harness import peers, sources
from harness.figures import Figure, arguments, median, report, say, show
from harness.measured import Measured, Timeline, timeline, typical
from harness.sources import Film
from harness.stage import Stage, cores, running_stage

from media_platform.contract.run import SOUND

AIM = 0.9


def measure(stage: Stage, film: Film, *, runs: int, chunk_seconds: int) -> Measured:
    """Run the film on one worker and on two, and bare, ``runs`` times each."""
    first, second = ([core] for core in cores()[:2])
    half = film.seconds / 2
    body = film.path.read_bytes()
    found: dict[int, list[Timeline]] = {1: [], 2: []}
    bare: dict[int, list[float]] = {1: [], 2: []}
    sound_cpu = 0.0
    for number in range(runs):
        bare[1].append(peers.side_by_side(film, [(0.0, film.seconds)], on=[first]))
        bare[2].append(peers.side_by_side(film, [(0.0, half), (half, half)], on=[first, second]))
        for count, on in ((1, [first]), (2, [first, second])):
            # Queues of its own: the last poll of a worker that has gone may still take a message.
            queues = stage.with_own_queues()
            with queues.workers([*on], chunk_seconds=chunk_seconds) as workers:
                job = queues.upload(body)
                sent = queues.send(job)
                queues.finished(job)
                queues.settled()
                found[count].append(timeline(workers, job, sent, float(film.rate)))
                for item in queues.items(job):
                    if item["sk"]["S"].endswith(f"#{SOUND}"):
                        sound_cpu = float(item["cpu_seconds"]["N"])
        ours = found[1][-1].ready / found[2][-1].ready
        say(
            f"{number + 1}: workers {found[1][-1].ready:.1f} s and {found[2][-1].ready:.1f} s"
            f" ({ours:.2f} x), bare {bare[1][-1]:.1f} s and {bare[2][-1]:.1f} s"
            f" ({bare[1][-1] / bare[2][-1]:.2f} x)"
        )
    return Measured(
        seconds=film.seconds,
        chunk_seconds=chunk_seconds,
        window=stage.environment.chunks_in_flight,
        one=typical(found[1]),
        two=typical(found[2]),
        bare_one=median(bare[1]),
        bare_two=median(bare[2]),
        sound_cpu=sound_cpu,
    )


def explain(measured: Measured) -> None:
    """Print where the time of both runs goes."""
    one, two = measured.one, measured.two
    last = [max(chunk[3] for chunk in run.chunks) for run in (one, two)]
    spent = [sum(chunk[2] for chunk in run.chunks) for run in (one, two)]
    rows = [
        ("planned after", one.planned, two.planned),
        ("playable after", one.playable, two.playable),
        ("sound done after", one.sound_done, two.sound_done),
        ("chunks, all together", *spent),
        ("last chunk done after", *last),
        ("from there to verified", one.verified - last[0], two.verified - last[1]),
        ("from there to ready", one.ready - one.verified, two.ready - two.verified),
        ("ready after", one.ready, two.ready),
    ]
    show(
        "where the time goes (seconds)",
        ("step", "one worker", "two workers"),
        [(name, f"{a:.2f}", f"{b:.2f}") for name, a, b in rows],
    )
    show(
        "chunks",
        ("number", "video", "one worker", "two workers"),
        [
            (a[0], f"{a[1]:.1f}", f"{a[2]:.1f}", f"{b[2]:.1f}")
            for a, b in zip(one.chunks, two.chunks, strict=True)
        ],
    )


def main() -> None:
    """Measure and print."""
    parser = arguments((__doc__ or "").splitlines()[0], runs=3)
    parser.add_argument("--source", type=Path, help="file to use; default: two minutes of 720p")
    asked = parser.parse_args()
    if asked.source:
        film = sources.remuxed(asked.source.resolve())
    elif asked.quick:
        film = sources.minute(seconds=40, lines=360, kilobits=2000)
    else:
        film = sources.minute(seconds=120, lines=720, kilobits=8000)
    begun = time.monotonic()
    with running_stage() as stage:
        measured = measure(
            stage,
            film,
            runs=1 if asked.quick else asked.runs,
            chunk_seconds=8 if asked.quick else stage.environment.chunk_seconds,
        )
    measured.save()
    explain(measured)
    say(f"took {time.monotonic() - begun:.0f} s")
    figure = Figure(
        name="two_workers",
        value=measured.one.ready / measured.two.ready,
        peer=measured.bare_one / measured.bare_two,
        aim=AIM,
        unit="x",
        at_least=True,
    )
    report("scale", [figure], as_json=asked.json)


if __name__ == "__main__":
    main()
