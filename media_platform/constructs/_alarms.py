"""Alarms as the platform wants them: beside what they watch, and each says what to do."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sns as sns
from constructs import Construct, IConstruct

from media_platform.constructs._scopes import scopes_of

_FULL_PERCENT = 80
_told: WeakKeyDictionary[IConstruct, list[cloudwatch.IAlarmAction]] = WeakKeyDictionary()
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
        for around in scopes_of(scope):
            for action in _told.get(around, ()):
                self.tell(action)

    def tell(self, action: cloudwatch.IAlarmAction) -> None:
        """Do ``action`` when it begins and when it is over."""
        self.add_alarm_action(action)
        self.add_ok_action(action)


def tell(topic: sns.ITopic, construct: IConstruct) -> None:
    """Let ``topic`` hear of all alarms within ``construct``, also of those that it gets later."""
    action = actions.SnsAction(topic)
    _told.setdefault(construct, []).append(action)
    for alarm in alarms_within(construct):
        alarm.tell(action)


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
