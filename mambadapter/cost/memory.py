"""What a training step keeps in memory, counted, so that no allocator has a say."""

import os
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

import torch
from torch import nn

_MIB = 2**20


def kept_mib(forward: Callable[[], torch.Tensor], modules: Iterable[nn.Module]) -> float:
    """Activations kept for the backward, MiB, each storage once, the modules' parameters left out."""
    own = {p.untyped_storage().data_ptr() for module in modules for p in module.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(kept.values()) / _MIB


def learning_mib(parameters: Iterable[nn.Parameter]) -> float:
    """Gradients and AdamW's two moments of what learns, MiB."""
    return sum(3 * p.numel() * p.element_size() for p in parameters if p.requires_grad) / _MIB


def peak_mib(call: Callable[[], object]) -> float:
    """MiB of tensors that a call on a CPU allocates and has at once, by PyTorch's profiler."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # or it complains of GPUs that are not there
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True, acc_events=True) as profile:
        call()
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate((size for _, size in changes), initial=0)) / _MIB


def free_mib(device: str) -> float:
    """Memory that a process could still take: a GPU's, or the machine's within its container's limit."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / _MIB
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    information = Path("/proc/meminfo")  # counts what the kernel would give back
    if information.exists():
        lines = dict(line.split(":") for line in information.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        free = min(free, int(most) - int(used.read_text()))
    return free / _MIB
