"""The scaling of the template against waking and resting, minute by minute.

Alarms, policies and limits are those of the synthesized template; they are evaluated as CloudWatch
and Application Auto Scaling do, by the part of the local plane that does it there. What is played
around them is what the runtime does: uploads arrive and wake, workers receive, finish, and rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infra_templates import Synth, Template, flat
from test_infra_transcode_pipeline import pipeline

from mediactl.local.runner.alarms import (
    Alarm,
    AlarmState,
    MetricKey,
    Value,
    datapoint,
    read_alarm,
    scaled_capacity,
    state_of,
)
from mediactl.local.runner.scaling import may_scale

MAX_WORKERS = 6
IDLE_MINUTES = 5
MOST_LAG = 15
"""Minutes by which metrics of SQS may lag when a queue becomes active again.

Source: Amazon SQS Developer Guide, "Monitoring Amazon SQS queues using CloudWatch".
"""

Reading = tuple[int, int, int, int] | None
"""Visible and in flight of the express queue, then of the job queue; ``None`` if one is missing."""


@dataclass(frozen=True)
class Deployed:
    """What the template says about scaling the workers."""

    alarms: Sequence[Alarm]
    policies: Mapping[str, Mapping[str, Any]]
    least: int
    most: int

    @classmethod
    def read(cls, made: Template) -> Deployed:
        policies = {
            name: policy["Properties"]["StepScalingPolicyConfiguration"]
            for name, policy in made.resources("AWS::ApplicationAutoScaling::ScalingPolicy").items()
        }
        alarms = [
            read_alarm({"AlarmName": name, "Region": "here", "Properties": _resolved(properties)})
            for name, properties in (
                (name, alarm["Properties"])
                for name, alarm in made.resources("AWS::CloudWatch::Alarm").items()
            )
            if any(action.get("Ref") in policies for action in properties.get("AlarmActions", []))
        ]
        target = made.only("AWS::ApplicationAutoScaling::ScalableTarget")
        return cls(alarms, policies, target["MinCapacity"], target["MaxCapacity"])


def _resolved(value: Any) -> Any:
    """Return a value of a template with its references as text."""
    match value:
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": _}:
            return flat(value)
        case dict():
            return {name: _resolved(member) for name, member in value.items()}
        case list():
            return [_resolved(member) for member in value]
    return value


def samples(reading: Reading) -> dict[MetricKey, list[float]]:
    """Return a reading as the metrics of the queues."""
    if reading is None:
        return {}
    named = zip(
        [
            (queue, state)
            for queue in ("TranscodeExpressJobs", "TranscodeJobs")
            for state in ("Visible", "NotVisible")
        ],
        reading,
        strict=True,
    )
    return {
        MetricKey(
            "AWS/SQS",
            f"ApproximateNumberOfMessages{state}",
            (("QueueName", f"<{queue}.QueueName>"),),
        ): [float(value)]
        for (queue, state), value in named
    }


@dataclass
class Service:
    """The scalable target and the number of tasks that is wanted of the service."""

    deployed: Deployed
    minimum: int = 0
    desired: int = 0
    past: dict[str, deque[Value]] = field(default_factory=dict)
    states: dict[str, AlarmState] = field(default_factory=dict)
    last_activity: float = -1e9

    def wake(self) -> None:
        """Do what the upload intake does, after it sent the job."""
        self._raise_minimum()

    def rest(self) -> None:
        """Do what a worker does that found the queues empty for long enough."""
        self.minimum = 0

    def work_again(self) -> None:
        """Do what a worker does that receives a job after it lowered the minimum."""
        self._raise_minimum()

    def _raise_minimum(self) -> None:
        self.minimum = 1
        self.desired = max(self.desired, 1)

    def evaluate(self, minute: int, reading: Reading) -> None:
        """Let a minute pass, in which the alarms get a datapoint or none."""
        for alarm in self.deployed.alarms:
            value = datapoint(alarm, samples(reading))
            past = self.past.setdefault(alarm.name, deque(maxlen=alarm.evaluation_periods))
            past.append(value)
            before = self.states.get(alarm.name, AlarmState.INSUFFICIENT_DATA)
            self.states[alarm.name] = state = state_of(alarm, list(past), before)
            if state is not AlarmState.ALARM or value is None:
                continue
            for action in alarm.actions:
                policy = self.deployed.policies[action]
                asked = scaled_capacity(
                    policy, value=value, threshold=alarm.threshold, current=self.desired
                )
                if asked is None:
                    continue
                wanted = min(max(asked, self.minimum), self.deployed.most)
                cooling = (minute - self.last_activity) * 60 < policy["Cooldown"]
                if may_scale(self.desired, wanted, suspended={}, cooling=cooling):
                    self.desired = wanted
                    self.last_activity = minute


@pytest.fixture(scope="module")
def deployed(synth: Synth) -> Deployed:
    return Deployed.read(synth(lambda stack: pipeline(stack, max_workers=MAX_WORKERS)))


def awake(deployed: Deployed, workers: int = 1) -> Service:
    service = Service(deployed, minimum=1, desired=workers)
    assert deployed.least == 0
    return service


def test_both_queues_count_visible_and_in_flight(deployed: Deployed) -> None:
    assert len(deployed.alarms) == 2
    for alarm in deployed.alarms:
        assert datapoint(alarm, samples((1, 10, 100, 1000))) == 1111


@pytest.mark.parametrize("place", range(4))
def test_one_message_anywhere_keeps_a_worker_without_a_floor(
    deployed: Deployed, place: int
) -> None:
    service = Service(deployed, minimum=0, desired=1)
    reading = tuple(int(number == place) for number in range(4))
    for minute in range(60):
        service.evaluate(minute, reading)  # type: ignore[arg-type]
        assert service.desired == 1


def test_an_empty_queue_does_not_undo_waking(deployed: Deployed) -> None:
    """The alarm of the empty queue has stood for hours, and metrics lag behind the message."""
    service = Service(deployed)
    for minute in range(60):
        service.evaluate(minute, (0, 0, 0, 0))
    service.wake()
    for minute in range(60, 60 + MOST_LAG):
        service.evaluate(minute, (0, 0, 0, 0))
        assert service.desired == 1


def test_a_floor_is_needed_for_that(deployed: Deployed) -> None:
    """The simulation does see the fight that a bare change of the count would lose."""
    service = Service(deployed)
    for minute in range(60):
        service.evaluate(minute, (0, 0, 0, 0))
    service.desired = 1
    service.evaluate(60, (0, 0, 0, 0))
    assert service.desired == 0


def test_a_silent_queue_wakes_and_stays_awake(deployed: Deployed) -> None:
    """Metrics of a queue that nobody used for six hours have stopped."""
    service = Service(deployed)
    for minute in range(30):
        service.evaluate(minute, None)
    service.wake()
    for minute in range(30, 60):
        service.evaluate(minute, None)
        assert service.desired == 1


def test_it_rests_as_soon_as_a_worker_allows_it(deployed: Deployed) -> None:
    service = awake(deployed)
    for minute in range(IDLE_MINUTES):
        service.evaluate(minute, (0, 0, 0, 0))
        assert service.desired == 1
    service.rest()
    service.evaluate(IDLE_MINUTES, (0, 0, 0, 0))
    assert service.desired == 0


@pytest.mark.parametrize("gap", [1, 2])
def test_a_reading_that_misses_messages_for_a_moment_takes_nobody(
    deployed: Deployed, gap: int
) -> None:
    """Counts of SQS are approximate: a message between two states may be in neither."""
    service = Service(deployed, minimum=0, desired=4)
    readings = [(0, 0, 0, 4)] * 5 + [(0, 0, 0, 0)] * gap + [(0, 0, 0, 4)] * 5
    for minute, reading in enumerate(readings):
        service.evaluate(minute, reading)
        assert service.desired == 4


# --- uploads, workers and late metrics together ---------------------------------------------------


@dataclass(eq=False)
class Job:
    """A message: in a queue until a worker has it, then in flight for some minutes."""

    minutes: int
    express: bool
    received: bool = False


@dataclass(frozen=True)
class Minute:
    """What happens in a minute.

    Attributes:
        uploads: Uploads that are taken in.
        lag: Minutes since the datapoint that the alarms see, or ``None`` if they see none.
        rest_comes_last: Whether an idle worker lowers the floor right after an upload raised it.
    """

    uploads: int
    lag: int | None
    rest_comes_last: bool


@dataclass
class Pipeline:
    """Service, queues and workers, as far as scaling is concerned."""

    service: Service
    jobs: list[Job] = field(default_factory=list)
    readings: list[tuple[int, int, int, int]] = field(default_factory=list)
    idle_minutes: int = 0
    rests: bool = False
    lowering: bool = False

    @property
    def busy(self) -> int:
        return sum(job.received for job in self.jobs)

    @property
    def tasks(self) -> int:
        """Tasks that run; one that is busy, or lowers the floor until it looked again, stays."""
        return max(self.service.desired, self.busy, int(self.lowering))

    def pass_minute(self, minute: Minute) -> None:
        before = self.service.desired
        happens = [self._rest, lambda: self._upload(minute.uploads)]
        for happening in reversed(happens) if minute.rest_comes_last else happens:
            happening()
        before = max(before, self.service.desired)
        seen = self._seen(minute.lag)
        self.service.evaluate(len(self.readings), seen)
        self._check(before, seen)
        self._work()
        self.readings.append(self._reading())

    def _upload(self, uploads: int) -> None:
        """Take uploads in: each is a job in the express queue, and a call that wakes."""
        for number in range(uploads):
            self.jobs.append(Job(minutes=1 + number, express=True))
            self.service.wake()

    def _rest(self) -> None:
        """Let a worker that found the queues empty for long enough lower the floor, once."""
        if self.tasks and not self.rests and self.idle_minutes >= IDLE_MINUTES:
            self.service.rest()
            self.rests = self.lowering = True

    def _seen(self, lag: int | None) -> Reading:
        if lag is None or lag >= len(self.readings):
            return None
        return self.readings[-1 - lag]

    def _check(self, before: int, seen: Reading) -> None:
        """Check what may never happen, whatever came before."""
        after = self.service.desired
        if after < before:
            assert seen is not None, "nobody is taken on a guess"
            # Those who have a job are protected: of the others, whoever could have one stays.
            in_flight = seen[1] + seen[3]
            waiting = seen[0] + seen[2]
            assert after >= min(waiting, in_flight, MAX_WORKERS), "whoever could have a job stays"
            assert after >= min(sum(seen), 4, MAX_WORKERS), "each of the first has a worker"
        if any(job.express and not job.received for job in self.jobs):
            assert self.tasks >= 1, "somebody is there for every upload"

    def _work(self) -> None:
        for job in [job for job in self.jobs if job.received]:
            job.minutes -= 1
            if job.minutes <= 0:
                self.jobs.remove(job)
                if job.express:
                    self.jobs += [Job(minutes=2, express=False) for _ in range(4)]
        waiting = sorted((j for j in self.jobs if not j.received), key=lambda job: not job.express)
        for job in waiting[: max(0, self.tasks - self.busy)]:
            job.received = True
            if self.rests:
                self.service.work_again()
                self.rests = False
        self.lowering = False
        self.idle_minutes = 0 if self.jobs else self.idle_minutes + 1

    def _reading(self) -> tuple[int, int, int, int]:
        counts = [
            sum(job.express is express and job.received is received for job in self.jobs)
            for express in (True, False)
            for received in (False, True)
        ]
        return counts[0], counts[1], counts[2], counts[3]


minutes = st.builds(
    Minute,
    uploads=st.sampled_from([0, 0, 0, 0, 1, 3]),
    lag=st.none() | st.integers(0, MOST_LAG),
    rest_comes_last=st.booleans(),
)
quiet = st.builds(Minute, uploads=st.just(0), lag=st.integers(0, 3), rest_comes_last=st.just(False))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(minutes, max_size=12) | st.lists(quiet, min_size=8, max_size=20)), quiet)
def test_scaling_fights_neither_waking_nor_resting(
    deployed: Deployed, course: list[list[Minute]], end: Minute
) -> None:
    played = Pipeline(Service(deployed))
    for minute in (minute for part in course for minute in part):
        played.pass_minute(minute)
    for _ in range(60 + 3 * len(played.readings)):
        played.pass_minute(end)
    assert not played.jobs, "everything was done in the end"
    assert played.service.desired == 0, "and then nothing runs"
