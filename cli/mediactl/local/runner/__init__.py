"""The process runner: plays ECS, Application Auto Scaling and the load balancer's health checks.

One daemon process (``python -m mediactl.local.runner``) that starts what the *deployed* services
ask for, from the deployed task definitions; the edge runs in it as well, because it routes to the
tasks that the runner finds healthy.

- ``specs`` reads services and task definitions as deployed;
- ``scheduling`` decides what to start and stop (pure);
- ``tasks`` runs one task;
- ``agent`` is what ECS puts beside a task: role credentials, metadata, task protection;
- ``scaling`` applies step scaling policies and their alarms (``alarms``, pure);
- ``daemon`` ties them together.
"""
