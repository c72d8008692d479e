# ruff: noqa: T201
"""A worker that does nothing but end when it is told to."""

import signal
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("working")
while True:
    time.sleep(1)
