"""What a training step keeps in memory, counted, so that no allocator has a say."""

from collections.abc import Callable, Iterable

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
