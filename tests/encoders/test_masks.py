"""A batch's mask is made once, and follows its lengths."""

import dataclasses

import pytest
import torch
from support.models import build
from torch.utils._python_dispatch import TorchDispatchMode

from mambadapter.methods import MENU
from mambadapter.utils.masks import frame_mask


def expected(lengths: list[int], size: int) -> list[list[bool]]:
    return [[frame < length for frame in range(size)] for length in lengths]


def test_a_mask_follows_lengths_and_size():
    lengths = torch.tensor([3, 1])
    mask = frame_mask(lengths, 4)
    assert mask.tolist() == expected([3, 1], 4)
    assert frame_mask(lengths, 4) is mask
    assert frame_mask(lengths, 5).tolist() == expected([3, 1], 5)
    lengths += 1
    assert frame_mask(lengths, 5).tolist() == expected([4, 2], 5)
    with torch.inference_mode():
        of_inference = torch.tensor([2])
        assert frame_mask(of_inference, 3).tolist() == expected([2], 3)
        of_inference += 1
        assert frame_mask(of_inference, 3).tolist() == expected([3], 3)
        frame_mask(lengths, 6)
    assert not frame_mask(lengths, 6).is_inference()
    assert frame_mask(of_inference, 3).tolist() == expected([3], 3)


class Comparisons(TorchDispatchMode):
    """Counts where positions are compared to lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten.lt.Tensor
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["conformer", "convpass", "gated_convolution"])
def test_layers_share_a_mask(name, encoder_folders):
    counts = []
    for layers in (1, 2):
        method = dataclasses.replace(MENU[name], last_layers=layers)
        encoder, _ = build(encoder_folders["wav2vec2"], method)
        assert len(encoder.adapted) == layers
        with Comparisons() as comparisons:
            encoder.train()(torch.randn(2, 4000), torch.tensor([1.0, 0.6]))
        counts.append(comparisons.count)
    assert counts[0] == counts[1] > 0
