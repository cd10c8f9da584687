"""Augmentation keeps lengths right, draws from the step's random state, and masks frames in training."""

import random

import numpy as np
import pytest
import soundfile as sf
import torch

from mambadapter.data.augmentation import (
    Noise,
    Reverberation,
    WaveformAugmentation,
    add_spec_augment,
    waveform_changes,
)
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import family_of
from mambadapter.errors import UserError
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


def tone(hertz, seconds=1.0):
    return torch.sin(2 * torch.pi * hertz * torch.arange(round(16000 * seconds)) / 16000)


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    """A long recording at another rate, and one shorter than a clip."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "below").mkdir()
    random = np.random.default_rng(0)
    sf.write(folder / "long.wav", random.normal(0, 0.1, 3 * 8000), 8000)
    sf.write(folder / "below/short.flac", random.normal(0, 0.3, 5000), 16000)
    return folder


@pytest.mark.parametrize("snr", [0.0, 10.0])
def test_noise_is_as_loud_as_it_should_be(noises, snr):
    """Over what is valid; behind it nothing is added."""
    noise = Noise(str(noises), 16000, snr, snr)
    wavs, lens = torch.stack([tone(440), 0.1 * tone(880)]), torch.tensor([1.0, 0.5])
    wavs[1, 8000:] = 0
    before = wavs.clone()
    for seed in range(6):
        torch.manual_seed(seed)
        mixed, same = noise(wavs, lens)
        assert torch.equal(same, lens)
        for clip, clean, length in zip(mixed, before, (16000, 8000), strict=True):
            added = (clip - clean)[:length].double().square().sum()
            found = 10 * torch.log10(clean[:length].double().square().sum() / added)
            assert found.item() == pytest.approx(snr, abs=0.01)
            assert torch.equal(clip[length:], clean[length:])
    assert torch.equal(wavs, before)


def test_silence_stays_silence(noises, tmp_path):
    silent = torch.zeros(1, 8000)
    assert torch.equal(Noise(str(noises), 16000)(silent, torch.ones(1))[0], silent)
    sf.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    clip = tone(440)[None]
    assert torch.equal(Noise(str(tmp_path), 16000)(clip, torch.ones(1))[0], clip)


def test_a_room_delays_nothing_and_is_as_loud(tmp_path):
    """A response of one sample, however late, changes nothing; an echo comes when it should."""
    response = np.zeros(4000)
    response[700] = 0.5
    sf.write(tmp_path / "room.wav", response, 16000, subtype="FLOAT")
    wavs, lens = torch.randn(2, 16000), torch.tensor([1.0, 0.5])
    wavs[1, 8000:] = 0
    same, _ = Reverberation(str(tmp_path), 16000)(wavs, lens)
    torch.testing.assert_close(same, wavs, rtol=1e-4, atol=1e-4)
    response[1700] = 0.25
    sf.write(tmp_path / "room.wav", response, 16000, subtype="FLOAT")
    heard, _ = Reverberation(str(tmp_path), 16000)(wavs, lens)
    expected = wavs[0].clone()
    expected[1000:] += 0.5 * wavs[0, :-1000]
    expected *= wavs[0].norm() / expected.norm()
    torch.testing.assert_close(heard[0], expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(heard[1, 8000:], torch.zeros(8000))


def test_what_is_drawn_follows_the_random_state(noises):
    changes = waveform_changes(16000, True, str(noises), reverberation_folder=str(noises / "below"))
    assert [type(change) for change in changes] == [Reverberation, Noise, WaveformAugmentation]

    def draw(seed):
        torch.manual_seed(seed)
        random.seed(seed)
        wavs, lens = tone(440)[None], torch.ones(1)
        for change in changes:
            wavs, lens = change(wavs, lens)
        return wavs

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_impossible_folders_and_loudness_are_named(noises, tmp_path):
    with pytest.raises(UserError, match="noise_folder: there is no audio in"):
        waveform_changes(16000, noise_folder=str(tmp_path))
    with pytest.raises(UserError, match="reverberation_folder: there is no audio in"):
        waveform_changes(16000, reverberation_folder=str(tmp_path / "gone"))
    with pytest.raises(UserError, match="noise_snr_low: 5 dB is above noise_snr_high, 0 dB"):
        waveform_changes(16000, noise_folder=str(noises), noise_snr_low=5, noise_snr_high=0)
