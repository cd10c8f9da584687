"""A training step of several methods on one encoder: time, memory, and the largest batch."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mambadapter.budget.count import architecture_config, counter
from mambadapter.budget.search import closest
from mambadapter.cost.memory import free_mib, learning_mib, peak_mib
from mambadapter.cost.step import Step, random_step
from mambadapter.methods import MENU

_LEAST_STEPS, _MOST_STEPS = 2, 20

# Of the memory that is free, what a batch may take: allocators, the loader and other programs want some.
_USABLE = 0.8


@dataclass(frozen=True)
class Cost:
    """What a training step of one method costs.

    Attributes
    ----------
    method : str
        Its name on the menu.
    size : str
        Such as ``rank=12``; empty for a method without a size.
    trained : int
        Parameters that learn, head left out.
    milliseconds : float
        Median of a step: forward, backward, optimiser.
    clips_per_second : float
        Clips of the batch over that time.
    memory_mib : float
        Tensors over the frozen weights that there are at once, at the most.
    largest_batch : int
        Clips of that length which four fifths of the free memory would hold, by what one clip and the batch
        take.
    """

    method: str
    size: str
    trained: int
    milliseconds: float
    clips_per_second: float
    memory_mib: float
    largest_batch: int


def compare_methods(
    encoder: str,
    methods: Sequence[str],
    budget: int,
    clips: int,
    seconds: float,
    device: str = "cpu",
    bf16: bool = False,
    limit_s: float = 50.0,
) -> Iterator[Cost]:
    """Train a few steps of each method on noise, one method after the other, and yield what they cost.

    The encoder's weights are random, which changes no time.

    Parameters
    ----------
    encoder : str
        A name in `mambadapter.encoders.families.ARCHITECTURES`, ``box``, a folder or a hub name.
    methods : Sequence[str]
        Names on the menu.
    budget : int
        Trained parameters that each method is sized for, as near as it comes.
    clips : int
        Of a batch; at least 2.
    seconds : float
        Length of a clip.
    device : str
        ``cpu``, ``cuda`` or one of several GPUs.
    bf16 : bool
        Under bfloat16 autocast.
    limit_s : float
        Seconds after which no further method begins; the first always does.

    Yields
    ------
    Cost

    Raises
    ------
    UserError
        If the encoder is unknown.

    Example
    -------
    >>> (cost,) = compare_methods("box", ["linear_probe"], 12_000, clips=2, seconds=0.5, limit_s=0)
    >>> cost.method, cost.trained, cost.milliseconds > 0
    ('linear_probe', 384, True)
    """
    config, count = architecture_config(encoder), counter(encoder)
    start = time.perf_counter()
    for place, name in enumerate(methods):
        if place and time.perf_counter() - start > limit_s:
            return
        fit = closest(MENU[name], count, budget)
        step = random_step(config, fit.method, clips, seconds, device, bf16)
        milliseconds = _time(step, limit_s / len(methods))
        # Of few clips the highest may be where their number has no say, in gradients of weights or the
        # optimiser: what a clip adds is the more that it adds in the forward or in both passes.
        one = step.on(1)
        forward = _peak(step, step.forward) - _peak(step, one.forward)
        backward = _peak(step, step.backward) - _peak(step, one.backward)
        per_clip = max(forward, backward) / (clips - 1)
        peak = _peak(step, step)
        room = _USABLE * free_mib(device) - max(peak - clips * per_clip, 0)
        yield Cost(
            name,
            fit.size,
            fit.count,
            milliseconds,
            1e3 * clips / milliseconds,
            peak,
            max(int(room // per_clip), 0),
        )


def _time(step: Step, limit_s: float) -> float:
    """Median milliseconds of a step; the first, which compiles and allocates, does not count."""
    _finish(step)
    start = time.perf_counter()
    taken: list[float] = []
    while len(taken) < _LEAST_STEPS or (
        len(taken) < _MOST_STEPS and time.perf_counter() - start < limit_s / 2
    ):
        taken.append(_finish(step))
    return 1e3 * statistics.median(taken)


def _finish(step: Step) -> float:
    """Seconds of one step, the wait for a GPU included."""
    start = time.perf_counter()
    step()
    if step.device.type == "cuda":
        torch.cuda.synchronize(step.device)
    return time.perf_counter() - start


def _peak(step: Step, call: Callable[[], object]) -> float:
    """MiB over the frozen weights that a call takes, with AdamW's moments, which are there already."""
    step.optimiser.zero_grad()
    moments = 2 * learning_mib(step.learning) / 3
    if step.device.type != "cuda":
        return peak_mib(call) + moments
    torch.cuda.synchronize(step.device)
    before = torch.cuda.memory_allocated(step.device)
    torch.cuda.reset_peak_memory_stats(step.device)
    call()
    return (torch.cuda.max_memory_allocated(step.device) - before) / 2**20 + moments
