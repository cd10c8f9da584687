"""The branch is the paper's formula, and its start is alive."""

import math

import pytest
import torch
from torch import nn

from mambadapter.errors import UserError
from mambadapter.methods import MambAdapters
from mambadapter.methods.identity_bottleneck import IdentityBottleneck
from mambadapter.methods.initialisation import (
    input_scale,
    official_mamba,
    official_projections,
    unit_gain,
    unit_variance_projections,
    unit_weight_projections,
)
from mambadapter.methods.mambadapter import MambAdapter
from mambadapter.methods.projections import project_up
from mambadapter.methods.shared_projections import Projections, rank_scale
from mambadapter.ssm import GatedConvolution, Mamba

WIDTH, RANK = 48, 6


class IdentityMixer(nn.Module):
    def forward(self, low, lengths=None):
        return low


@pytest.fixture
def parts():
    torch.manual_seed(0)
    alpha = nn.Parameter(torch.tensor(0.3))
    return nn.Linear(WIDTH, RANK), nn.Linear(RANK, WIDTH), Mamba(RANK), Mamba(RANK), alpha


def test_the_papers_formula(parts):
    down, up, mamba, _, alpha = parts
    branch = MambAdapter(down, up, mamba, alpha=alpha).eval()
    x = torch.randn(2, 20, WIDTH)
    torch.testing.assert_close(branch(x), alpha * up(mamba(down(x))))
    without = MambAdapter(down, up, mamba).eval()
    torch.testing.assert_close(without(x), up(mamba(down(x))))


def test_the_ablation_has_identity_for_mamba(parts):
    down, up, _, _, alpha = parts
    x = torch.randn(2, 20, WIDTH)
    same = MambAdapter(down, up, IdentityMixer(), alpha=alpha).eval()
    branch = IdentityBottleneck(down, up, alpha).eval()
    torch.testing.assert_close(branch(x), alpha * up(down(x)))
    assert torch.equal(branch(x, torch.tensor([20, 9])), same(x))
    torch.testing.assert_close(IdentityBottleneck(down, up).eval()(x), up(down(x)))
    branch = IdentityBottleneck(down, up, alpha, dropout=0.5)
    torch.manual_seed(3)
    got = branch(x)
    torch.manual_seed(3)
    torch.testing.assert_close(got, alpha * up(nn.functional.dropout(down(x), 0.5)))


def test_bidirectional_adds_a_scan_of_reversed_frames(parts):
    """Of each clip's valid frames."""
    down, up, mamba, backward, _ = parts
    branch = MambAdapter(down, up, mamba, backward).eval()
    x = torch.randn(1, 20, WIDTH)
    padded = nn.functional.pad(x, (0, 0, 0, 7))
    wanted = up(mamba(down(x)) + backward(down(x).flip(1)).flip(1))
    torch.testing.assert_close(branch(padded, torch.tensor([20]))[:, :20], wanted)


@pytest.mark.parametrize("scan", [True, False])
def test_beside_a_straight_path_a_branch_begins_as_its_projections(parts, scan):
    """And what the block learns is added to it."""
    down, up, _, _, alpha = parts
    method = MambAdapters(rank=RANK, d_conv=9, scan=scan, skip=True, initialisation="unit_gain")
    branch = method.around(Projections(down, up, alpha, None, None), causal=False).eval()
    x = torch.randn(2, 20, WIDTH)
    torch.testing.assert_close(branch(x), alpha * up(down(x)))
    nn.init.normal_(branch.mamba.out_proj.weight)
    torch.testing.assert_close(branch(x), alpha * up(down(x) + branch.mamba(down(x))))
    assert branch.mamba(down(x)).abs().mean() > 0.1


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize(("causal", "first"), [(False, 7), (True, 10)])
def test_a_frame_is_seen_as_early_as_the_lookahead_says(parts, scan, causal, first):
    """Three frames before it is there; in a decoder not before."""
    down, up, _, _, alpha = parts
    method = MambAdapters(rank=RANK, d_conv=9, lookahead=3, scan=scan)
    branch = method.around(Projections(down, up, alpha, None, None), causal).eval()
    x = torch.randn(1, 20, WIDTH)
    other = x.clone()
    other[:, 10] += 1.0
    changed = (branch(other) != branch(x)).any(-1)[0]
    assert not changed[:first].any()
    assert changed[first : 10 + 6].all()


@pytest.mark.parametrize(
    ("lookahead", "mend"),
    [(4, "for 4 taps; give 0 to 3"), (-1, "at least 0"), (0.5, "at least 0"), (True, "at least 0")],
)
def test_an_impossible_lookahead_is_refused(lookahead, mend):
    with pytest.raises(UserError, match=f"lookahead={lookahead} is impossible.*{mend}"):
        MambAdapters(d_conv=4, lookahead=lookahead)


