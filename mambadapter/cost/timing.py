"""Time several functions in turn, so that whatever slows the machine slows them all."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from mambadapter.utils.devices import processor


def alternate(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int = 2,
    burst: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median milliseconds of a call of each function, by a clock of seconds.

    A round makes `burst` calls in a row of each. Bursts keep the threads that one peer's library leaves
    spinning out of the next peer's figure, which matters for calls of a millisecond or less.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warmup + rounds):
        for name, function in functions.items():
            for _ in range(burst):
                start = clock()
                function()
                if turn >= warmup:
                    seconds[name].append(clock() - start)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def describe_machine(device: str = "cpu", precision: str = "float32") -> str:
    """One line on what the numbers come from."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {precision}"
    return (
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {precision}"
    )
