"""Augmentation keeps lengths right, draws from the step's random state, and masks frames in training."""

import random

import numpy as np
import pytest
import torch

from mambadapter.data.augmentation import add_spec_augment, waveform_augmentation
from mambadapter.encoders import AdaptedEncoder
from mambadapter.methods import FullFinetuning, LinearProbe


def test_speed_changes_keep_padding_in_proportion():
    augmentation = waveform_augmentation(16000)
    lens = torch.tensor([1.0, 0.5])
    lengths = set()
    for seed in range(12):
        torch.manual_seed(seed)
        wavs = torch.zeros(2, 16000)
        wavs[0] = torch.randn(16000)
        wavs[1, :8000] = torch.randn(8000)
        changed, changed_lens = augmentation(wavs, lens)
        lengths.add(changed.shape[1])
        assert torch.equal(changed_lens, lens)
        half = round(0.5 * changed.shape[1])
        assert changed[1, half + 400 :].abs().max() < 1e-3  # a filter rings for some 100 samples
        assert changed[1, :half].std() > 0.1
    assert lengths == {15239, 16000, 16843}  # 105, 100 and 95 % of the speed


def test_draws_follow_the_random_state():
    """What it draws is a function of PyTorch's and Python's random state."""
    augmentation = waveform_augmentation(16000)
    wavs, lens = torch.randn(2, 16000), torch.ones(2)

    def draw(seed):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(np.random.randint(1000))  # must not matter
        return augmentation(wavs, lens)[0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(3))


@pytest.mark.parametrize("method", [LinearProbe(), FullFinetuning()], ids=repr)
def test_frames_are_masked_in_training_only(encoder_folder, method):
    torch.manual_seed(0)
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, method)
    add_spec_augment(encoder)
    entering = []
    encoder.backbone.feature_projection.register_forward_hook(
        lambda module, args, output: entering.append(
            (output[0] if isinstance(output, tuple) else output).detach().clone()
        )
    )
    wavs = torch.randn(2, 16000)
    encoder.eval()(wavs)
    encoder.train()(wavs)[0].sum().backward()  # the mask is no obstacle to gradients
    whole, masked = entering
    silent = masked == 0
    times, channels = silent.all(2), silent.all(1)
    assert not (whole == 0).any(2).all(1).any()
    for clip in range(2):
        assert 1 <= times[clip].sum() <= 18  # one or two spans of 2 to 9 frames, or cut at the end
        assert 1 <= channels[clip].sum() <= 6
