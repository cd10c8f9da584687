"""Augmentation keeps lengths right, draws from the step's random state, and masks frames in training."""

import random

import numpy as np
import pytest
import torch

from mambadapter.data.augmentation import WaveformAugmentation, add_spec_augment
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import family_of
from mambadapter.methods import FullFinetuning, LinearProbe


def test_speed_changes_keep_padding_in_proportion():
    augmentation = WaveformAugmentation(16000)
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
    augmentation = WaveformAugmentation(16000)
    wavs, lens = torch.randn(2, 16000), torch.ones(2)

    def draw(seed):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(np.random.randint(1000))  # must not matter
        return augmentation(wavs, lens)[0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(3))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("samples", [400, 401, 416, 420, 421])
def test_short_clips_stay_long_enough(encoder_folders, samples, padded):
    """At 105 % of its speed a clip of 26 ms is shorter than an encoder frame."""
    encoder = AdaptedEncoder.from_pretrained(encoder_folders["wav2vec2"], LinearProbe())
    augmentation = WaveformAugmentation(16000)
    length = 8000 if padded else samples
    wavs, lens = torch.zeros(2, length), torch.tensor([1.0, samples / length])
    wavs[:, :samples] = torch.randn(2, samples)
    heard = set()
    for seed in range(12):
        torch.manual_seed(seed)
        changed, changed_lens = augmentation(wavs, lens)
        _, frames = encoder(changed, changed_lens)
        heard.add(round(float(changed_lens[1]) * changed.shape[1]))
        assert frames[1] == 1
    assert min(heard) >= 400
    assert len(heard) > 1  # other speeds were drawn


@pytest.fixture(params=[LinearProbe(), FullFinetuning()], ids=repr)
def adapted(request, any_encoder_folder):
    torch.manual_seed(0)
    encoder = AdaptedEncoder.from_pretrained(any_encoder_folder, request.param)
    add_spec_augment(encoder)
    return encoder


def entering(encoder):
    """What enters the Transformer, as (B, T, C), each time that it does."""
    seen = []
    masked = family_of(encoder.backbone.config).masked

    def keep(values):
        seen.append((values.mT if masked.channels_first else values).detach().clone())

    if masked.is_input:
        encoder.backbone.register_forward_pre_hook(
            lambda module, args, inputs: keep(inputs[masked.name]), with_kwargs=True
        )
    else:
        encoder.backbone.get_submodule(masked.name).register_forward_hook(
            lambda module, args, output: keep(output[0] if isinstance(output, tuple) else output)
        )
    return seen, masked.hop


def test_frames_are_masked_in_training_only(adapted):
    """With every encoder, those that read spectrograms too."""
    seen, hop = entering(adapted)
    wavs = torch.randn(2, 16000)
    adapted.eval()(wavs)
    adapted.train()(wavs)[0].sum().backward()  # the mask is no obstacle to gradients
    whole, masked = seen
    silent = (masked == 0) & (whole != 0)
    frames, widths = silent.all(2), silent.all(1)
    for clip in range(2):
        assert 1 <= frames[clip].sum() <= 18 * 0.02 / hop  # one or two spans, or cut at the end
        assert 1 <= widths[clip].sum() <= max(6, whole.shape[2] // 4)
    kept = ~(frames[:, :, None] | widths[:, None])
    assert torch.equal(masked[kept], whole[kept])


def test_a_frame_can_be_masked(adapted):
    """Of a clip as short as can be there is one."""
    assert adapted.train()(torch.randn(2, 400))[0].isfinite().all()
