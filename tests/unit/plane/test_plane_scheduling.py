"""The decisions of the service scheduler."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediactl.local.runner.scheduling import (
    LONGEST_RESTART_SECONDS,
    STABLE_SECONDS,
    Restarts,
    TaskView,
    decide,
)
from mediactl.local.runner.specs import ServiceSpec

OLD, NEW = "arn:task-definition/api:1", "arn:task-definition/api:2"


def service(desired: int, *, least: int = 100, most: int = 200) -> ServiceSpec:
    return ServiceSpec(
        arn="arn:aws:ecs:us-east-1:0:service/cluster/api",
        name="api",
        cluster_arn="arn:aws:ecs:us-east-1:0:cluster/cluster",
        task_definition=NEW,
        desired=desired,
        minimum_healthy_percent=least,
        maximum_percent=most,
    )


def task(
    name: str,
    definition: str = NEW,
    *,
    healthy: bool = True,
    protected: bool = False,
    started: float = 0,
) -> TaskView:
    return TaskView(name, definition, healthy, protected, started)


def test_starts_what_is_missing_and_nothing_more() -> None:
    assert decide(service(3), [task("a")]).start == 2
    assert decide(service(3), [task("a"), task("b"), task("c")]) == decide(service(0), [])


def test_scales_in_the_unhealthy_and_the_youngest_first() -> None:
    tasks = [task("old", started=1), task("young", started=2), task("ill", healthy=False)]
    assert decide(service(2), tasks).stop == ("ill",)
    assert decide(service(1), tasks).stop == ("ill", "young")


def test_never_scales_in_a_protected_task() -> None:
    tasks = [task("busy", protected=True, started=2), task("idle", started=1)]
    assert decide(service(1), tasks).stop == ("idle",)
    assert decide(service(0), tasks).stop == ("idle",)


def test_a_deployment_starts_the_new_before_it_stops_the_old() -> None:
    first = decide(service(1), [task("old", OLD)])
    assert (first.start, first.stop) == (1, ())
    starting = [task("old", OLD), task("new", healthy=False)]
    second = decide(service(1), starting)
    assert (second.start, second.stop) == (0, ())
    ready = decide(service(1), [task("old", OLD), task("new")])
    assert (ready.start, ready.stop) == (0, ("old",))


def test_a_deployment_without_room_stops_the_old_first() -> None:
    only = decide(service(1, least=0, most=100), [task("old", OLD)])
    assert (only.start, only.stop) == (0, ("old",))


def test_a_deployment_waits_for_protected_tasks() -> None:
    waiting = decide(service(1), [task("old", OLD, protected=True), task("new")])
    assert waiting.stop == ()


def test_a_deployment_to_zero_stops_all() -> None:
    assert set(decide(service(0), [task("a", OLD), task("b", OLD)]).stop) == {"a", "b"}


TASKS = st.lists(
    st.builds(
        TaskView,
        task_id=st.integers(0, 10**9).map(str),
        task_definition=st.sampled_from([OLD, NEW]),
        healthy=st.booleans(),
        protected=st.booleans(),
        started=st.floats(0, 100),
    ),
    max_size=8,
    unique_by=lambda view: view.task_id,
)


@given(tasks=TASKS, desired=st.integers(0, 5), least=st.sampled_from([0, 50, 100]))
def test_bounds_hold_in_every_situation(tasks: list[TaskView], desired: int, least: int) -> None:
    spec = service(desired, least=least)
    decision = decide(spec, tasks)
    by_id = {view.task_id: view for view in tasks}
    stopped = [by_id[task_id] for task_id in decision.stop]
    assert len(set(decision.stop)) == len(decision.stop)
    assert not any(view.protected for view in stopped)
    current = sum(view.task_definition == NEW for view in tasks)
    assert current + decision.start <= max(desired, current)
    assert len(tasks) + decision.start <= max(2 * desired, len(tasks))
    if current > desired or all(view.task_definition == NEW for view in tasks):
        return  # Scaling in follows the desired count, whatever the deployment configuration says.
    healthy_before = sum(view.healthy for view in tasks)
    healthy_after = healthy_before - sum(view.healthy for view in stopped)
    needed = -(-desired * least // 100)
    assert healthy_after >= min(needed, healthy_before)


@pytest.mark.parametrize(("desired", "least", "most"), [(1, 100, 200), (3, 100, 200), (2, 0, 100)])
def test_a_deployment_comes_to_its_end(desired: int, least: int, most: int) -> None:
    spec = service(desired, least=least, most=most)
    names = (str(number) for number in itertools.count())
    tasks = [task(next(names), OLD) for _ in range(desired)]
    for _ in range(20):
        decision = decide(spec, tasks)
        tasks = [view for view in tasks if view.task_id not in decision.stop]
        tasks += [task(next(names)) for _ in range(decision.start)]
    assert [view.task_definition for view in tasks] == [NEW] * desired


def test_restarts_back_off_and_forgive() -> None:
    restarts = Restarts()
    delays = [restarts.ended(lived_seconds=1, now=0) for _ in range(12)]
    assert delays == sorted(delays)
    assert delays[0] < 1
    assert delays[-1] == LONGEST_RESTART_SECONDS
    assert restarts.ended(lived_seconds=STABLE_SECONDS, now=100) == delays[0]
    assert restarts.not_before == 100 + delays[0]
