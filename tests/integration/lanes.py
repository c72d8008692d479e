"""Cases of a parametrized test that mostly wait, run side by side and judged one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest

LANES = 6
"""Cases at a time: enough that two processors have something to do, and few enough for leases."""

T = TypeVar("T")


@contextmanager
def side_by_side(
    request: pytest.FixtureRequest, names: Iterable[str], case: Callable[[str], T]
) -> Iterator[Mapping[str, Future[T]]]:
    """Run ``case`` for each name that a collected test has among its parameters.

    Args:
        request: Where the fixture is asked for.
        names: All names.
        case: What is run; what it raises is raised where the result is asked for.
    """
    collected = [item.name for item in request.session.items if item.path == request.path]
    wanted = [name for name in names if any(f"[{name}]" in item for item in collected)]
    pool = ThreadPoolExecutor(LANES, thread_name_prefix="lane")
    try:
        yield {name: pool.submit(case, name) for name in wanted}
    finally:
        pool.shutdown(cancel_futures=True)
