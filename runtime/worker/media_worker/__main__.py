"""``python -m media_worker``: the worker as the task definition starts it."""

from __future__ import annotations

import os
import sys

from media_platform.contract.environment import InvalidEnvironmentError, WorkerEnvironment

EXIT_CONFIGURATION = 78
"""``EX_CONFIG`` of sysexits(3): the environment is incomplete."""


def main() -> int:
    """Read the environment once, and work."""
    try:
        environment = WorkerEnvironment.from_variables(os.environ)
    except InvalidEnvironmentError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    from media_worker.service import serve  # noqa: PLC0415 - a bad environment is told at once

    return serve(environment, os.environ)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Daemon threads (a poll that cannot be interrupted) must not delay the end of the task.
    os._exit(code)
