"""CloudFormation handlers: scalable targets, scaling policies, and the alarms that drive them."""

from __future__ import annotations

import threading
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services.cloudformation import provisioners

from .handlers import Outcome, Properties, physical_name, register
from .scalable_targets import ScalableTargets, ScalingError, Scope

_TARGET_FIELDS = ("ServiceNamespace", "ResourceId", "ScalableDimension")


class AlarmDefinitions:
    """The properties of alarms as their templates declare them, with all references resolved.

    MiniStack evaluates no metric math and publishes no AWS/SQS metrics, so the process runner
    evaluates the alarms that scale services; it reads them here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alarms: dict[tuple[str, str, str], Properties] = {}

    def put(self, name: str, properties: Properties) -> None:
        """Keep the properties of an alarm of the current account and region."""
        with self._lock:
            self._alarms[(*_scope(), name)] = properties

    def remove(self, name: str) -> None:
        """Forget an alarm of the current account and region."""
        with self._lock:
            self._alarms.pop((*_scope(), name), None)

    def all(self) -> list[dict[str, Any]]:
        """Return every alarm with its region and name."""
        with self._lock:
            return [
                {"Region": region, "AlarmName": name, "Properties": properties}
                for (_, region, name), properties in sorted(
                    self._alarms.items(), key=lambda entry: entry[0]
                )
            ]


def install(targets: ScalableTargets, alarms: AlarmDefinitions) -> None:
    """Register the handlers."""
    register("AWS::ApplicationAutoScaling::ScalableTarget", _target_handlers(targets))
    register("AWS::ApplicationAutoScaling::ScalingPolicy", _policy_handlers(targets))
    _keep_alarms(alarms)


def _scope() -> Scope:
    return get_account_id(), get_region()


def _target_handlers(targets: ScalableTargets) -> dict[str, Any]:
    def put(properties: Properties) -> Outcome:
        try:
            target = targets.register(_scope(), properties)
        except ScalingError as error:
            raise ValueError(f"{error.code}: {error}") from error
        physical_id = "|".join(
            str(target[name]) for name in ("ResourceId", "ScalableDimension", "ServiceNamespace")
        )
        return physical_id, {"Id": physical_id}

    def delete(_physical_id: str, properties: Properties) -> None:
        key = {name: properties[name] for name in _TARGET_FIELDS}
        if targets.targets(_scope(), {"ResourceIds": [key["ResourceId"]]}):
            targets.deregister(_scope(), key)

    return {
        "create": lambda _logical_id, properties, _stack: put(properties),
        # A changed resource id is a new physical id, whose predecessor CloudFormation deletes.
        "update": lambda _physical_id, _old, new, _stack: put(new),
        "delete": delete,
    }


def _policy_handlers(targets: ScalableTargets) -> dict[str, Any]:
    def request(properties: Properties, stack: str, logical_id: str) -> dict[str, Any]:
        key = {name: properties.get(name) for name in _TARGET_FIELDS}
        target_id = properties.get("ScalingTargetId")
        if target_id:
            parts = str(target_id).split("|")
            key = dict(
                zip(("ResourceId", "ScalableDimension", "ServiceNamespace"), parts, strict=True)
            )
        return {
            **{name: value for name, value in properties.items() if value is not None},
            **key,
            "PolicyName": properties.get("PolicyName") or physical_name(stack, logical_id),
        }

    def create(logical_id: str, properties: Properties, stack: str) -> Outcome:
        try:
            policy = targets.put_policy(_scope(), request(properties, stack, logical_id))
        except ScalingError as error:
            raise ValueError(f"{error.code}: {error}") from error
        return policy["PolicyARN"], {"Arn": policy["PolicyARN"]}

    def update(
        physical_id: str, _old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Outcome:
        del physical_id
        return create(logical_id, new, stack)

    def delete(physical_id: str, _: Properties) -> None:
        for policy in targets.policies(_scope(), {}):
            if policy["PolicyARN"] == physical_id:
                targets.delete_policy(_scope(), policy)

    return {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }


def _keep_alarms(alarms: AlarmDefinitions) -> None:
    """Keep the definition of every alarm, and take those on metric math, which MiniStack refuses.

    An alarm on metric math exists for the process runner only: DescribeAlarms does not list it.
    """
    known = provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]  # noqa: SLF001

    def put_math(name: str, properties: Properties) -> Outcome:
        account, region = _scope()
        alarms.put(name, properties)
        return name, {"Arn": f"arn:aws:cloudwatch:{region}:{account}:alarm:{name}"}

    def create(logical_id: str, properties: Properties, stack: str) -> Outcome:
        if properties.get("Metrics"):
            name = properties.get("AlarmName") or physical_name(stack, logical_id, longest=255)
            return put_math(name, properties)
        outcome: Outcome = known["create"](logical_id, properties, stack)
        alarms.put(outcome[0], properties)
        return outcome

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Outcome:
        same_name = new.get("AlarmName") in (None, physical_id)
        if new.get("Metrics") and old.get("Metrics") and same_name:
            return put_math(physical_id, new)
        if new.get("Metrics") or old.get("Metrics"):
            if same_name:
                delete(physical_id, old)
            return create(logical_id, new, stack)
        outcome: Outcome = known["update"](physical_id, old, new, stack, logical_id)
        alarms.put(outcome[0], new)
        return outcome

    def delete(physical_id: str, properties: Properties) -> None:
        if not properties.get("Metrics"):
            known["delete"](physical_id, properties)
        alarms.remove(physical_id)

    register(
        "AWS::CloudWatch::Alarm",
        {
            "create": create,
            "update": update,
            "update_with_logical_id": True,
            "delete": delete,
        },
    )
