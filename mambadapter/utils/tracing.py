"""What PyTorch is doing with a forward pass."""

import torch


def is_exporting() -> bool:
    """Whether torch.export traces; torch.compile says so of itself too."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
