"""What a stage may cost in a month before somebody is told."""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

from media_platform.constructs._checks import DEFAULT_STAGE, check_range, check_stage

STAGE_TAG = "media-platform-stage"
"""Tag of all stacks of a stage; costs know it once it is activated in the billing console."""

_FORESEEN_PERCENT = 100
_REACHED_PERCENT = (80, 100)


class MonthlyBudget(Construct):
    """Tells a topic when the costs of a stage will be, and are, beyond a limit.

    It counts what carries :data:`STAGE_TAG`, so tag the stacks, and activate the tag in the billing
    console; AWS sees costs up to a day late, and nothing is stopped. The first two budgets of an
    account cost nothing.

    Args:
        scope: Parent.
        construct_id: Id in it.
        stage: Name of the stage, which is the value of the tag. Default ``main``.
        limit_usd: Costs of a month that are as they should be.
        topic: Who is told; AWS Budgets must be allowed to publish, as with ``AlarmTopic``.

    Raises:
        ValueError: If the limit is not above zero.

    Attributes:
        budget: The budget.

    Source: AWS Cost Management User Guide, "Managing your costs with AWS Budgets".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: str = DEFAULT_STAGE,
        limit_usd: float,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id)
        check_stage(self, stage)
        check_range(self, "limit_usd", limit_usd, (1, 10_000_000), "a limit is above zero")
        self.budget = budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=limit_usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:{STAGE_TAG}${stage}"]},
            ),
            notifications_with_subscribers=[
                _notification("FORECASTED", _FORESEEN_PERCENT, topic),
                *(_notification("ACTUAL", percent, topic) for percent in _REACHED_PERCENT),
            ],
        )


def _notification(
    kind: str, percent: int, topic: sns.ITopic
) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
    return budgets.CfnBudget.NotificationWithSubscribersProperty(
        notification=budgets.CfnBudget.NotificationProperty(
            notification_type=kind,
            comparison_operator="GREATER_THAN",
            threshold=percent,
            threshold_type="PERCENTAGE",
        ),
        subscribers=[
            budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic.topic_arn)
        ],
    )
