"""How fast a run goes, where its time goes, and how long it will take."""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from mambadapter.encoders.stack import AdaptedStack

_EVERY = 16  # batches, one of which is looked at closely
_ESTIMATED_AFTER = 20  # batches


class Pace:
    """Measures training in this process; times of one batch in 16 are taken apart.

    A GPU goes on after a call returns; it says itself when it came where, and is asked late.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        Encoder and head.

    Attributes
    ----------
    estimated_hours : float or None
        What was left after the first 20 batches, or the first epoch if it is shorter, without validation.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        stacks = (part for part in modules.values() if isinstance(part, AdaptedStack))
        self._branches = [branch for stack in stacks for branch in stack.branches.values()]
        self._on_gpu = False
        self._seconds: dict[str, float] = defaultdict(float)
        self._doing: str | None = None  # nothing, where no one looks
        self._since: Any = None
        self._ended = 0.0
        # What was done, from when to when, by the device's clock.
        self._parts: list[tuple[str, Any, Any]] = []
        self._hooks: list[Any] = []
        self._clips = self._batches = 0
        self._unread: list[tuple[Any, Any]] = []  # when batches began and ended, by the same clock
        self._batch_seconds: list[float] = []
        self._with_data: list[float] = []  # seconds from the end of one batch to that of the next
        self.estimated_hours: float | None = None

    def epoch_begins(self, device: str | torch.device) -> None:
        """Training begins, or goes on after validation."""
        self._on_gpu = torch.device(device).type == "cuda"
        self._batches = 0
        self._ended = time.perf_counter()

    def epoch_ends(self) -> None:
        """Until the next epoch no one looks."""
        self._doing = None

    def batch_begins(self, compiled: bool = False) -> None:
        """Its audio is there. What is compiled cannot be looked into: branches then count as encoder."""
        self._began = self._device_time()
        if self._doing is None:
            return
        self.turn_to("other")
        for branch in () if compiled else self._branches:
            self._hooks += [
                branch.register_forward_pre_hook(lambda *_: self.turn_to("branches")),
                branch.register_forward_hook(lambda *_: self.turn_to("encoder")),
            ]

    def turn_to(self, what: str) -> None:
        """From here on time is spent on that."""
        if self._doing is not None:
            now = self._device_time()
            self._parts.append((self._doing, self._since, now))
            self._doing, self._since = what, now

    def forward_ends(self) -> None:
        """What is computed again for the backward is the backward's."""
        self.turn_to("backward")
        self._unhook()

    def batch_ends(self, clips: int) -> None:
        """The optimiser has made its step."""
        self.turn_to("data")
        self._batches += 1
        self._clips += clips
        now = time.perf_counter()
        self._unread.append((self._began, self._device_time()))
        self._with_data.append(now - self._ended)
        self._ended = now
        self._doing = None
        if self._batches % _EVERY == 1:
            self._doing, self._since = "data", self._device_time()

    def read(self) -> None:
        """Take the times of the batches so far from the device, and wait for it."""
        self._batch_seconds += [_seconds(*ends) for ends in self._unread]
        self._unread.clear()
        for what, began, ended in self._parts:
            self._seconds[what] += _seconds(began, ended)
        self._parts.clear()

    @property
    def batch_ms(self) -> float | None:
        """Median time of a batch of training, ms, in this process; reading audio is not in it."""
        self.read()
        return 1000 * float(np.median(self._batch_seconds)) if self._batch_seconds else None

    @property
    def summary(self) -> dict[str, Any]:
        """Clips a second in this process, shares of the time, and the estimate."""
        self.read()
        seconds, total = sum(self._with_data), sum(self._seconds.values())
        return {
            "clips_per_s": round(self._clips / seconds, 2) if seconds else None,
            "shares": {name: round(spent / total, 3) for name, spent in self._seconds.items()},
            "estimated_hours": self.estimated_hours,
        }

    def is_to_estimate(self, epoch_ends: bool = False) -> bool:
        """Whether enough is known for the first time."""
        enough = epoch_ends or len(self._with_data) == _ESTIMATED_AFTER
        return enough and self.estimated_hours is None and bool(self._with_data)

    def estimate(self, batches_left: int) -> str:
        """Say how it goes; the first batch, which compiles, is no measure of those to come."""
        seconds = float(np.mean(self._with_data[1:] or self._with_data))
        self.estimated_hours = round(batches_left * seconds / 3600, 4)
        summary, memory = self.summary, peak_memory_mib()
        shares = ", ".join(f"{name} {share:.0%}" for name, share in summary["shares"].items())
        return (
            f"About {self.estimated_hours:.2g} hours of training are left, validation not counted: "
            f"{summary['clips_per_s']:.3g} clips/s ({shares or 'one batch'}), peak memory "
            + ", ".join(f"{where} {mib:.0f} MiB" for where, mib in memory.items())
        )

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _device_time(self) -> Any:
        """A GPU is behind its host, and says itself when it came so far."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _seconds(began: Any, ended: Any) -> float:
    if isinstance(began, float):
        return ended - began
    ended.synchronize()
    return began.elapsed_time(ended) / 1000


def peak_memory_mib() -> dict[str, float]:
    """Peak memory of this process, MiB: resident, and on the GPU when there is one."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = {"resident": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)}
    if torch.cuda.is_available():
        peak["gpu"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak
