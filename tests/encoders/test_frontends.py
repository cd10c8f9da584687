"""Spectrograms of AST and Whisper against transformers' own feature extractors and models."""

import numpy as np
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ASTModel,
    WhisperFeatureExtractor,
)

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import frontend_of
from mambadapter.encoders.families.ast import Spectrograms, resized_positions
from mambadapter.encoders.families.whisper import LogMels
from mambadapter.errors import UserError
from mambadapter.methods import LinearProbe

RATE = 16000


def clips(*seconds):
    torch.manual_seed(0)
    return [0.1 * torch.randn(round(RATE * length)) for length in seconds]


def batch(wavs):
    samples = torch.tensor([len(wav) for wav in wavs])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    spoilt = torch.where(torch.arange(padded.shape[1]) < samples[:, None], padded, 7.0)
    return spoilt, samples


@pytest.mark.parametrize("max_length", [64, 400])
def test_asts_spectrograms_are_those_of_transformers(max_length):
    wavs = clips(0.3, 1.0, 2.5)
    extract = ASTFeatureExtractor(max_length=max_length)
    expected = extract([wav.numpy() for wav in wavs], sampling_rate=RATE, return_tensors="pt")
    got = Spectrograms(max_length=max_length).inputs(*batch(wavs))["input_values"]
    torch.testing.assert_close(got, expected["input_values"], rtol=1e-4, atol=1e-4)


def test_asts_logits_are_those_of_transformers(encoder_folders):
    folder = encoder_folders["ast"]
    plain = ASTForAudioClassification.from_pretrained(folder).eval()
    extract = ASTFeatureExtractor.from_pretrained(folder)
    source = {"source": folder, "max_length": None, "token_order": "time", "readout": "cls"}
    encoder = AdaptedEncoder.from_pretrained(source, LinearProbe()).eval()
    wavs = clips(0.3, 0.4)
    inputs = extract([wav.numpy() for wav in wavs], sampling_rate=RATE, return_tensors="pt")
    padded, samples = batch(wavs)
    with torch.no_grad():
        hidden, frames = encoder(padded, samples / padded.shape[1])
        torch.testing.assert_close(
            plain.classifier(hidden[:, 0]), plain(**inputs).logits, rtol=1e-4, atol=1e-4
        )
    assert frames.tolist() == [1, 1]


def test_tokens_go_by_time_or_by_band(encoder_folders):
    wavs = torch.stack(clips(0.4, 0.4))
    hidden = {}
    for order in ("time", "frequency"):
        source = {"source": encoder_folders["ast"], "token_order": order}
        encoder = AdaptedEncoder.from_pretrained(source, LinearProbe()).eval()
        with torch.no_grad():
            hidden[order] = encoder(wavs)[0]
    bands, moments = encoder.backbone.embeddings.get_shape(encoder.backbone.config)
    assert bands > 1
    assert moments > 1
    for band in range(bands):
        for moment in range(moments):
            torch.testing.assert_close(
                hidden["time"][:, 2 + moment * bands + band],
                hidden["frequency"][:, 2 + band * moments + moment],
                rtol=1e-4,
                atol=1e-5,
            )
    assert not torch.allclose(hidden["time"], hidden["frequency"])


def test_positions_that_grow_linearly_still_do_when_interpolated():
    bands, old, new = 3, 20, 8
    ramp = torch.arange(float(old)) + 0.5
    positions = torch.cat([torch.zeros(2), ramp.repeat(bands)])[None, :, None]
    resized = resized_positions(positions, (bands, old), new)[0, 2:, 0].view(bands, new)
    expected = (torch.arange(float(new)) + 0.5) * old / new
    torch.testing.assert_close(resized, expected.expand(bands, new))


def test_another_length_keeps_the_weights(encoder_folders):
    """And has fewer tokens."""
    source = {"source": encoder_folders["ast"], "max_length": 26}
    encoder = AdaptedEncoder.from_pretrained(source, LinearProbe()).eval()
    hidden, frames = encoder(torch.stack(clips(0.5)))
    assert hidden.shape[1] == frames.item() == 2 + 12 * 2
    plain = ASTModel.from_pretrained(encoder_folders["ast"])
    first = encoder.backbone.embeddings.position_embeddings[:, :2]
    assert torch.equal(first, plain.embeddings.position_embeddings[:, :2])


