"""The rule packs that a stage must pass."""

from __future__ import annotations

import aws_cdk as cdk

from media_platform.stacks.config import RulePack, StageConfig


def add_rule_packs(app: cdk.App, config: StageConfig) -> None:
    """Let synthesizing fail for what a rule pack of the stage finds and no construct accepts."""
    import cdk_nag  # noqa: PLC0415 - slow, and not every stage has packs

    checks: dict[RulePack, type[cdk_nag.NagPack]] = {
        "AwsSolutions": cdk_nag.AwsSolutionsChecks,
        "NIST80053R5": cdk_nag.NIST80053R5Checks,
    }
    cdk.Validations.of(app).add_plugins(*(checks[pack](app) for pack in config.rule_packs))
