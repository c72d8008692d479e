"""Applies the deployed step scaling policies to the real depth of queues.

SQS publishes its metrics once a minute on AWS; here the queues are sampled every few seconds and
aggregated over the alarm's own period, so evaluation periods and cooldowns mean what they say.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from mediactl.local.aws import Emulator
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

SAMPLE_SECONDS = 5.0
QUEUE_NAMESPACE = "AWS/SQS"
QUEUE_METRICS = {
    "ApproximateNumberOfMessagesVisible": "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible": "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed": "ApproximateNumberOfMessagesDelayed",
}
"""Queue attributes by the metric that shows them."""

logger = logging.getLogger("mediactl.scaling")


class Scaling:
    """The alarms of an emulator, their recent past, and what they make of services.

    Args:
        emulator: The emulator.
        now: Wall clock in seconds.
    """

    def __init__(self, emulator: Emulator, *, now: Callable[[], float] = time.time) -> None:
        self._emulator = emulator
        self._now = now
        self._samples: dict[tuple[str, MetricKey], deque[tuple[float, float]]] = defaultdict(deque)
        self._datapoints: dict[tuple[str, str], deque[Value]] = {}
        self._states: dict[tuple[str, str], AlarmState] = {}
        self._evaluated: dict[tuple[str, str], int] = {}
        self._last_activity: dict[str, float] = {}
        self._refused: set[str] = set()

    def step(self) -> None:
        """Sample the queues, evaluate alarms whose period is over, and scale."""
        policies = self._policies_by_arn
        alarms = self._scaling_alarms()
        now = self._now()
        self._sample(alarms, now)
        for alarm in alarms:
            key = (alarm.region, alarm.name)
            period = int(now // alarm.period_seconds)
            # The first period that was seen from its start is the first that counts.
            if self._evaluated.setdefault(key, period) >= period:
                continue
            self._evaluated[key] = period
            value = self._datapoint(alarm, period - 1)
            past = self._datapoints.setdefault(key, deque(maxlen=alarm.evaluation_periods))
            past.append(value)
            before = self._states.get(key, AlarmState.INSUFFICIENT_DATA)
            self._states[key] = state_of(alarm, list(past), before)
            if self._states[key] is AlarmState.ALARM and value is not None:
                for arn in alarm.actions:
                    policy = policies(alarm.region).get(arn)
                    if policy is not None:
                        self._apply(alarm, policy, value)

    def _scaling_alarms(self) -> list[Alarm]:
        alarms = []
        for definition in self._emulator.control("alarms"):
            actions = definition["Properties"].get("AlarmActions") or []
            if not any(":scalingPolicy:" in str(action) for action in actions):
                continue
            try:
                alarms.append(read_alarm(definition))
            except (KeyError, ValueError) as error:
                if definition["AlarmName"] not in self._refused:
                    self._refused.add(definition["AlarmName"])
                    logger.warning("alarm %s is not applied: %s", definition["AlarmName"], error)
        return alarms

    def _policies_by_arn(self, region: str) -> Mapping[str, Mapping[str, Any]]:
        client = self._emulator.client("application-autoscaling", region)
        answer = client.describe_scaling_policies(ServiceNamespace="ecs")
        return {policy["PolicyARN"]: policy for policy in answer["ScalingPolicies"]}

    def _sample(self, alarms: list[Alarm], now: float) -> None:
        wanted = {
            (alarm.region, use.key): alarm.period_seconds
            for alarm in alarms
            for use in alarm.metrics.values()
            if use.key.namespace == QUEUE_NAMESPACE and use.key.name in QUEUE_METRICS
        }
        depths: dict[tuple[str, str], Mapping[str, str]] = {}
        for (region, metric), period in wanted.items():
            queue = dict(metric.dimensions).get("QueueName", "")
            if (region, queue) not in depths:
                depths[(region, queue)] = self._queue_attributes(region, queue)
            attribute = depths[(region, queue)].get(QUEUE_METRICS[metric.name])
            samples = self._samples[(region, metric)]
            if attribute is not None:
                samples.append((now, float(attribute)))
            while samples and samples[0][0] < now - 3 * period:
                samples.popleft()

    def _queue_attributes(self, region: str, queue: str) -> Mapping[str, str]:
        client = self._emulator.client("sqs", region)
        try:
            url = client.get_queue_url(QueueName=queue)["QueueUrl"]
            attributes: Mapping[str, str] = client.get_queue_attributes(
                QueueUrl=url, AttributeNames=list(QUEUE_METRICS.values())
            )["Attributes"]
        except ClientError:
            return {}
        return attributes

    def _datapoint(self, alarm: Alarm, period: int) -> Value:
        start = period * alarm.period_seconds
        end = start + alarm.period_seconds
        samples = {
            use.key: [
                value for at, value in self._samples[(alarm.region, use.key)] if start <= at < end
            ]
            for use in alarm.metrics.values()
        }
        return datapoint(alarm, samples)

    def _apply(self, alarm: Alarm, policy: Mapping[str, Any], value: float) -> None:
        configuration = policy.get("StepScalingPolicyConfiguration")
        target = self._target(alarm.region, policy["ResourceId"])
        if configuration is None or target is None:
            return
        _, cluster, name = policy["ResourceId"].split("/")
        ecs = self._emulator.client("ecs", alarm.region)
        service = ecs.describe_services(cluster=cluster, services=[name])["services"][0]
        current = int(service["desiredCount"])
        asked = scaled_capacity(
            configuration, value=value, threshold=alarm.threshold, current=current
        )
        if asked is None:
            return
        wanted = min(max(asked, target["MinCapacity"]), target["MaxCapacity"])
        since = self._now() - self._last_activity.get(policy["ResourceId"], -float("inf"))
        if not may_scale(
            current,
            wanted,
            suspended=target.get("SuspendedState") or {},
            cooling=since < float(configuration.get("Cooldown") or 0),
        ):
            return
        logger.info(
            "%s: %s is %g, so %s goes from %d to %d",
            alarm.name,
            alarm.result,
            value,
            name,
            current,
            wanted,
        )
        ecs.update_service(cluster=cluster, service=name, desiredCount=wanted)
        self._last_activity[policy["ResourceId"]] = self._now()

    def _target(self, region: str, resource_id: str) -> Mapping[str, Any] | None:
        answer = self._emulator.client("application-autoscaling", region).describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[resource_id]
        )
        return next(iter(answer["ScalableTargets"]), None)


def may_scale(current: int, wanted: int, *, suspended: Mapping[str, bool], cooling: bool) -> bool:
    """Return whether a service may go to a capacity now.

    In a cooldown a service is not scaled in; a larger step out is taken, as Application Auto
    Scaling does.
    """
    if wanted == current:
        return False
    if wanted > current:
        return not suspended.get("DynamicScalingOutSuspended", False)
    return not cooling and not suspended.get("DynamicScalingInSuspended", False)
