"""One contract for every method on the menu, on every encoder family, post-norm and pre-norm."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.contract import (
    ENCODER_ONLY,
    NO_IDENTITY,
    SAMPLES,
    build,
    has_batch_norm,
    learning,
    moved,
    waveforms,
)
from support.formulas import EncoderShape, trained_count
from support.host_reads import no_host_reads
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel

from mambadapter.budget.count import count_parameters
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import encoder_of
from mambadapter.encoders.families.whisper import LogMels
from mambadapter.encoders.trained import load_trained, trained_tensors
from mambadapter.methods import MENU, method_from_dict, method_to_dict
from mambadapter.training.sanity_check import prove_alive

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

# For what depends on the method more than on the encoder: those that have least in common.
UNLIKE = pytest.mark.parametrize(
    "any_encoder_folder", ["wav2vec2", "wavlm-stable", "ast", "whisper"], indirect=True
)


@pytest.fixture(params=MENU)
def name(request):
    return request.param


@pytest.fixture
def method(name):
    return MENU[name]


def promised(name, encoder):
    """The names of what a method says it trains, from its description."""
    layers = range(len(encoder.layers))
    family = encoder.backbone.config.model_type
    if family == "audio-spectrogram-transformer":
        stack, outer, final, before_ffn = "layers", "layernorm", "layernorm", "layernorm_after"
    elif family == "whisper":
        stack, outer, final, before_ffn = "layers", "layer_norm", "layer_norm", "final_layer_norm"
    else:
        stack, outer = "encoder.layers", "encoder.layer_norm"
        pre_norm = encoder.backbone.config.do_stable_layer_norm
        final = outer if pre_norm else f"{stack}.{layers[-1]}.final_layer_norm"
        before_ffn = "final_layer_norm" if pre_norm else "layer_norm"
    everything = {n for n, _ in encoder.backbone.named_parameters()}
    if name == "full_finetuning":
        frozen = ("feature_extractor", "masked_spec_embed", "conv1", "conv2", "embed_positions")
        names = {n for n in everything if not n.startswith(frozen)}
    elif name == "bitfit":
        layered = {n for n in everything if n.startswith(stack) and n.endswith("bias")}
        names = layered | {f"{outer}.bias"}
    else:
        norms = set() if name == "weighted_sum" else {final}
        if name not in NO_IDENTITY | ENCODER_ONLY | {"lora", "dora"}:
            norms |= {f"{stack}.{index}.{before_ffn}" for index in layers}
        names = {f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")}
    branches = {f"branches.{n}" for n, _ in encoder.branches.named_parameters()}
    return branches | {f"backbone.{n}" for n in names}


def in_our_order(encoder, hidden):
    """transformers' AST tokens, a band after the other, moment after moment as this package scans them."""
    if encoder.frontend.temporal:
        return hidden
    grid = encoder.backbone.embeddings.get_shape(encoder.backbone.config)
    patches = hidden[:, 2:].unflatten(1, grid).transpose(1, 2).flatten(1, 2)
    return torch.cat([hidden[:, :2], patches], dim=1)


def test_it_starts_as_the_frozen_encoder(any_encoder_folder, name, method):
    """Where it promises to."""
    wavs, _ = waveforms()
    plain = encoder_of(AutoModel.from_pretrained(any_encoder_folder).eval())
    extract = AutoFeatureExtractor.from_pretrained(any_encoder_folder)
    inputs = extract(list(wavs.numpy()), sampling_rate=16000, return_tensors="pt")
    encoder, _ = build(any_encoder_folder, method)
    encoder.eval()
    if isinstance(encoder.frontend, LogMels):
        encoder.frontend.padding = "full"  # the only one that transformers has
    assert method.starts_as_frozen == (name not in NO_IDENTITY)
    with torch.no_grad():
        frozen = in_our_order(encoder, plain(**inputs).last_hidden_state)
        start = encoder(wavs)[0]
        with encoder.branches_off():
            off = encoder(wavs)[0]
    torch.testing.assert_close(off, frozen, rtol=1e-4, atol=1e-5)
    assert start.shape == frozen.shape
    assert torch.allclose(start, frozen, rtol=1e-4, atol=1e-5) == method.starts_as_frozen


def test_gradient_reaches_what_learns(any_encoder_folder, name, method):
    """All of what the method promises to train, and nothing else; the host waits for no value meanwhile."""
    encoder, head = build(any_encoder_folder, method)
    assert learning(encoder) == promised(name, encoder)
    assert bool(len(encoder.branches)) == (name not in ENCODER_ONLY)
    moved(encoder).train()
    wavs, lens = waveforms()
    with no_host_reads():
        hidden, frames = encoder(wavs, lens)
        (head(hidden, frames) * torch.randn(3, 5)).sum().backward()
    for parameter_name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, parameter_name
        elif not parameter_name.endswith("k_proj.bias"):  # a softmax over keys does not see it
            assert parameter.grad.abs().max() > 1e-9, parameter_name