def test_dropout_acts_in_training_only(parts):
    down, up, mamba, _, alpha = parts
    branch = MambAdapter(down, up, mamba, alpha=alpha, dropout=0.5)
    x = torch.randn(2, 20, WIDTH)
    assert not torch.equal(branch.train()(x), branch(x))
    assert torch.equal(branch.eval()(x), branch(x))


def test_shared_projections_are_one_tensor_each(parts):
    down, up, mamba, other, _ = parts
    branches = nn.ModuleList([MambAdapter(down, up, mamba), MambAdapter(down, up, other)])
    names = dict(branches.named_parameters())
    assert "0.down.weight" in names
    assert "1.down.weight" not in names


def rms(x):
    return x.square().mean().sqrt().item()


def test_our_initialisation_keeps_the_mamba_alive():
    """What reaches W_up decides whether its gradient, and then the block's, is of any size."""
    torch.manual_seed(0)
    norm = nn.LayerNorm(768)
    x = norm(torch.randn(4, 100, 768))

    down, up, mamba = nn.Linear(768, 12), nn.Linear(12, 768), Mamba(12)
    unit_variance_projections(down, up, [norm])
    assert rms(down(x)) == pytest.approx(1.0, abs=0.1)
    assert (up.weight == 0).all()
    assert (up.bias == 0).all()
    ours = rms(mamba(down(x)))

    down, up, mamba = nn.Linear(768, 12), nn.Linear(12, 768), Mamba(12)
    official_projections(down, up)
    official_mamba(mamba)
    official = rms(mamba(down(x)))
    assert ours > 1e-2
    assert official < 1e-6


@pytest.mark.parametrize("taps", [1, 4, 16, 31])
@pytest.mark.parametrize("scan", [True, False])
def test_a_block_of_unit_gain_keeps_unit_variance(scan, taps):
    """However the frames are correlated; mamba_ssm's start makes a twentieth of it."""
    torch.manual_seed(0)
    gains = []
    for _ in range(20):
        block = Mamba(16, d_conv=taps) if scan else GatedConvolution(16, taps)
        unit_gain(block)
        smooth = torch.randn(4, 1, 16).expand(4, 300, 16)
        x = (torch.randn(4, 300, 16) + smooth) / math.sqrt(2)
        gains.append(block(x)[:, 50:].square().mean().item())
    assert 0.6 < sum(gains) / len(gains) < 1.8


def test_a_scaled_projection_keeps_unit_variance():
    torch.manual_seed(0)
    down, up = nn.Linear(512, 64), nn.Linear(64, 512)
    unit_weight_projections(down, up)
    norm = nn.LayerNorm(512)
    nn.init.normal_(norm.weight, std=7.0)
    scaled = input_scale(norm) * norm(torch.randn(100, 512))
    assert rms(down(scaled)) == pytest.approx(1, abs=0.1)
    assert down.weight.std().item() == pytest.approx(1, abs=0.05)
    assert (up.weight == 0).all()


def test_an_input_scale_multiplies_the_input(parts):
    down, up, mamba, _, alpha = parts
    x = torch.randn(2, 20, WIDTH)
    scaled = MambAdapter(down, up, mamba, alpha=alpha, input_scale=torch.tensor(0.2)).eval()
    plain = MambAdapter(down, up, mamba, alpha=alpha).eval()
    torch.testing.assert_close(scaled(x), plain(0.2 * x) * math.sqrt(12) / RANK)
    assert scaled.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("rank", [3, 12, 96])
def test_a_step_of_adam_moves_a_scaled_output_as_far_at_every_rank(rank):
    up = nn.Linear(rank, WIDTH)
    for tensor in up.parameters():
        nn.init.zeros_(tensor)
    low, wanted = torch.ones(1, 1, rank), torch.ones(WIDTH)
    optimiser = torch.optim.Adam([up.weight], lr=0.02)
    scale = rank_scale(up, torch.tensor(1.0))
    (project_up(low, up, scale) - wanted).square().sum().backward()
    optimiser.step()
    with torch.no_grad():
        moved = project_up(low, up, scale)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.02 * math.sqrt(12)))


def test_official_initialisation_is_the_papers_code():
    torch.manual_seed(0)
    down, up, mamba = nn.Linear(768, 64), nn.Linear(64, 768), Mamba(64)
    kept = {name: getattr(mamba, name).clone() for name in ("A_log", "D")}
    dt_bias = mamba.dt_proj.bias.clone()
    official_projections(down, up)
    official_mamba(mamba)
    assert down.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert (up.weight == 0).all()
    for linear in (mamba.in_proj, mamba.x_proj, mamba.dt_proj, mamba.out_proj):
        bound = 0.02 * math.sqrt(6 / sum(linear.weight.shape))
        assert 0.9 * bound < linear.weight.abs().max() <= bound
    assert (mamba.conv1d.bias == 0).all()
    assert torch.equal(mamba.dt_proj.bias, dt_bias)
    assert all(torch.equal(getattr(mamba, name), value) for name, value in kept.items())
