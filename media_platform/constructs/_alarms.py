"""Alarms as the platform wants them: beside what they watch, and each says what to do."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import aws_cdk as cdk
import jsii
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sns as sns
from constructs import Construct, IConstruct

_FULL_PERCENT = 80
_topics: WeakKeyDictionary[IConstruct, list[sns.ITopic]] = WeakKeyDictionary()
"""Who hears of the alarms within a construct."""


class OperatorAlarm(cloudwatch.Alarm):
    """An alarm for people, unlike those by which services scale.

    It tells the topics of all :class:`AlarmTopic` that watch a construct around it, when it begins
    and when it is over, also if they are told to watch after it was made.

    Args:
        scope: What it watches, or a construct beside it.
        construct_id: Id in it.
        metric: What it looks at.
        above: Largest value that is as it should be.
        periods: Periods of the metric in a row that must be above it. Default 1.
        description: What is the matter, and what to do about it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        metric: cloudwatch.IMetric,
        above: float,
        description: str,
        periods: int = 1,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            metric=metric,
            threshold=above,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=periods,
            # What does nothing reports nothing.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=description,
        )
        self.description = description
        told = cdk.Lazy.list(_Told(self), omit_empty=True)
        resource = self.node.default_child
        assert isinstance(resource, cloudwatch.CfnAlarm)  # noqa: S101 - the L2 makes no other
        resource.alarm_actions = told
        resource.ok_actions = told


@jsii.implements(cdk.IStableListProducer)
class _Told:
    def __init__(self, alarm: OperatorAlarm) -> None:
        self._alarm = alarm

    def produce(self) -> list[str]:
        """Return the ARNs of the topics of all constructs around the alarm."""
        return [
            topic.topic_arn for scope in self._alarm.node.scopes for topic in _topics.get(scope, [])
        ]


def tell(topic: sns.ITopic, construct: IConstruct) -> None:
    """Let ``topic`` hear of all alarms within ``construct``, also of those that it gets later."""
    _topics.setdefault(construct, []).append(topic)


def alarms_within(construct: IConstruct) -> list[OperatorAlarm]:
    """Return the alarms within a construct, as they stand now."""
    return [part for part in construct.node.find_all() if isinstance(part, OperatorAlarm)]


def watch_memory(scope: Construct, service: ecs.FargateService, *, what: str) -> OperatorAlarm:
    """Add the alarm that a service has used most of its memory for a quarter of an hour.

    Args:
        scope: Parent.
        service: The service.
        what: Who runs in it, e.g. ``the workers``.
    """
    return OperatorAlarm(
        scope,
        "MemoryFull",
        metric=service.metric_memory_utilization(),
        above=_FULL_PERCENT,
        periods=3,
        description=f"Tasks of {what} use more than {_FULL_PERCENT} % of their memory; give more",
    )
