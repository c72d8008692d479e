"""What the local plane adds to the emulator, run inside the emulator's own process.

The package runs under the interpreter of MiniStack's virtual environment, not under the one that
runs ``mediactl``: ``launch.py`` loads it by its path, its modules import only each other, the
standard library, botocore and MiniStack, and nothing of ``mediactl`` outside this folder.

``program`` installs the parts and starts MiniStack:

- ``recorder`` writes every authorization decision on a role to a file;
- ``autoscaling`` is the Application Auto Scaling API, which MiniStack lacks;
- ``signed_headers`` and ``written_attributes`` refuse what S3 and Cognito refuse;
- ``tasks`` hands the tasks of ECS services to the process runner;
- ``links`` are the ways between regions, ``table_replication`` and ``object_replication`` what goes
  there, and ``borders`` sends calls of tasks to other regions the same way;
- ``resources_*`` are CloudFormation handlers for types that MiniStack lacks or treats in part;
- ``control`` is the private HTTP door through which the process runner reports.
"""
