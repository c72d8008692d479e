"""The CDK app: reads the stage once, builds its stacks, checks them."""

import gc
import sys

# It ends as soon as it has written the templates: looking for garbage costs more than it frees.
gc.disable()

import aws_cdk as cdk

from media_platform.constructs import RejectedError
from media_platform.stacks.config import ConfigError, load_stage
from media_platform.stacks.platform import build_platform
from media_platform.stacks.rule_packs import add_rule_packs

app = cdk.App()
try:
    config = load_stage(
        app.node.try_get_context("stage") or "local",
        app.node.try_get_context("stages") or {},
        account=app.node.try_get_context("account"),
        joining=app.node.try_get_context("joining"),
    )
    build_platform(app, config)
except (ConfigError, RejectedError) as error:
    sys.exit(str(error))
if app.node.try_get_context("nag") != "false":
    add_rule_packs(app, config)
app.synth()
