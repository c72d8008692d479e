"""Ways between regions: what one sends to another travels through the gateways of both.

What a service of one region has for another (a change of a table, a copy of an object) is put into
a queue, and a thread of its own empties each queue in order. Every trip is an HTTP request that
goes out of the gateway of the one region and in through that of the other; both are processes of
their own. While one of them does not run, nothing arrives and nothing is lost. Where a plane has no
gateways, which is as long as it is being deployed, what is sent arrives after the same delay.

Sender and receiver share the memory of the emulator, so a trip carries numbers, not contents.
"""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from .control import PREFIX

DESTINATION = "x-mediactl-destination"
"""Header that names the region to which a gateway passes a request on."""

LATENCY_SECONDS = 0.1
"""How late everything arrives: long enough for whoever takes it to be there at once to fail."""

_RETRY_SECONDS = 0.2
_MOST_PARCELS = 200
_TRIP_SECONDS = 20

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

logger = logging.getLogger("mediactl.links")

Parcel = Callable[[], None]
"""Does in the destination what was sent there; called once, on the thread of the services."""


class Links:
    """The ways between all regions of an emulator.

    Args:
        token: Secret of the control door, through which parcels come back in.
        emulator_port: TCP port of the emulator.
    """

    def __init__(self, token: str, emulator_port: int) -> None:
        self._token = token
        self._port = emulator_port
        self._gateways: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._queues: dict[tuple[str, str], queue.SimpleQueue[Parcel]] = {}
        self._under_way: dict[int, Parcel] = {}
        self._waiting: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def connect(self, gateways: Mapping[str, int]) -> None:
        """Send everything through gateways from now on; by region, the ports of them all."""
        self._gateways = dict(gateways)

    @property
    def have_gateways(self) -> bool:
        """Whether what leaves a region passes a gateway."""
        return bool(self._gateways)

    def gateway(self, region: str) -> int | None:
        """Return the port of the gateway of a region, ``None`` if it has none."""
        return self._gateways.get(region)

    def send(self, source: str, destination: str, parcel: Parcel) -> None:
        """Send a parcel; it arrives after those that were sent there before."""
        way = source, destination
        with self._lock:
            if way not in self._queues:
                self._queues[way] = queue.SimpleQueue()
                threading.Thread(
                    target=self._empty, args=(way,), daemon=True, name=f"link-{source}"
                ).start()
            self._waiting[way] = self._waiting.get(way, 0) + 1
        self._queues[way].put(parcel)

    def waiting(self) -> list[dict[str, Any]]:
        """Return how many parcels have not arrived yet, by their way."""
        with self._lock:
            return [
                {"source": source, "destination": destination, "parcels": count}
                for (source, destination), count in sorted(self._waiting.items())
            ]

    def arrive(self, numbers: list[int]) -> int:
        """Do what the parcels say; those that arrived before are done."""
        for number in numbers:
            parcel = self._under_way.pop(number, None)
            if parcel is None:
                continue
            try:
                parcel()
            except Exception:
                # As a service would that finds a change it cannot apply: the others must not wait.
                logger.exception("a parcel cannot be taken")
        return len(numbers)

    def _empty(self, way: tuple[str, str]) -> None:
        while True:
            parcels = [self._queues[way].get()]
            time.sleep(LATENCY_SECONDS)
            while len(parcels) < _MOST_PARCELS and not self._queues[way].empty():
                parcels.append(self._queues[way].get())
            numbers = [next(self._numbers) for _ in parcels]
            self._under_way.update(zip(numbers, parcels, strict=True))
            while not self._travel(way, numbers):
                time.sleep(_RETRY_SECONDS)
            with self._lock:
                self._waiting[way] -= len(parcels)

    def _travel(self, way: tuple[str, str], numbers: list[int]) -> bool:
        """Tell whether the parcels arrived; after a lost answer they are sent again."""
        source, destination = way
        port = self._gateways.get(source, self._port)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{PREFIX}arrive",
            data=json.dumps({"numbers": numbers}).encode(),
            headers={"x-mediactl-token": self._token, DESTINATION: destination},
            method="POST",
        )
        try:
            with _DIRECT.open(request, timeout=_TRIP_SECONDS) as answer:
                answer.read()
        except (OSError, http.client.HTTPException):
            return False
        return True
