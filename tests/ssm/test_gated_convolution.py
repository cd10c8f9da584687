"""The gated convolution is a Mamba block whose scan passes its input on."""

import pytest
import torch
import torch.nn.functional as F

from mambadapter.errors import UserError
from mambadapter.ssm import GatedConvolution, Mamba


@pytest.fixture(params=[0, 3, 6], ids=["causal", "centred", "all ahead but one"])
def pair(request):
    """A gated convolution, and the Mamba block of the same weights with B = 0: what is left of its scan is D u."""
    torch.manual_seed(0)
    mamba = Mamba(6, d_state=4, d_conv=7, lookahead=request.param).double()
    with torch.no_grad():
        mamba.x_proj.weight.zero_()
    convolution = GatedConvolution(6, d_conv=7, lookahead=request.param).double()
    same = {
        name: value
        for name, value in mamba.state_dict().items()
        if name in convolution.state_dict()
    }
    convolution.load_state_dict(same)
    return convolution, mamba


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [30, 11, 3]])
def test_it_is_mamba_without_its_scan(pair, reverse, lengths):
    """In both directions, on the valid frames of padded clips too, with its gradients, in float64."""
    lengths = None if lengths is None else torch.tensor(lengths)
    valid = (
        torch.ones(3, 30, dtype=bool) if lengths is None else torch.arange(30) < lengths[:, None]
    )
    outputs, gradients = [], []
    for block in pair:
        x = torch.randn(3, 30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        y = block(x, lengths, reverse)[valid]
        y.square().sum().backward()
        outputs.append(y)
        gradients.append(
            [
                x.grad[valid],
                *(block.get_parameter(name).grad for name, _ in pair[0].named_parameters()),
            ]
        )
    torch.testing.assert_close(*outputs)
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("reverse", [False, True])
def test_taps_that_look_ahead_are_a_convolution_of_the_same_length(reverse):
    block = GatedConvolution(6, d_conv=7, lookahead=2)
    x = torch.randn(2, 30, 6)
    value, gate = block.in_proj(x).mT.chunk(2, dim=1)
    weight = block.conv1d.weight.flip(-1) if reverse else block.conv1d.weight
    # With zeros for the two taps that would look as far ahead as the others look back, it is centred.
    centred = F.pad(weight, (2, 0) if reverse else (0, 2))
    mixed = F.conv1d(value, centred, block.conv1d.bias, padding="same", groups=12)
    wanted = block.out_proj((F.silu(mixed) * F.silu(gate)).mT)
    torch.testing.assert_close(block(x, reverse=reverse), wanted)


def test_taps_that_all_look_ahead_are_refused():
    with pytest.raises(UserError, match="lookahead=7 is impossible for 7 taps; give 0 to 6"):
        GatedConvolution(6, d_conv=7, lookahead=7)


def test_padding_gets_no_gradient(pair):
    x = torch.randn(1, 12, 6, dtype=torch.float64, requires_grad=True)
    pair[0](x, torch.tensor([5]), reverse=True)[:, :5].sum().backward()
    assert (x.grad[:, 5:] == 0).all()