def test_impossible_settings_are_refused(encoder_folders):
    for settings, message in (
        ({"max_length": 10}, "leaves no patch; give at least 16"),
        ({"max_length": 10**9}, "is 10,000,000 s in one piece; give at most 60000"),
        ({"max_lenght": 100}, "have no such setting; did you mean 'max_length'"),
        ({"token_order": "random"}, "token_order"),
        ({"readout": "last"}, "readout"),
    ):
        with pytest.raises(UserError, match=message):
            AdaptedEncoder.from_pretrained(
                {"source": encoder_folders["ast"], **settings}, LinearProbe()
            )
    with pytest.raises(UserError, match="family 'wav2vec2' have no such setting"):
        AdaptedEncoder.from_pretrained(
            {"source": encoder_folders["wav2vec2"], "padding": "full"}, LinearProbe()
        )


def test_a_checkpoint_without_normalisation_gets_none():
    frontend = frontend_of(ASTConfig(), {"do_normalize": False})
    extract = ASTFeatureExtractor(do_normalize=False, max_length=1024)
    wav = clips(0.5)[0]
    expected = extract(wav.numpy(), sampling_rate=RATE, return_tensors="pt")["input_values"]
    torch.testing.assert_close(frontend.inputs(wav[None], None)["input_values"], expected)


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_whispers_spectrograms_are_those_of_transformers(mel_bins):
    wavs = clips(0.3, 1.0, 2.51)
    extract = WhisperFeatureExtractor(feature_size=mel_bins)
    expected = extract([wav.numpy() for wav in wavs], sampling_rate=RATE, return_tensors="np")
    expected = expected["input_features"]
    full = LogMels(mel_bins=mel_bins, padding="full").inputs(*batch(wavs))["input_features"]
    np.testing.assert_allclose(full.numpy(), expected, atol=1e-4)
    inputs = LogMels(mel_bins=mel_bins, padding="clip").inputs(*batch(wavs))
    short = inputs["input_features"].numpy()
    assert short.shape[2] < 260
    # The last frame's window reaches beyond the batch; no frame of the output sees it.
    np.testing.assert_allclose(short[..., :-1], expected[..., : short.shape[2] - 1], atol=1e-4)
    assert inputs["attention_mask"].sum(1).tolist() == [15, 50, 126]


def test_whispers_layers_see_no_thirty_second_padding(encoder_folders):
    """What enters them is the same, short or padded to thirty seconds."""
    entered = {}
    for padding in ("clip", "full"):
        source = {"source": encoder_folders["whisper"], "padding": padding}
        encoder = AdaptedEncoder.from_pretrained(source, LinearProbe()).eval()
        encoder.backbone.layers[0].register_forward_pre_hook(
            lambda _, args, padding=padding: entered.update({padding: args[0]})
        )
        padded, samples = batch(clips(0.3, 0.7))
        encoder(padded, samples / padded.shape[1])
    for clip, frames in enumerate((15, 35)):
        torch.testing.assert_close(
            entered["clip"][clip, :frames], entered["full"][clip, :frames], rtol=1e-4, atol=1e-5
        )


def test_a_clip_longer_than_whisper_hears_is_refused(encoder_folders):
    encoder = AdaptedEncoder.from_pretrained(encoder_folders["whisper"], LinearProbe())
    with pytest.raises(UserError, match=r"clip of 2\.2 s is longer than the 2 s"):
        encoder(torch.stack(clips(2.2)))


def test_a_clip_shorter_than_a_frame_is_refused(encoder_folders):
    for name in ("ast", "whisper"):
        encoder = AdaptedEncoder.from_pretrained(encoder_folders[name], LinearProbe())
        with pytest.raises(UserError, match="shorter than one encoder frame"):
            encoder(torch.randn(2, 120))
