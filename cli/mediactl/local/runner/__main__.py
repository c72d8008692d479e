"""Run the process runner: ``python -m mediactl.local.runner STATE_FOLDER``."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from mediactl.local.aws import Emulator
from mediactl.local.runner.daemon import Runner
from mediactl.local.state import StateFolder, read_json


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    state = StateFolder(Path(sys.argv[1]))
    stored = read_json(state.emulator_file)
    if stored is None:
        raise SystemExit(f"{state.emulator_file} does not describe an emulator")

    async def run() -> None:
        await Runner(state, Emulator(**stored)).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
