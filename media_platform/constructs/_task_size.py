"""Sizes of Fargate tasks: which memory goes with how much processor."""

from __future__ import annotations

_GIBIBYTE = 1024
_MEMORY = {
    256: [512, 1024, 2048],
    512: [*range(1024, 4096 + 1, _GIBIBYTE)],
    1024: [*range(2048, 8192 + 1, _GIBIBYTE)],
    2048: [*range(4096, 16_384 + 1, _GIBIBYTE)],
    4096: [*range(8192, 30_720 + 1, _GIBIBYTE)],
    8192: [*range(16_384, 61_440 + 1, 4 * _GIBIBYTE)],
    16_384: [*range(32_768, 122_880 + 1, 8 * _GIBIBYTE)],
}
"""MiB by CPU units. Source: Amazon ECS Developer Guide, "Task CPU and memory" of Fargate tasks."""


def task_size_problem(cpu_units: int, memory_mebibytes: int) -> str | None:
    """Return why Fargate has no task of this size, or ``None`` if it has.

    Args:
        cpu_units: 1024 for one virtual CPU.
        memory_mebibytes: Memory.
    """
    memory = _MEMORY.get(cpu_units)
    if memory is None:
        return (
            f"cpu_units is {cpu_units}, allowed are {', '.join(map(str, _MEMORY))}; 1024 are one "
            "virtual CPU"
        )
    if memory_mebibytes not in memory:
        return (
            f"memory_mebibytes is {memory_mebibytes}, allowed with {cpu_units} cpu_units are "
            f"{memory[0]} to {memory[-1]} in steps of {memory[-1] - memory[-2]}; choose one of them"
        )
    return None
