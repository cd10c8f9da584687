"""What is folded for inference computes what it did."""

import copy

import pytest
import torch
from support.contract import build, has_batch_norm, moved, waveforms
from torch.testing import assert_close

from mambadapter.encoders.speech_to_text import load_speech_to_text
from mambadapter.methods import (
    MENU,
    Bottlenecks,
    Convpasses,
    DoRA,
    IdentityBottlenecks,
    LoRA,
    MambAdapters,
)
from mambadapter.ssm import set_backend

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

# What the menu leaves out: factors of every kind, and none.
OTHERS = {
    "unscaled mambadapter": MambAdapters(rank=4, shared=False, placement="houlsby"),
    "normalised ablation": IdentityBottlenecks(rank=4, batch_norm=True),
    "scaled mambadapter": MambAdapters(rank=4, scaled_projections=True, initialisation="unit_gain"),
    "beside a straight path": MambAdapters(
        rank=4, scaled_projections=True, small_weights=True, skip=True
    ),
    "looking ahead": MambAdapters(rank=4, d_conv=7, lookahead=3),
    "scaled and normalised": MambAdapters(rank=4, scaled_projections=True, batch_norm=True),
    "scaled ablation": IdentityBottlenecks(rank=4, scaled_projections=True),
    "unscaled bottleneck": Bottlenecks(rank=4),
    "unscaled convpass": Convpasses(rank=4),
    "unscaled lora": LoRA(targets=["q", "k", "v", "o", "ffn_in", "ffn_out"]),
    "unscaled dora": DoRA(targets=["o", "ffn_in"], rank_stabilised=True),
}
METHODS = {**MENU, **OTHERS}
ODD = MambAdapters(
    rank=5, expand=1, d_state=3, scaled_projections=True
)  # no whole vector of channels
IN_WEIGHTS = ("lora", "dora")


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


@pytest.mark.parametrize("any_encoder_folder", ["wavlm-stable", "whisper"], indirect=True)
def test_folded_is_equal(any_encoder_folder, name):
    encoder, _ = build(any_encoder_folder, METHODS[name])
    moved(encoder).eval()
    if has_batch_norm(encoder):
        for key, buffer in encoder.named_buffers():
            if "running" in key:
                buffer.uniform_(0.5, 2.0)
    wavs, lens = waveforms()
    with torch.no_grad():
        with encoder.branches_off():
            frozen, _ = encoder(wavs, lens)
        wanted, frames = encoder(wavs, lens)
        alone, _ = encoder(wavs[:1])
    before = sum(p.numel() for p in encoder.branches.parameters())
    encoder.fold()
    folded, _ = encoder(wavs, lens)
    assert not folded.requires_grad
    assert torch.allclose(encoder(wavs[:1])[0], alone, atol=2e-5, rtol=1e-5)
    for clip, count in enumerate(frames.tolist()):
        assert torch.allclose(folded[clip, :count], wanted[clip, :count], atol=2e-5, rtol=1e-5)
    if before:
        assert not torch.allclose(frozen, wanted, atol=1e-3)
    if name.endswith(IN_WEIGHTS):
        assert before
        assert not encoder.branches


@pytest.mark.parametrize("name", ["mambadapter", "lora", "dora", "conformer"])
def test_a_folded_decoder_is_equal(encoder_folders, name):
    torch.manual_seed(0)
    whisper = load_speech_to_text(encoder_folders["whisper"], "kab", MENU[name], "decoder")
    decoder = moved(whisper.decoder).eval()
    memory, frames = whisper.encoder(*waveforms())
    with torch.no_grad():
        wanted = decoder(memory, frames)
        decoder.fold()
        assert torch.allclose(decoder(memory, frames), wanted, atol=1e-4)


def test_shared_projections_stay_as_they_are(encoder_folders):
    """Another encoder may hold the same ones."""
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["mambadapter"])
    shared = moved(encoder).branches["layer0_ffn"].up
    before = shared.weight.clone()
    encoder.fold()
    assert torch.equal(shared.weight, before)
    assert encoder.branches["layer0_ffn"].up is not shared


@pytest.mark.parametrize("method", [MENU["mambadapter"], MENU["mambadapter_bidirectional"], ODD])
def test_prepared_blocks_give_the_same(encoder_folders, method, monkeypatch):
    """With padding, of channels too, and where gradient, a graph or other numbers are asked for without them."""
    encoder, _ = build(encoder_folders["wav2vec2"], method)
    moved(encoder).fold()
    (branch, *_) = encoder.branches.values()
    low = torch.randn(3, 40, branch.mamba.in_proj.in_features)
    for lengths in (None, torch.tensor([40, 17, 1])):
        prepared = branch.mamba(low, lengths), branch.mamba(low, lengths, reverse=True)
        block = copy.deepcopy(branch.mamba)
        block._prepared = None
        block.double()
        assert_close(prepared[0].double(), block(low.double(), lengths))
        assert_close(prepared[1].double(), block(low.double(), lengths, reverse=True))
    assert branch.mamba(low.double().float().requires_grad_()).requires_grad
    calls = []
    real = type(branch.mamba._prepared).__call__
    monkeypatch.setattr(
        type(branch.mamba._prepared), "__call__", lambda *a: (calls.append(1), real(*a))[1]
    )
    branch.mamba(low)
    assert calls == [1]
    set_backend("reference")
    try:
        branch.mamba(low)
    finally:
        set_backend("auto")
    branch.mamba.double()(low.double())
    assert calls == [1]
