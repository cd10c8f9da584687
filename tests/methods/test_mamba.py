"""The branch is the paper's formula, and its start is alive."""

import math

import pytest
import torch
from torch import nn

from mambadapter.methods.identity_bottleneck import IdentityBottleneck
from mambadapter.methods.initialisation import (
    official_mamba,
    official_projections,
    unit_variance_projections,
)
from mambadapter.methods.mambadapter import MambAdapter
from mambadapter.ssm import Mamba

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
