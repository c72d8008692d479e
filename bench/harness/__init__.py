"""What the benchmarks share: sources, a stage on the emulator, servers and load, peers, figures."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".local" / "bench"
"""Where generated sources and measurements are kept between runs."""

# The services are no part of the installed package; and what is measured is this checkout.
sys.path[:0] = [str(ROOT / folder) for folder in (".", "cli", "runtime/api", "runtime/worker")]
