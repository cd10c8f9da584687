"""Tell one frozen encoder from another."""

import hashlib
from collections.abc import Callable

import torch
from torch import nn


def frozen_fingerprint(module: nn.Module, of: Callable[[str], bool] = lambda name: True) -> str:
    """SHA-256 over the names and values of the parameters that do not learn, or of those among them."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        # Many checkpoints lack the mask embedding; frozen, nothing reads it, and it is drawn at random.
        if parameter.requires_grad or name.endswith("masked_spec_embed") or not of(name):
            continue
        digest.update(name.encode())
        flat = parameter.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
