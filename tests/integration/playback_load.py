"""People who play all the time: whatever is refused to them is kept."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import urljoin

import urllib3

from mediactl.client import ApiError, MediaClient

MARGIN_SECONDS = 0.5
"""A grant that ends sooner is not asked with any more: the answer takes some time."""

_KEPT = 200


class Viewers:
    """Threads, each of which asks for grants and plays by new ones and by those it has kept.

    Attributes:
        refused: What was not answered as it had to be.
        answered: How often each kind of request was answered.
        keys: Ids of the keys of all grants, the first first.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.answered: Counter[str] = Counter()
        self.keys: dict[str, None] = {}
        self._ended = threading.Event()

    @contextmanager
    def playing(self, clients: list[MediaClient], choose: Callable[[], str]) -> Iterator[Viewers]:
        """Play while the block runs.

        Args:
            clients: One for each thread.
            choose: Returns the video that is played next.
        """
        threads = [threading.Thread(target=self._play, args=(one, choose)) for one in clients]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _play(self, client: MediaClient, choose: Callable[[], str]) -> None:
        http = urllib3.PoolManager(timeout=60, retries=False)
        kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        for number in count():
            if self._ended.is_set():
                return
            try:
                kept.append(client.playback(choose()))
            except (ApiError, urllib3.exceptions.HTTPError) as error:
                self.refused.append(f"grant: {error}")
                continue
            self.answered["grant"] += 1
            self.keys[kept[-1]["cookies"]["CloudFront-Key-Pair-Id"]] = None
            while _left(kept[0]) < MARGIN_SECONDS:
                kept.popleft()
            for age, grant in (
                ("new", kept[-1]),
                ("old", kept[0]),
                ("kept", kept[number % len(kept)]),
            ):
                self._ask_all(http, age, grant)

    def _ask_all(self, http: urllib3.PoolManager, age: str, grant: dict[str, Any]) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in grant["cookies"].items())
        by_cookies = urljoin(grant["playlist_url"], "poster.jpg")
        for kind, url, headers in (
            ("by cookies", by_cookies, {"Cookie": cookies}),
            ("by signed URL", grant["poster_url"], {}),
            ("by signed playlist", grant["signed_playlist_url"], {}),
        ):
            if _left(grant) < MARGIN_SECONDS:
                return
            try:
                answer = http.request("GET", url, headers=headers)
            except urllib3.exceptions.HTTPError as error:
                self.refused.append(f"{age} grant {kind}: {error}")
                continue
            if answer.status == 200:
                self.answered[f"{age} grant {kind}"] += 1
            else:
                self.refused.append(f"{age} grant {kind}: {answer.status} {answer.data[:200]!r}")


def _left(grant: dict[str, Any]) -> float:
    """Return for how many seconds a grant still holds."""
    return datetime.fromisoformat(grant["expires_at"]).timestamp() - time.time()
