"""Install every addition and serve."""

from __future__ import annotations

import os

from ministack import app

from . import (
    autoscaling,
    batch_actions,
    borders,
    deliveries,
    handlers,
    object_ranges,
    object_tags,
    recorder,
    resource_arns,
    resources_data,
    resources_delivery,
    resources_logs,
    resources_network,
    resources_scaling,
    signed_headers,
    stack_outputs,
    upload_checksums,
    user_accounts,
    written_attributes,
)
from .auth_challenges import Challenges
from .batch_replication import BatchReplication
from .control import with_control_door
from .links import Links
from .object_replication import ObjectReplication
from .scalable_targets import ScalableTargets
from .settings import take_settings
from .table_replication import TableReplication
from .tasks import RunnerTasks


def main() -> None:
    """Run the emulator until it is told to stop."""
    settings = take_settings()
    if not app.AUTH:
        raise SystemExit("the emulator must run with AUTH=true, so that missing grants fail")
    targets = ScalableTargets(autoscaling.EcsCapacity())
    alarms = resources_scaling.AlarmDefinitions()
    tasks = RunnerTasks()
    links = Links(settings.control_token, settings.emulator_port)

    # The loopback interface stands for TLS: policies that deny plain HTTP hold on AWS, and here
    # they must not deny everything.
    pin = app.pin_request_origin
    app.pin_request_origin = lambda source_ip, _secure_transport: pin(source_ip, True)

    recorder.install(recorder.Recorder(settings.calls_file))
    autoscaling.install(targets)
    resource_arns.install(targets)
    batch_actions.install()
    tasks.install()
    deliveries.install()
    TableReplication(links).install()
    objects = ObjectReplication(links)
    objects.install()
    BatchReplication(objects).install()
    object_ranges.install()
    object_tags.install()
    signed_headers.install()
    upload_checksums.install()
    written_attributes.install()
    user_accounts.install()
    Challenges().install()
    stack_outputs.install()
    handlers.name_by_region()
    resources_delivery.install(settings.edge_authority)
    resources_logs.install()
    resources_network.install()
    resources_data.install(settings.emulator_port)
    resources_scaling.install(targets, alarms)
    app.app = with_control_door(
        borders.with_borders(app.app, links),
        settings.control_token,
        {
            "identity": lambda _: {"pid": os.getpid()},
            "tasks": lambda request: tasks.sync(request["tasks"]),
            "alarms": lambda _: alarms.all(),
            "gateways": links.connect,
            "arrive": lambda request: links.arrive(request["numbers"]),
            "waiting": lambda _: links.waiting(),
        },
    )
    app.main()
