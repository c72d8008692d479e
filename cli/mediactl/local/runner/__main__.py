"""Run the process runner: ``python -m mediactl.local.runner STATE_FOLDER``."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from mediactl.local import processes
from mediactl.local.aws import Emulator
from mediactl.local.emulator_process import emulator_record
from mediactl.local.runner.daemon import Runner
from mediactl.local.state import StateFolder, read_state


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    state = StateFolder(Path(sys.argv[1]))
    emulator = read_state(state.emulator_file, Emulator)
    record = emulator_record(state)
    if emulator is None or record is None:
        raise SystemExit(f"{state.emulator_file} does not describe an emulator")

    async def run() -> None:
        await Runner(state, emulator).run()

    try:
        asyncio.run(run())
    finally:
        if read_state(state.emulator_file, Emulator) != emulator:
            # The state folder is gone, so nobody else would find the emulator.
            processes.stop(state.processes, [record], grace_seconds=5)


if __name__ == "__main__":
    main()
