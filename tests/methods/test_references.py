"""Each method computes what its paper says, against the formula written out on transformers' own model."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import encoder_of
from mambadapter.encoders.sublayers import dense_layers, sublayers
from mambadapter.methods import DoRA, LoRA, PrefixTuning, PromptTuning, WeightedSum
from mambadapter.methods.batch_norm import FrameBatchNorm
from mambadapter.methods.conformer import ConformerAdapter
from mambadapter.methods.convpass import Convpass
from mambadapter.methods.dora import WeightDecomposed

TARGETS = ("q", "k", "v", "o", "ffn_in", "ffn_out")


def adapted(folder, method):
    torch.manual_seed(0)
    encoder = AdaptedEncoder.from_pretrained(folder, method).eval()
    encoder.frontend.normalise = False
    with torch.no_grad():
        for parameter in encoder.branches.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def waveforms():
    torch.manual_seed(1)
    return torch.randn(2, 6000)


@pytest.mark.parametrize(
    ("targets", "more"),
    [(("q", "v"), {"rank_stabilised": True}), (TARGETS, {}), (TARGETS, {"scaled_inputs": True})],
    ids=str,
)
@pytest.mark.parametrize("method", [LoRA, DoRA])
def test_low_rank_changes_equal_changed_weights(any_encoder_folder, method, targets, more):
    """In transformers' own forward, WavLM's functional attention included, where PEFT's LoRA is a no-op."""
    plain = encoder_of(AutoModel.from_pretrained(any_encoder_folder).eval())
    # Other families as transformers has them.
    settings = {"audio-spectrogram-transformer": {"token_order": "frequency"},
                "whisper": {"padding": "full"}}.get(plain.config.model_type, {})  # fmt: skip
    source = {"source": any_encoder_folder, **settings}
    encoder = adapted(source, method(rank=3, alpha=6, targets=targets, **more))
    inputs = encoder.frontend.inputs(waveforms(), None)
    with torch.no_grad():
        frozen = plain(**inputs).last_hidden_state
        norms = {(place.layer, place.kind): place.norm for place in sublayers(plain)}
        for layer in dense_layers(plain):
            if layer.kind not in targets:
                continue
            branch, weight = encoder.branches[layer.name], layer.module.weight
            low_rank = branch.change if method is DoRA else branch
            scale = 6 / (math.sqrt(3) if more.get("rank_stabilised") else 3)
            if more.get("scaled_inputs") and layer.kind not in ("o", "ffn_out"):
                norm = norms[layer.layer, "ffn" if layer.kind == "ffn_in" else "attention"]
                scale /= (norm.weight.square() + norm.bias.square()).sum().sqrt()
            weight.add_(scale * low_rank.up.weight @ low_rank.down.weight)
            if method is DoRA:
                weight.mul_((branch.magnitude / weight.norm(dim=1))[:, None])
        expected = plain(**inputs).last_hidden_state
        got = encoder(waveforms())[0]
    assert (expected - frozen).abs().max() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_doras_gradient_takes_the_norm_for_a_constant():
    layer = nn.Linear(6, 5).double().requires_grad_(False)
    branch = WeightDecomposed(layer, rank=2, scale=2.0, dropout=0.0).double()
    nn.init.normal_(branch.change.up.weight)
    hidden, downstream = torch.randn(2, 7, 6).double(), torch.randn(2, 7, 5).double()
    ((layer(hidden) + branch(hidden, layer(hidden))) * downstream).sum().backward()
    got = [p.grad.clone() for p in branch.parameters()]

    branch.zero_grad()
    weight = layer.weight + 2.0 * branch.change.up.weight @ branch.change.down.weight
    weight = (branch.magnitude / weight.norm(dim=1).detach())[:, None] * weight
    (F.linear(hidden, weight, layer.bias) * downstream).sum().backward()
    for one, parameter in zip(got, branch.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


@pytest.mark.parametrize("deep", [False, True])
def test_prompts_are_frames_in_front_of_the_others(encoder_folder, deep):
    encoder = adapted(encoder_folder, PromptTuning(prompts=4, deep=deep))
    plain = AutoModel.from_pretrained(encoder_folder).eval()
    wavlm = plain.config.model_type == "wavlm"
    entering = []
    hook = plain.encoder.layers[0].register_forward_pre_hook(
        lambda m, args: entering.append(args[0])
    )
    with torch.no_grad():
        plain(waveforms())
        hook.remove()
        (hidden,) = entering
        bias = {}
        for index, layer in enumerate(plain.encoder.layers):
            if index == 0 or deep:
                vectors = encoder.branches[f"layer{index}_prompts"].vectors
                hidden = torch.cat(
                    [vectors.expand(2, -1, -1), hidden[:, 4 if index else 0 :]], dim=1
                )
            hidden = layer(hidden, **bias)
            if wavlm:
                hidden, position_bias = hidden
                bias = {"position_bias": position_bias}
        expected = hidden[:, 4:]
        if plain.config.do_stable_layer_norm:
            expected = plain.encoder.layer_norm(expected)
        got = encoder(waveforms())[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_every_frame_sees_the_prefixes(encoder_folder):
    encoder = adapted(encoder_folder, PrefixTuning(length=3))
    attention = encoder.layers[1].attention
    prefix = encoder.branches["layer1_prefix"]
    seen = {}

    def look(module, args, kwargs, output):
        seen.update(hidden=args[0], output=output[0], bias=kwargs.get("position_bias"))

    attention.register_forward_hook(look, with_kwargs=True)
    with torch.no_grad():
        encoder(waveforms())
        hidden = seen["hidden"].double()
        attention.double()

        def heads(x):
            return x.view(x.shape[0], -1, attention.num_heads, attention.head_dim).transpose(1, 2)

        query = heads(attention.q_proj(hidden))
        key, value = (
            heads(torch.cat([vectors.double().expand(2, -1, -1), projection(hidden)], dim=1))
            for vectors, projection in (
                (prefix.keys, attention.k_proj),
                (prefix.values, attention.v_proj),
            )
        )
        scores = query @ key.mT / math.sqrt(attention.head_dim)
        if seen["bias"] is not None:  # WavLM, as transformers writes it
            gated = hidden.view(2, -1, attention.num_heads, attention.head_dim).permute(0, 2, 1, 3)
            gates = attention.gru_rel_pos_linear(gated)
            gates = torch.sigmoid(gates.view(*gated.shape[:-1], 2, 4).sum(-1))
            gate_a, gate_b = gates.chunk(2, dim=-1)
            gate = gate_a * (gate_b * attention.gru_rel_pos_const - 1.0) + 2.0
            scores[..., 3:] += gate * seen["bias"].double()
        expected = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        expected = attention.out_proj(expected).float()
    torch.testing.assert_close(seen["output"], expected, rtol=1e-4, atol=1e-5)


def test_weighted_sum_is_of_transformers_hidden_states(encoder_folder):
    encoder = adapted(encoder_folder, WeightedSum())
    plain = AutoModel.from_pretrained(encoder_folder).eval()
    with torch.no_grad():
        layers = plain(waveforms(), output_hidden_states=True).hidden_states
        shares = encoder.branches["layers"].weights.softmax(0)
        expected = torch.einsum("l,lbtd->btd", shares, torch.stack(layers))
        torch.testing.assert_close(encoder(waveforms())[0], expected, rtol=1e-4, atol=1e-5)


def test_the_conformer_adapter_is_the_conformers_convolution_module():
    torch.manual_seed(0)
    branch = ConformerAdapter(8, 3, kernel_size=5, dropout=0.0)
    nn.init.normal_(branch.up.weight)
    norm = nn.BatchNorm1d(3)
    hidden = torch.randn(2, 11, 8)

    def reference():
        channels = F.layer_norm(hidden, (8,)).mT  # its weight and bias start at 1 and 0
        channels = F.conv1d(channels, branch.down.weight[:, :, None], branch.down.bias)
        channels = F.glu(channels, dim=1)
        channels = F.conv1d(
            channels, branch.depthwise.weight, branch.depthwise.bias, padding=2, groups=3
        )
        channels = F.silu(norm(channels))
        return F.conv1d(channels, branch.up.weight[:, :, None], branch.up.bias).mT

    for mode in (True, False):  # statistics of the batch, then the running ones
        branch.train(mode)
        norm.train(mode)
        torch.testing.assert_close(branch(hidden), reference(), rtol=1e-4, atol=1e-5)


def test_batch_norm_counts_valid_frames_only():
    norm, reference = FrameBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    hidden = torch.randn(2, 6, 3).double()
    lengths = torch.tensor([6, 2])
    valid = torch.arange(6) < lengths[:, None]
    got, expected = norm(hidden, lengths), reference(hidden[valid])
    torch.testing.assert_close(got[valid], expected)
    assert not got[~valid].any()
    torch.testing.assert_close(norm.running_var, reference.running_var)
    torch.testing.assert_close(norm.running_mean, reference.running_mean)


def test_convpass_starts_without_mixing_frames_and_then_does():
    torch.manual_seed(0)
    branch = Convpass(8, 3, dropout=0.0).eval()
    hidden = torch.randn(1, 9, 8)
    pointwise = branch.up(F.gelu(F.gelu(branch.down(hidden))))
    torch.testing.assert_close(branch(hidden), pointwise)
    nn.init.normal_(branch.convolution.weight)
    moved = hidden.clone()
    moved[:, 4] += 1.0
    changed = (branch(moved) - branch(hidden)).abs().sum(-1)[0]
    assert (changed > 1e-6).tolist() == [3 <= frame <= 5 for frame in range(9)]
