"""Which positions of padded sequences are a clip's own."""

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


def frame_mask(lengths: Tensor, size: int) -> Tensor:
    """(B,) lengths to a (B, size) boolean mask that is true on valid positions.

    The branches of all layers ask for a batch's; it is made once.
    """
    # A graph makes it once by itself, and what is traced must not outlive it; nor may training read what was
    # made for inference, whose tensors say not when they change.
    if torch.compiler.is_compiling() or torch.is_inference_mode_enabled() or lengths.is_inference():
        return _frame_mask(lengths, size)
    state = size, lengths._version
    known = _MASKS.get(lengths)
    if known is None or known[0] != state:
        known = _MASKS[lengths] = state, _frame_mask(lengths, size)
    return known[1]


def valid_only(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero the padding of (B, T, C) for (B,) lengths; None: there is none."""
    return x if lengths is None else torch.where(frame_mask(lengths, x.shape[1])[..., None], x, 0.0)


# By lengths that are still about: the last size asked for, and the mask.
_MASKS: MutableMapping[Tensor, tuple[tuple[int, int], Tensor]] = WeakTensorKeyDictionary()


def _frame_mask(lengths: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