@UNLIKE
def test_frozen_parameters_stay_to_the_bit(any_encoder_folder, method):
    """Over five steps."""
    encoder, head = build(any_encoder_folder, method)
    modules = nn.ModuleDict({"encoder": encoder, "head": head}).train()
    before = {n: p.detach().clone() for n, p in modules.named_parameters()}
    optimiser = torch.optim.AdamW(modules.parameters(), lr=0.01, weight_decay=0.1)
    wavs, lens = waveforms()
    for _ in range(5):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(*encoder(wavs, lens)), torch.arange(3)).backward()
        optimiser.step()
    for name, parameter in modules.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@UNLIKE
def test_saved_and_loaded_it_gives_the_same(any_encoder_folder, method, tmp_path):
    """To the bit, in a fresh model."""
    encoder, head = build(any_encoder_folder, method)
    moved(encoder).train()
    encoder(*waveforms())  # moves BatchNorm's statistics
    modules = {"encoder": encoder, "head": head}
    save_file({n: t.contiguous() for n, t in trained_tensors(modules).items()}, tmp_path / "saved")

    torch.manual_seed(7)
    fresh, fresh_head = build(any_encoder_folder, method_from_dict(method_to_dict(method)))
    moved(fresh, scale=0.5)
    load_trained({"encoder": fresh, "head": fresh_head}, load_file(tmp_path / "saved"), "saved")
    with torch.no_grad():
        expected = head(*encoder.eval()(*waveforms()))
        got = fresh_head(*fresh.eval()(*waveforms()))
    assert torch.equal(got, expected)


def test_its_count_is_that_of_the_formula(any_encoder_folder, method):
    encoder = AdaptedEncoder.from_pretrained(any_encoder_folder, method)
    by_formula = trained_count(method, EncoderShape.of(encoder.backbone))
    counted = count_parameters(encoder)
    assert counted.adapted == by_formula.total
    assert counted.adapter == by_formula.adapter


def test_padding_changes_nothing(any_encoder_folder, method):
    """A clip alone and in a padded batch."""
    encoder, head = build(any_encoder_folder, method)
    moved(encoder).eval()
    wavs, lens = waveforms()
    spoilt = wavs.clone()
    for clip, length in enumerate(lens):
        spoilt[clip, round(length.item() * SAMPLES) :] = 100.0
    with torch.no_grad():
        together = head(*encoder(spoilt, lens))
        for clip, length in enumerate(lens):
            alone = head(*encoder(wavs[clip : clip + 1, : round(length.item() * SAMPLES)]))
            torch.testing.assert_close(together[clip], alone[0], rtol=1e-4, atol=2e-5)


@UNLIKE
def test_it_trains_under_autocast(any_encoder_folder, method):
    encoder, head = build(any_encoder_folder, method)
    moved(encoder).train()
    wavs, lens = waveforms()
    with torch.no_grad():
        exact = copy.deepcopy(encoder).eval()(wavs, lens)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.cross_entropy(head(*encoder(wavs, lens)).float(), torch.arange(3))
    loss.backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert (parameter.grad is None) != parameter.requires_grad, name
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = encoder.eval()(wavs, lens)[0].float()
    valid = torch.arange(exact.shape[1]) < encoder.frames((lens * SAMPLES).round().long())[:, None]
    assert (rough - exact)[valid].norm() < 0.1 * exact[valid].norm() or has_batch_norm(encoder)


@UNLIKE
def test_gradient_checkpointing_changes_neither_gradients_nor_statistics(
    any_encoder_folder, method
):
    plain, head = build(any_encoder_folder, method)
    moved(plain).train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    checkpointed.backbone.train()
    for encoder in (plain, checkpointed):
        head(*encoder(*waveforms())).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        if one.requires_grad and not name.endswith("k_proj.bias"):
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)
    for one, other in zip(plain.buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(one, other)


@UNLIKE
def test_evaluation_is_deterministic_and_method_alive(any_encoder_folder, method):
    encoder, head = build(any_encoder_folder, method)
    prove_alive(encoder, head)
    moved(encoder).eval()
    with torch.no_grad():
        assert torch.equal(encoder(*waveforms())[0], encoder(*waveforms())[0])


@pytest.mark.parametrize("name", ["Bottlenecks", "Convpasses"])
def test_bottlenecks_of_before_are_what_they_were(name):
    """Their packages hold a knob of then; where it was on, they are refused rather than taken for others."""
    method = method_from_dict({"name": name, "rank": 3, "scaled_projections": False})
    assert not method.scaled_inputs
    with pytest.raises(TypeError, match="scaled_projections"):
        method_from_dict({"name": name, "rank": 3, "scaled_projections": True})
