"""``python -m clamav_scan``: the scanner as the task definition starts it."""

from __future__ import annotations

import os
import sys

from media_platform.contract.environment import ClamAvScannerEnvironment, InvalidEnvironmentError

EXIT_CONFIGURATION = 78
"""``EX_CONFIG`` of sysexits(3): the environment is incomplete."""


def main() -> int:
    """Read the environment once, and scan."""
    try:
        environment = ClamAvScannerEnvironment.from_variables(os.environ)
    except InvalidEnvironmentError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    from clamav_scan.service import serve  # noqa: PLC0415 - a bad environment is told at once

    return serve(environment)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Daemon threads (a poll that cannot be interrupted) must not delay the end of the task.
    os._exit(code)
