"""Time several functions in turn, so that whatever slows the machine slows them all."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict:
    """Median milliseconds of each function over `rounds` rounds, one call of each a round."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warmup + rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def describe_machine() -> str:
    """One line on what the numbers come from."""
    processor = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line),
        platform.processor(),
    )
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, float32"
