"""Who is told when something is the matter."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct, IConstruct

from media_platform.constructs._alarms import tell

_PUBLISHERS = ("budgets.amazonaws.com", "cloudwatch.amazonaws.com")


class AlarmTopic(Construct):
    """A topic that hears of all alarms within the constructs it watches.

    The constructs of this library make their alarms themselves, beside what they watch; without a
    topic they show in the console and tell nobody. One topic a region is enough, since an alarm
    can only tell topics of its own region.

    Args:
        scope: Parent.
        construct_id: Id in it.
        email_addresses: Who gets mail, once he has confirmed it. Default: nobody; subscribe what
            you have to :attr:`topic`.
        encryption_key: Key of the topic; its policy must let CloudWatch and Budgets use it.
            Default: a new one, for 1 USD a month, since alarms cannot use the key that AWS owns.

    Attributes:
        topic: The topic.

    Source: Amazon CloudWatch User Guide, "Notifying users on alarm changes"; AWS Cost Management
    User Guide, "Creating an Amazon SNS topic for budget notifications".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        email_addresses: Sequence[str] = (),
        encryption_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(
            self,
            "Topic",
            enforce_ssl=True,
            master_key=encryption_key or self._make_key(),
        )
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsPublish",
                actions=["sns:Publish"],
                principals=[iam.ServicePrincipal(name) for name in _PUBLISHERS],
                resources=[self.topic.topic_arn],
                conditions=self._conditions(),
            )
        )
        for address in email_addresses:
            self.topic.add_subscription(subscriptions.EmailSubscription(address))

    def watch(self, *constructs: IConstruct) -> None:
        """Hear of all alarms within ``constructs``, also of those that they get later."""
        for construct in constructs:
            tell(self.topic, construct)

    def _make_key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description="Alarms of media-platform",
            enable_key_rotation=True,
            # What it encrypted is gone once it was delivered.
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsPublish",
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                principals=[iam.ServicePrincipal(name) for name in _PUBLISHERS],
                resources=["*"],
                conditions=self._conditions(),
            )
        )
        return key

    def _conditions(self) -> dict[str, dict[str, str]]:
        """Let services publish on behalf of this account alone."""
        return {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}}
