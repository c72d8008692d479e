"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes is for the machine to say, not for a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
