"""Frozen means frozen, branches are where they belong, and padding changes nothing."""

import copy

import pytest
import torch
from transformers import AutoModel

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.sublayers import sublayers
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.methods import (
    Bottlenecks,
    Convpasses,
    FullFinetuning,
    IdentityBottlenecks,
    LinearProbe,
    MambAdapters,
)
from mambadapter.methods.projections import project_down


def perturb(encoder, scale=0.3):
    """Move every branch away from its zero start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.branches.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return encoder


def waveforms(clips=3, samples=9000):
    torch.manual_seed(0)
    return torch.randn(clips, samples) * 0.1


METHODS = {
    "pfeiffer": MambAdapters(rank=4, d_state=4),
    "houlsby": MambAdapters(rank=4, d_state=4, placement="houlsby"),
    "sequential": MambAdapters(rank=4, d_state=4, insertion="sequential", placement="houlsby"),
    "unshared": MambAdapters(rank=4, d_state=4, shared=False),
    "bidirectional": MambAdapters(rank=4, d_state=4, bidirectional=True),
    "bidirectional-shared": MambAdapters(
        rank=4, d_state=4, bidirectional=True, backward_parameters="shared"
    ),
    "official": MambAdapters(rank=4, d_state=4, initialisation="official"),
    "identity": IdentityBottlenecks(rank=4, placement="houlsby"),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_starts_as_the_frozen_model(encoder_folder, method):
    wavs = waveforms()
    plain = AutoModel.from_pretrained(encoder_folder).eval()
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, method).eval()
    encoder.frontend.normalise = False
    with torch.no_grad():
        expected = plain(wavs).last_hidden_state
        torch.testing.assert_close(encoder(wavs)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_padding_changes_no_logits(encoder_folder, method):
    """A clip alone and in a padded batch."""
    encoder = perturb(AdaptedEncoder.from_pretrained(encoder_folder, method)).eval()
    head = PooledClassifier(encoder.width, 5)
    wavs = waveforms()
    lengths = [9000, 5003, 2400]
    batch = torch.zeros_like(wavs)
    for clip, (wav, length) in enumerate(zip(wavs, lengths, strict=True)):
        batch[clip, :length] = wav[:length]
    with torch.no_grad():
        together = head(*encoder(batch, torch.tensor(lengths) / 9000))
        for clip, length in enumerate(lengths):
            alone = head(*encoder(wavs[clip : clip + 1, :length]))
            torch.testing.assert_close(together[clip], alone[0], rtol=1e-4, atol=1e-5)


def test_padding_garbage_has_no_influence(encoder_folder):
    encoder = perturb(
        AdaptedEncoder.from_pretrained(encoder_folder, METHODS["bidirectional"])
    ).eval()
    head = PooledClassifier(encoder.width, 5)
    wavs, lens = waveforms(2), torch.tensor([1.0, 0.5])
    spoilt = wavs.clone()
    spoilt[1, 4500:] = 100.0
    with torch.no_grad():
        torch.testing.assert_close(head(*encoder(spoilt, lens)), head(*encoder(wavs, lens)))


def test_only_branches_and_chosen_norms_learn(encoder_folder):
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, METHODS["houlsby"])
    learning = {n for n, p in encoder.named_parameters() if p.requires_grad}
    backbone = {n for n in learning if n.startswith("backbone.")}
    assert learning - backbone == {
        n for n, _ in encoder.named_parameters() if n.startswith("branches.")
    }
    assert all("layer_norm" in name for name in backbone)
    layers = encoder.backbone.config.num_hidden_layers
    assert len(backbone) == 2 * (2 * layers + 1)  # weight and bias: two a layer, and the final one


def test_the_frozen_prefix_builds_no_graph(encoder_folder):
    """Whatever `train` is called on."""
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, METHODS["pfeiffer"])
    seen = {}

    def spy(name):
        return lambda module, args, output: seen.update({name: output.requires_grad})

    encoder.backbone.feature_extractor.register_forward_hook(spy("cnn"))
    encoder.backbone.encoder.pos_conv_embed.register_forward_hook(spy("position"))
    for module in (encoder, encoder.backbone, encoder.backbone.feature_extractor):
        module.train()
        hidden, _ = encoder(waveforms())
        assert seen == {"cnn": False, "position": False}
        assert hidden.requires_grad


def test_frozen_model_is_deterministic_even_in_train_mode(encoder_folder):
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, LinearProbe())
    wavs = waveforms()
    expected = encoder.eval()(wavs)[0]
    encoder.backbone.train()  # bypasses AdaptedEncoder.train
    torch.testing.assert_close(encoder(wavs)[0], expected)


def test_full_finetuning_keeps_the_checkpoints_dropout(encoder_folder):
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, FullFinetuning()).train()
    wavs = waveforms()
    assert not torch.equal(encoder(wavs)[0], encoder(wavs)[0])
    frozen = {n for n, p in encoder.named_parameters() if not p.requires_grad}
    assert all("feature_extractor" in n or "masked_spec_embed" in n for n in frozen)


@pytest.mark.parametrize("name", ["houlsby", "identity"])
def test_gradients_reach_what_learns_and_nothing_else(encoder_folder, name):
    encoder = perturb(AdaptedEncoder.from_pretrained(encoder_folder, METHODS[name]))
    encoder(waveforms())[0].square().mean().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name


def test_a_deep_copy_is_independent(encoder_folder):
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, METHODS["pfeiffer"]).eval()
    wavs = waveforms()
    before = encoder(wavs)[0]
    twin = perturb(copy.deepcopy(encoder))
    torch.testing.assert_close(encoder(wavs)[0], before)
    assert not torch.allclose(twin(wavs)[0], before, atol=1e-3)


def test_projections_are_shared_within_one_encoder(encoder_folders):
    """And never between two."""
    first, second = (
        AdaptedEncoder.from_pretrained(encoder_folders["wav2vec2"], METHODS["pfeiffer"])
        for _ in "ab"
    )
    downs = {id(branch.down) for branch in first.branches.values()}
    assert len(downs) == 1
    assert downs.isdisjoint({id(branch.down) for branch in second.branches.values()})
    wider = AdaptedEncoder.from_pretrained(encoder_folders["wav2vec2"], MambAdapters(rank=6))
    assert next(iter(wider.branches.values())).down.out_features == 6


def test_backbone_parameters_keep_their_names(encoder_folder):
    plain = AutoModel.from_pretrained(encoder_folder)
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, METHODS["houlsby"])
    assert set(encoder.backbone.state_dict()) == set(plain.state_dict())


def test_what_enters_the_mamba_block_has_unit_variance(encoder_folder):
    encoder = AdaptedEncoder.from_pretrained(
        encoder_folder, MambAdapters(rank=16, placement="houlsby")
    )
    torch.manual_seed(3)
    for sublayer in encoder.sublayers:  # real norms have gains and biases far from 1 and 0
        torch.nn.init.uniform_(sublayer.norm.weight, 0.1, 0.4)
        torch.nn.init.normal_(sublayer.norm.bias, std=0.2)
    encoder = AdaptedEncoder(encoder.backbone, MambAdapters(rank=16, placement="houlsby"))
    entering = []
    for branch in encoder.branches.values():
        branch.mamba.register_forward_pre_hook(lambda module, args: entering.append(args[0]))
    with torch.no_grad():
        encoder(waveforms(4, 16000))
    variance = torch.stack([low.square().mean() for low in entering]).mean()
    assert 0.4 < variance < 2.5


@pytest.mark.parametrize(
    ("kind", "knobs", "size"),
    [
        (MambAdapters, ["scaled_projections"], 1.0),
        (MambAdapters, ["scaled_projections", "small_weights"], 32**-0.5),
        (IdentityBottlenecks, ["scaled_projections"], 1.0),
        (Bottlenecks, ["scaled_inputs"], 32**-0.5),
        (Convpasses, ["scaled_inputs"], 32**-0.5),
    ],
)
def test_scaled_inputs_enter_with_unit_variance_at_every_point(encoder_folder, kind, knobs, size):
    """Also where norms differ a hundredfold, as W_down's weights, of size `size`, do not."""
    method = kind(rank=24, placement="houlsby", **dict.fromkeys(knobs, True))
    backbone = AutoModel.from_pretrained(encoder_folder)
    torch.manual_seed(3)
    for index, sublayer in enumerate(sublayers(backbone)):
        with torch.no_grad():
            sublayer.norm.weight.mul_(10.0 ** (index % 3))
            sublayer.norm.bias.normal_(std=10.0 ** (index % 3))
    encoder = AdaptedEncoder(backbone, method)
    entering = []
    for branch in encoder.branches.values():
        branch.register_forward_pre_hook(
            lambda branch, args: entering.append(
                project_down(args[0], branch.down, branch.input_scale)
            )
        )
        assert 0.9 * size < branch.down.weight.std() < 1.1 * size
    with torch.no_grad():
        encoder(waveforms(4, 16000))
    for low in entering:
        assert 0.4 < low.square().mean() < 2.5


