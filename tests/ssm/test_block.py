"""The block is mamba_ssm's, draw for draw."""

import math

import pytest
import torch
import torch.nn.functional as F
from support.formulas import mamba_parameters
from torch import nn

from mambadapter.errors import UserError
from mambadapter.ssm import Mamba


def peer_parameters(d_model, d_state, d_conv, expand):
    """What mamba_ssm.modules.mamba_simple.Mamba.__init__ draws, in its order."""
    d_inner, rank = int(expand * d_model), math.ceil(d_model / 16)
    in_proj = nn.Linear(d_model, d_inner * 2, bias=False)
    conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1, bias=True)
    x_proj = nn.Linear(d_inner, rank + d_state * 2, bias=False)
    dt_proj = nn.Linear(rank, d_inner, bias=True)
    nn.init.uniform_(dt_proj.weight, -(rank**-0.5), rank**-0.5)
    dt = torch.exp(torch.rand(d_inner) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
    dt = dt.clamp(min=1e-4)
    with torch.no_grad():
        dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
    out_proj = nn.Linear(d_inner, d_model, bias=False)
    return {
        "A_log": torch.log(torch.arange(1, d_state + 1).float().repeat(d_inner, 1)),
        "D": torch.ones(d_inner),
        "in_proj.weight": in_proj.weight,
        "conv1d.weight": conv1d.weight,
        "conv1d.bias": conv1d.bias,
        "x_proj.weight": x_proj.weight,
        "dt_proj.weight": dt_proj.weight,
        "dt_proj.bias": dt_proj.bias,
        "out_proj.weight": out_proj.weight,
    }


@pytest.mark.parametrize("sizes", [(12, 16, 4, 2), (40, 8, 3, 1.5), (1, 1, 1, 1)])
def test_same_names_shapes_and_draws(sizes):
    torch.manual_seed(7)
    wanted = peer_parameters(*sizes)
    torch.manual_seed(7)
    block = Mamba(*sizes)
    got = block.state_dict()
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(got[name], tensor), name
    assert sum(t.numel() for t in got.values()) == mamba_parameters(*sizes)


def test_step_sizes_start_in_their_range():
    dt = F.softplus(Mamba(64).dt_proj.bias)
    assert dt.min() > 0.99e-3
    assert dt.max() < 0.101


def test_scan_matrices_are_marked_against_decay():
    block = Mamba(4)
    marked = {n for n, p in block.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marked == {"A_log", "D"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_model": 0}, "d_model=0 is impossible"),
        ({"d_model": 4, "d_state": 0}, "d_state=0 is impossible"),
        ({"d_model": 4, "d_conv": 0}, "d_conv=0 is impossible"),
        ({"d_model": 1, "expand": 0.5}, "no inner channel"),
        ({"d_model": 4, "lookahead": 4}, "lookahead=4 is impossible for 4 taps"),
        ({"d_model": 4, "lookahead": -1}, "lookahead=-1 is impossible"),
        ({"d_model": 4, "dt_init": "rand"}, "dt_init: 'rand' is unknown"),
    ],
)
def test_impossible_sizes_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Mamba(**settings)


def test_gradients_have_the_layout_of_their_parameters():
    """Or DistributedDataParallel copies each one, every step, and says so."""
    block = Mamba(12, 4)
    block(torch.randn(2, 20, 12)).sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name
