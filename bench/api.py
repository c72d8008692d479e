"""The API on one processor, beside the same work done in the usual ways; load comes from another.

What stands for AWS answers with bytes that are ready, on the processor of the load, so that neither
it nor the emulator is what is measured. Every request carries a token; of those to routes that
verify one, a tenth carries a token that the server has not seen. What a server takes that has
enough to do is told by its processor time, which others on the machine do not change much.

    python bench/api.py [--json] [--quick] [--runs N] [--only PART]...
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness import api_lists
from harness.api_load import Outcome, load
from harness.api_servers import Bench, Server, Tokens, running_bench
from harness.api_signers import signed_urls
from harness.figures import Figure, arguments, median, report, say, show, stop_on_sigterm
from harness.stage import cores

from media_platform.contract.ids import new_id

PARTS = ("cached", "uncached", "playback", "latency", "memory", "overload", "lists")
CONNECTIONS = 32
"""Connections of load that takes all it can get."""

OPEN_CONNECTIONS = 1000
"""Connections of load on a schedule: nearly all that the server takes."""

HOT_VIDEOS = 10
_NEW_TOKENS = 0.1


@dataclass(frozen=True, kw_only=True)
class Size:
    """How long everything takes.

    Attributes:
        seconds: Of each measurement.
        warm_seconds: Of each warm-up.
        tokens: Tokens to choose from.
        memory_requests: Requests while the memory is watched.
        videos: Videos of an owner.
    """

    seconds: float
    warm_seconds: float
    tokens: int
    memory_requests: int
    videos: int


FULL = Size(seconds=4, warm_seconds=1.5, tokens=24_000, memory_requests=100_000, videos=10_000)
QUICK = Size(seconds=0.5, warm_seconds=0.3, tokens=2_000, memory_requests=5_000, videos=500)


class Requests:
    """Requests with tokens: nine of ten with one of a few, the tenth with one that is new.

    When there is no new token left, those that were used longest ago are used again; by then the
    server has forgotten them.
    """

    def __init__(self, tokens: Tokens, count: int) -> None:
        say(f"signing {count} tokens")
        made = tokens.make(count)
        self._known, self._new = made[:100], itertools.cycle(made[100:])
        self._dice = random.Random(1)  # noqa: S311 - it spreads load

    def of(self, path: Callable[[], str], *, new: float = _NEW_TOKENS) -> Iterator[bytes]:
        """Return GET requests without end, as a load balancer passes them on."""
        number = itertools.count()
        while True:
            is_new = self._dice.random() < new
            token = next(self._new) if is_new else self._dice.choice(self._known)
            yield (
                f"GET {path()} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n"
                f"X-Amzn-Trace-Id: Root=1-67891233-{next(number):024x}\r\n"
                f"Accept: application/json\r\nAuthorization: Bearer {token}\r\n\r\n"
            ).encode()


def cached() -> Callable[[], str]:
    """Return paths of a few videos, which are read all the time."""
    paths = itertools.cycle([f"/api/videos/{new_id()}" for _ in range(HOT_VIDEOS)])
    return lambda: next(paths)


def uncached() -> str:
    """Return the path of a video that nobody read before."""
    return f"/api/videos/{new_id()}"


def playback() -> Callable[[], str]:
    """Return paths by which the playback of a few videos is granted."""
    path = cached()
    return lambda: f"{path()}/playback"


def saturated(server: Server, requests: Iterator[bytes], size: Size) -> tuple[Outcome, float]:
    """Let a server do all it can; return what it did, and its processor seconds."""
    load(server.port, requests, connections=CONNECTIONS, seconds=size.warm_seconds)
    begun = 0.0

    def begin() -> None:
        nonlocal begun
        begun = server.cpu_seconds()

    outcome = load(
        server.port, requests, connections=CONNECTIONS, seconds=size.seconds, begun=begin
    )
    if set(outcome.statuses) != {200}:
        raise SystemExit(f"not all answers were good: {dict(outcome.statuses)}")
    return outcome, server.cpu_seconds() - begun


class Measurements:
    """Measures one part after the other.

    Args:
        bench: The servers.
        requests: The requests.
        size: How long everything takes.
        runs: Runs of each; medians count.
    """

    def __init__(self, bench: Bench, requests: Requests, size: Size, runs: int) -> None:
        self._bench = bench
        self._requests = requests
        self._size = size
        self._runs = runs

    def _rates(self, modes: list[str], path: Callable[[], str]) -> dict[str, tuple[float, float]]:
        """Return good answers a second and processor seconds per 1,000 of them, by server."""
        found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
        for _ in range(self._runs):
            for mode in modes:
                with self._bench.server(mode) as server:
                    outcome, cpu = saturated(server, self._requests.of(path), self._size)
                found[mode].append((outcome.rate, cpu / outcome.good * 1000))
        return {
            mode: (median(rate for rate, _ in each), median(cpu for _, cpu in each))
            for mode, each in found.items()
        }

    @staticmethod
    def _by_processor(
        name: str, ours: tuple[float, float], peer: tuple[float, float], aim: float
    ) -> Figure:
        """Return a figure of answers a processor second, of which others cannot take any away."""
        return Figure(
            name=name,
            value=1000 / ours[1],
            peer=1000 / peer[1],
            aim=aim,
            unit="/CPU s",
            at_least=True,
        )

    def _show_rates(self, title: str, rates: dict[str, tuple[float, float]]) -> None:
        rows = [(mode, f"{rate:,.0f}", f"{cpu:.3f}") for mode, (rate, cpu) in rates.items()]
        show(title, ("server", "requests/s", "CPU s/1,000"), rows)

    def cached(self) -> list[Figure]:
        """One video after the other of a few, beside a route that does nothing."""
        rates = self._rates(["api", "bare", "bare-bytes"], cached())
        self._show_rates("reads of a few videos, a tenth of the tokens new", rates)
        return [self._by_processor("cached_read", rates["api"], rates["bare"], 0.60)]

    def uncached(self) -> list[Figure]:
        """Another video every time, beside the usual way."""
        rates = self._rates(["api", "usual"], uncached)
        self._show_rates("reads of videos that nobody read before", rates)
        return [
            Figure(
                name="uncached_read_cpu",
                value=rates["api"][1],
                peer=rates["usual"][1],
                aim=round(1 / 1.5, 3),
                unit="s",
            )
        ]

    def playback(self) -> list[Figure]:
        """Signatures alone, then the route that grants them, each made anew."""
        signed = [signed_urls(self._size.seconds / 2) for _ in range(self._runs)]
        fresh, kept, peer = (
            median(getattr(each, kind) for each in signed) for kind in ("fresh", "kept", "peer")
        )
        rows = [(f"{fresh:,.0f}", f"{kept:,.0f}", f"{peer:,.0f}")]
        show("URLs signed a processor second", ("ours, anew", "ours, kept", "botocore"), rows)
        rates = self._rates(["api", "signing", "signing-rsa"], playback())
        self._show_rates("grants of playback", rates)
        return [
            Figure(
                name="signer",
                value=fresh,
                peer=peer,
                aim=10,
                unit="/CPU s",
                at_least=True,
            ),
            self._by_processor("playback_route", rates["signing"], rates["signing-rsa"], 2.5),
        ]

    def latency(self) -> list[Figure]:
        """Half of what it can do, on a schedule."""
        rows, slow, typical = [], [], []
        for _ in range(self._runs):
            with self._bench.server("api") as server:
                requests = self._requests.of(cached())
                peak = saturated(server, requests, self._size)[0].rate
                outcome = load(
                    server.port,
                    requests,
                    connections=OPEN_CONNECTIONS,
                    seconds=self._size.seconds,
                    rate=peak / 2,
                )
            slow.append(outcome.percentile(0.99))
            typical.append(outcome.percentile(0.5))
            rows.append(
                (
                    f"{peak / 2:,.0f}/s",
                    f"{typical[-1] * 1000:.2f} ms",
                    f"{slow[-1] * 1000:.2f} ms",
                    outcome.statuses.total() - outcome.good + outcome.unsent,
                )
            )
        show("at half of the load that saturates it", ("due", "median", "p99", "not good"), rows)
        return [
            Figure(
                name="p99_at_half",
                value=median(slow) * 1000,
                peer=median(typical) * 1000,
                aim=5,
                unit="ms",
            )
        ]

    def memory(self) -> list[Figure]:
        """Memory over many requests, once memories for tokens are full."""
        grown = []
        with self._bench.server("api") as server:
            warm = self._requests.of(cached(), new=1.0)
            most = min(11_000, self._size.memory_requests)
            load(server.port, warm, connections=CONNECTIONS, most=most)
            requests = self._requests.of(cached())
            before = server.resident_bytes()
            for _ in range(4):
                most = self._size.memory_requests // 4
                load(server.port, requests, connections=CONNECTIONS, most=most)
                grown.append(server.resident_bytes())
        mebibytes = [value / 1024**2 for value in (before, *grown)]
        show(
            f"resident over {self._size.memory_requests:,} requests",
            ("", *("start", "1/4", "2/4", "3/4", "end")),
            [("MiB", *(f"{value:.1f}" for value in mebibytes))],
        )
        return [
            Figure(
                name="memory_growth",
                value=max(mebibytes[1:]),
                peer=mebibytes[0],
                aim=1.05,
                unit="MiB",
            )
        ]

    def overload(self) -> list[Figure]:
        """Twice and four times what it can do, on a schedule."""
        figures, rows = [], []
        for kind, path in (("cached", cached()), ("uncached", uncached)):
            shares: dict[int, list[tuple[float, float]]] = {2: [], 4: []}
            for _ in range(self._runs):
                with self._bench.server("api") as server:
                    requests = self._requests.of(path)
                    most, cpu = saturated(server, requests, self._size)
                    peak, most_by_cpu = most.rate, most.good / cpu
                    for times, found in shares.items():
                        before = server.cpu_seconds()
                        outcome = load(
                            server.port,
                            requests,
                            connections=OPEN_CONNECTIONS,
                            seconds=self._size.seconds,
                            rate=times * peak,
                        )
                        if set(outcome.statuses) - {200, 503} or outcome.unannounced:
                            raise SystemExit(f"refused otherwise: {dict(outcome.statuses)}")
                        by_cpu = outcome.good / (server.cpu_seconds() - before)
                        found.append((outcome.rate, peak))
                        rows.append(
                            (
                                f"{kind}, {times} times {peak:,.0f}/s",
                                f"{outcome.rate:,.0f}/s",
                                f"{outcome.rate / peak:.2f}",
                                f"{by_cpu / most_by_cpu:.2f}",
                                f"{outcome.statuses[503] / outcome.seconds:,.0f}/s",
                                f"{outcome.unsent / outcome.seconds:,.0f}/s",
                                f"{outcome.percentile(0.99) * 1000:.0f} ms",
                            )
                        )
            figures += [
                Figure(
                    name=f"goodput_{kind}_{times}x",
                    value=median(rate for rate, _ in found),
                    peer=median(peak for _, peak in found),
                    aim=0.9,
                    unit="/s",
                    at_least=True,
                )
                for times, found in shares.items()
            ]
        columns = ("due", "good", "of peak", "by CPU", "refused", "not sent", "p99 of good")
        show("more than it can do", columns, rows)
        return figures

    def lists(self) -> list[Figure]:
        """What a page of 50 reads, on the emulator."""
        found = api_lists.pages_read(self._size.videos)
        rows = [(title, scanned, listed) for title, (scanned, listed) in found.items()]
        title = f"a page of {api_lists.PAGE} of {self._size.videos:,} videos"
        show(title, ("list", "items read", "items listed"), rows)
        if any(listed != api_lists.PAGE for _, listed in found.values()):
            raise SystemExit("a page is not full")
        scanned = max(scanned for scanned, _ in found.values())
        return [Figure(name="list_reads", value=scanned, peer=api_lists.PAGE, aim=1, unit="items")]


def main() -> None:
    """Measure and print."""
    parser = arguments((__doc__ or "").splitlines()[0], runs=5)
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="part to measure; default: all of them"
    )
    options = parser.parse_args()
    stop_on_sigterm()
    size = QUICK if options.quick else FULL
    server_core, load_core = cores()[:2]
    os.sched_setaffinity(0, [load_core])
    figures: list[Figure] = []
    parts = options.only or PARTS
    with running_bench(server_core, load_core) as bench:
        requests = Requests(bench.tokens, size.tokens)
        runs = 1 if options.quick else options.runs
        measurements = Measurements(bench, requests, size, runs)
        for part in PARTS:
            if part in parts:
                say(f"measuring: {part}")
                figures += getattr(measurements, part)()
    report("API on one processor", figures, as_json=options.json)


if __name__ == "__main__":
    main()
