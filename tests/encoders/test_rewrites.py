"""What replaces a frozen layer's arithmetic computes the same, forward and backward."""

import copy
import gc

import numpy as np
import pytest
import torch
from support.contract import build, moved, waveforms
from torch import nn
from transformers import AutoModel
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families.wav2vec2 import drawn_spans
from mambadapter.encoders.linear import (
    _ROUNDED,
    onednn_linear,
    rounding_convolution,
    rounding_linear,
)
from mambadapter.methods import MENU, FullFinetuning, LinearProbe


def twins(folder, method):
    """The same encoder from transformers and from us."""
    torch.manual_seed(0)
    reference = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ours = AdaptedEncoder.from_pretrained(folder, method).backbone.eval()
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            # WavLM's bias and its gate's constant start too small to notice.
            if "gru_rel_pos" in name or "rel_attn_embed" in name:
                parameter.normal_()
    ours.load_state_dict(reference.state_dict())
    return ours, reference


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_the_transformer_against_transformers_in_float64(
    encoder_folder, padded, onednn, monkeypatch
):
    monkeypatch.setattr("mambadapter.encoders.linear.onednn_is_faster", lambda: onednn)
    ours, reference = twins(encoder_folder, LinearProbe())
    hidden, direction = torch.randn(3, 20, 32), torch.randn(3, 20, 32)
    valid = torch.arange(20) < torch.tensor([[20], [13], [4]]) if padded else None
    direction = direction if valid is None else direction * valid[..., None]

    def run(encoder, dtype):
        source = hidden.detach().to(dtype).requires_grad_()
        # A copy: transformers zeroes padded frames in place.
        output = encoder.to(dtype)(source.clone(), attention_mask=valid).last_hidden_state
        (output * direction.to(dtype)).sum().backward()
        return (output * direction.ne(0)).double(), source.grad.double()

    for got, wanted in zip(
        run(ours.encoder, torch.float32), run(reference.encoder, torch.float64), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_full_finetuning_gets_the_gradients_of_transformers(encoder_folder):
    ours, reference = twins(encoder_folder, FullFinetuning())
    hidden, direction = torch.randn(2, 20, 32), torch.randn(2, 20, 32)
    for model in (ours, reference):
        (model.encoder(hidden.clone()).last_hidden_state * direction).sum().backward()
    wanted = dict(reference.named_parameters())
    compared = 0
    for name, parameter in ours.encoder.named_parameters(prefix="encoder"):
        torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-3, atol=1e-4)
        compared += parameter.grad is not None
    assert compared > 20


@pytest.mark.parametrize("trained", ["nothing", "bias", "everything"])
@pytest.mark.parametrize("biased", [True, False])
def test_a_dense_layer_against_float64(trained, biased):
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=biased).requires_grad_(trained == "everything")
    if biased:
        layer.bias.requires_grad_(trained != "nothing")
    hidden, direction = torch.randn(3, 50, 24), torch.randn(3, 50, 40)
    wide = nn.Linear(24, 40, bias=biased).double()
    wide.load_state_dict(layer.state_dict())

    def run(forward, dtype):
        source = hidden.detach().to(dtype).requires_grad_()
        output = forward(source)
        (output * direction).sum().backward()
        return output, source.grad

    got = run(lambda x: onednn_linear(layer, x), torch.float32)
    wanted = run(wide, torch.float64)
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(layer.parameters(), wide.parameters(), strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-4)
        else:
            assert mine.grad is None


def test_a_frozen_dense_layer_keeps_no_activation():
    layer = nn.Linear(24, 40).requires_grad_(False)
    hidden = torch.randn(3, 50, 24, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        onednn_linear(layer, hidden)
    assert {tensor.data_ptr() for tensor in kept} == {layer.weight.data_ptr()}


def test_other_precisions_and_shapes_take_pytorchs_own_path():
    layer, frames = nn.Linear(24, 40).double(), torch.randn(3, 24).double()
    torch.testing.assert_close(onednn_linear(layer, frames), layer(frames), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert onednn_linear(layer.float(), frames.float()[None]).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["mambadapter", "lora", "dora", "bitfit", "full_finetuning"])
def test_weights_rounded_once_are_those_that_autocast_rounds(any_encoder_folder, name):
    """To the bit, forward and backward; again after they were changed."""
    ours, head = build(any_encoder_folder, MENU[name])
    moved(ours)
    plain = copy.deepcopy(ours)
    rounding = {rounding_linear, rounding_convolution, onednn_linear}
    replaced = [m for m in plain.modules() if getattr(m.forward, "__func__", None) in rounding]
    assert len(replaced) > 12
    for module in replaced:
        del vars(module)["forward"]

    def run(encoder):
        encoder.train().zero_grad()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(*encoder(*waveforms()))
        logits.float().square().sum().backward()
        return logits, *(p.grad for p in encoder.parameters() if p.grad is not None)

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        ours(*waveforms())  # what is rounded here must serve training
    for changed in (False, True):
        if changed:
            for encoder in (ours, plain):
                with torch.no_grad():
                    for parameter in encoder.backbone.parameters():
                        parameter.mul_(1.1)
        for got, wanted in zip(run(ours), run(plain), strict=True):
            assert torch.equal(got, wanted)


def test_a_frozen_weight_is_rounded_once_and_a_trained_one_never(encoder_folders):
    """Once for all encoders that share it, and no longer than it is there."""
    encoder, _ = build(encoder_folders["wav2vec2"], MENU["bitfit"])
    dense = encoder.layers[0].feed_forward.intermediate_dense
    other = copy.copy(dense)
    before = len(_ROUNDED)
    with torch.autocast("cpu", torch.bfloat16):
        dense(torch.randn(1, 5, 32))
        kept = _ROUNDED[dense.weight][1]
        other(torch.randn(1, 5, 32))
    assert _ROUNDED[dense.weight][1] is kept
    assert kept.dtype == torch.bfloat16
    assert len(_ROUNDED) == before + 1  # the bias learns
    del dense, other, encoder, kept
    gc.collect()
    assert len(_ROUNDED) <= before


def test_spans_are_masked_as_transformers_masks_them():
    """In mean and spread over many clips, and never in the padding."""
    np.random.seed(0)
    torch.manual_seed(0)
    lengths = torch.tensor([200, 120, 30, 9]).repeat(500)
    valid = torch.arange(200) < lengths[:, None]
    ours = torch.cat([drawn_spans(part, 200, 0.3, 10, 2) for part in lengths.split(4)])
    theirs = [
        _compute_mask_indices((4, 200), 0.3, 10, mask.long(), min_masks=2)
        for mask in valid.split(4)
    ]
    assert not (ours & ~valid).any()
    wanted = torch.from_numpy(np.concatenate(theirs)) & valid
    for clip in range(4):
        got, want = (m[clip::4].sum(1).double() for m in (ours, wanted))
        assert abs(got.mean() - want.mean()) < 0.03 * want.mean() + 1e-9
        assert abs(got.std() - want.std()) < 0.15 * want.std() + 1e-9
    assert not drawn_spans(torch.tensor([5, 3]), 5, 0.3, 10, 2).any()
