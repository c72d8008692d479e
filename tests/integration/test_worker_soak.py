"""Workers that die at random on a bad way to AWS; ``soak.py`` does the same for longer."""

from __future__ import annotations

from pathlib import Path

from soak import Settings, soak


def test_nothing_is_lost_and_little_is_repeated(tmp_path: Path) -> None:
    settings = Settings(
        jobs=3,
        kills=6,
        stops=1,
        freezes=1,
        workers=2,
        seed=1,
        seconds_per_clip=20,
        pause_seconds=2,
        patience_seconds=150,
    )
    result = soak(settings, tmp_path)
    assert result.wrong == []
    assert (result.kills, result.stops, result.freezes) == (6, 1, 1)
    assert result.jobs >= settings.jobs
    assert result.repeated_messages > 0
    assert {name.partition(" ")[0] for name in result.faults} == {"s3", "sqs", "dynamodb"}
