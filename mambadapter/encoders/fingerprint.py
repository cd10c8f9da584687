"""Tell one frozen encoder from another."""

import hashlib

import torch
from torch import nn


def frozen_fingerprint(module: nn.Module) -> str:
    """SHA-256 over the names and values of the parameters that do not learn.

    Parameters
    ----------
    module : nn.Module
        On any device.

    Returns
    -------
    str
        Hexadecimal digest.

    Example
    -------
    >>> layer = nn.Linear(2, 2)
    >>> frozen_fingerprint(layer) == frozen_fingerprint(nn.Linear(2, 2))  # nothing is frozen
    True
    """
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        # Many checkpoints lack the mask embedding; frozen, nothing reads it, and it is drawn at random.
        if parameter.requires_grad or name.endswith("masked_spec_embed"):
            continue
        digest.update(name.encode())
        flat = parameter.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