@pytest.mark.parametrize("method", [MambAdapters, IdentityBottlenecks])
@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_norm_gives_every_point_unit_variance_whatever_its_norm(
    encoder_folder, method, shared
):
    """Over the frames that count, as `nn.BatchNorm1d` of them alone; each point by its own statistics."""
    torch.manual_seed(3)
    backbone = AutoModel.from_pretrained(encoder_folder)
    for index, sublayer in enumerate(sublayers(backbone)):
        with torch.no_grad():
            sublayer.norm.weight.mul_(10.0 ** (index % 3))
    encoder = AdaptedEncoder(backbone, method(rank=6, batch_norm=True, shared=shared))
    seen = []
    for branch in encoder.branches.values():
        branch.register_forward_pre_hook(lambda branch, args: seen.append((branch, *args)))
    encoder.train()
    with torch.no_grad():
        encoder(waveforms(4, 16000), torch.tensor([1.0, 0.5, 0.8, 0.3]))
        assert len(seen) == len(encoder.branches)
        for branch, hidden, lengths in list(seen):
            valid = torch.arange(hidden.shape[1]) < lengths[:, None]
            wanted = torch.nn.BatchNorm1d(6)((hidden @ branch.down.weight.T)[valid])
            low = branch.low(hidden, lengths)[valid]
            torch.testing.assert_close(low, wanted, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(
                low.var(0, unbiased=False), torch.ones(6), rtol=1e-2, atol=1e-2
            )


@pytest.mark.parametrize("initialisation", ["unit_variance", "official"])
def test_the_ablation_differs_in_the_mamba_blocks_alone(encoder_folder, initialisation):
    settings = {"rank": 4, "placement": "houlsby", "initialisation": initialisation}

    def state(method):
        torch.manual_seed(0)
        encoder = AdaptedEncoder.from_pretrained(encoder_folder, method)
        learning = {n for n, p in encoder.named_parameters() if p.requires_grad}
        return encoder.state_dict(), {n for n in learning if ".mamba." not in n}

    (full, learning), (ablated, still_learning) = (
        state(kind(**settings)) for kind in (MambAdapters, IdentityBottlenecks)
    )
    assert learning == still_learning
    assert set(ablated) == {name for name in full if ".mamba." not in name}
    assert all(torch.equal(value, full[name]) for name, value in ablated.items())


def test_gradient_checkpointing_gives_the_same_gradients(encoder_folders):
    encoder = perturb(
        AdaptedEncoder.from_pretrained(encoder_folders["wavlm"], MambAdapters(dropout=0.0))
    )
    wavs, lens = waveforms(), torch.tensor([1.0, 0.7, 0.5])

    def gradients():
        encoder.zero_grad()
        encoder(wavs, lens)[0].square().mean().backward()
        return [p.grad.clone() for p in encoder.branches.parameters()]

    expected = gradients()
    encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    encoder.backbone.train()
    for got, wanted in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_too_short_a_clip_is_refused(encoder_folders):
    encoder = AdaptedEncoder.from_pretrained(encoder_folders["wav2vec2"], LinearProbe())
    with pytest.raises(UserError, match="shorter than one encoder frame"):
        encoder(torch.randn(2, 300))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank=0 is impossible"),
        ({"rank": 2.5}, "rank=2.5 is impossible"),
        ({"d_state": 0}, "d_state=0 is impossible"),
        ({"placement": "pfeifer"}, "did you mean 'pfeiffer'"),
        ({"insertion": "paralel"}, "did you mean 'parallel'"),
        ({"initialisation": "oficial"}, "did you mean 'official'"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"rank": 1, "expand": 0.5}, "no inner channel"),
        ({"backward_parameters": "shared"}, "set bidirectional to true"),
        (
            {"scaled_projections": True, "insertion": "sequential"},
            "scaled_projections: what a sequential",
        ),
        (
            {"scaled_projections": True, "initialisation": "official"},
            "which has no scaled_projections",
        ),
        ({"batch_norm": True, "initialisation": "official"}, "which has no batch_norm"),
        ({"small_weights": True}, "set scaled_projections to true, or small_weights to false"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        MambAdapters(**settings)


@pytest.mark.parametrize("kind", [Bottlenecks, Convpasses])
def test_inputs_of_unknown_scale_are_not_scaled(kind):
    with pytest.raises(UserError, match="set scaled_inputs to false, or insertion to parallel"):
        kind(insertion="sequential", scaled_inputs=True)


@pytest.mark.parametrize("kind", [Bottlenecks, Convpasses])
def test_scaled_inputs_change_no_start(encoder_folder, kind):
    """From one seed W_down emits the same numbers with the scale at its input as in its weights."""
    low = {}
    for scaled in (True, False):
        backbone = AutoModel.from_pretrained(encoder_folder)
        with torch.no_grad():
            for index, sublayer in enumerate(sublayers(backbone)):
                sublayer.norm.weight.mul_(10.0**index)
        torch.manual_seed(3)
        encoder = AdaptedEncoder(backbone, kind(scaled_inputs=scaled))
        hidden = torch.randn(2, 5, encoder.width)
        low[scaled] = [branch.low(hidden) for branch in encoder.branches.values()]
    torch.testing.assert_close(low[True], low[False])
