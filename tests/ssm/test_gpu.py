"""The Triton kernels against the float64 oracle: on a GPU where there is one, else interpreted."""

import pytest
import torch
from support.oracle import (
    assert_close,
    compare,
    inner_inputs,
    scan_inputs,
    single,
    value_and_gradients,
)

from mambadapter.ssm import Mamba, dispatch
from mambadapter.ssm.backends import reference
from mambadapter.ssm.backends.triton import backend as gpu

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

pytest.importorskip("triton", reason="Triton is not installed")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LENGTHS = torch.tensor([11, 6, 1])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles in a short clip: the interpreter is slow."""
    monkeypatch.setattr(gpu, "_SCAN_TILE", 64)
    monkeypatch.setattr(gpu, "_CONVOLUTION_TILE", 16)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_scan(lengths, reverse):
    inputs = scan_inputs(3, 11, 6, 3)
    compare(gpu.selective_scan, inputs, DEVICE, lengths=lengths, reverse=reverse)


@pytest.mark.parametrize("missing", ["z", "delta_bias"])
def test_scan_without(missing):
    compare(gpu.selective_scan, {**scan_inputs(2, 11, 6, 3), missing: None}, DEVICE)


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (2, 8, 4, 4)])
def test_scan_shapes(shape):
    compare(gpu.selective_scan, scan_inputs(*shape), DEVICE)


def channels(taps):
    """Fewer where each costs the interpreter more, but more than a program's share."""
    return 6 if taps < 8 else 3


@pytest.mark.parametrize(
    ("taps", "lengths", "reverse"),
    [
        (1, LENGTHS, True),
        (4, None, False),
        (4, LENGTHS, True),
        (4, LENGTHS, False),
        (8, None, True),
        (31, LENGTHS, True),
        (32, None, False),
    ],
)
def test_inner(taps, lengths, reverse):
    inputs = inner_inputs(3, 11, channels(taps), 3, taps, rank=2)
    compare(gpu.mamba_inner, inputs, DEVICE, lengths=lengths, reverse=reverse)


@pytest.mark.parametrize(
    ("taps", "lookahead", "lengths", "reverse"),
    [(4, 3, None, True), (7, 2, LENGTHS, False), (31, 15, LENGTHS, True)],
)
def test_inner_looking_ahead(taps, lookahead, lengths, reverse):
    inputs = inner_inputs(3, 11, channels(taps), 3, taps, rank=2)
    options = {"lengths": lengths, "reverse": reverse, "lookahead": lookahead}
    compare(gpu.mamba_inner, inputs, DEVICE, **options)


def test_no_bias_of_the_convolution():
    compare(gpu.mamba_inner, {**inner_inputs(2, 9, 3, 2, 4, 1), "conv_bias": None}, DEVICE)


def test_padding_never_leaks():
    inputs = single(inner_inputs(3, 11, 6, 3, 4, 1), DEVICE)
    spoilt = inputs["xz"].detach().clone()
    for clip, length in enumerate(LENGTHS):
        spoilt[clip, length:] = float("nan")
    lengths = LENGTHS.to(DEVICE)
    clean = gpu.mamba_inner(**inputs, lengths=lengths)
    got, gradients = value_and_gradients(
        gpu.mamba_inner, {**inputs, "xz": spoilt.requires_grad_()}, lengths=lengths
    )
    assert torch.equal(got, clean)
    for clip, length in enumerate(LENGTHS):
        assert (got[clip, length:] == 0).all()
        assert (gradients["xz"][clip, length:] == 0).all()
    assert all(g.isfinite().all() for g in gradients.values())


def test_the_same_bits_every_time():
    first, second = (
        value_and_gradients(gpu.mamba_inner, single(inner_inputs(3, 11, 6, 3, 4, 1), DEVICE))
        for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


@pytest.mark.filterwarnings("ignore:overflow encountered in exp2")  # infinity, as on a GPU
@pytest.mark.parametrize("extreme", [-200.0, 60.0])
def test_extreme_step_sizes_stay_finite(extreme):
    inputs = single(scan_inputs(1, 8, 2, 2), DEVICE)
    inputs["delta"] = torch.full_like(inputs["delta"], extreme).requires_grad_()
    output, gradients = value_and_gradients(gpu.selective_scan, inputs)
    assert output.isfinite().all()
    assert all(g.isfinite().all() for g in gradients.values())


def test_small_step_sizes_keep_their_digits():
    """One channel, one state, one step: y = softplus(x), down to what a Mamba block starts with."""
    x = torch.linspace(-20, 20, 64, device=DEVICE).reshape(-1, 1, 1)
    one = torch.ones_like(x)
    dt = gpu.selective_scan(one, x, -torch.ones(1, 1, device=DEVICE), one, one, one[0, 0] * 0)
    wanted = torch.nn.functional.softplus(x.double())
    assert ((dt.double() - wanted) / wanted).abs().max() < 3e-6


def test_what_is_no_number_is_passed_on():
    inputs = single(scan_inputs(1, 8, 4, 2), DEVICE)
    inputs["delta"].data[0, 3, 2] = float("nan")
    output = gpu.selective_scan(**inputs)
    assert output[0, 3:, 2].isnan().all()
    assert output[0, :, [0, 1, 3]].isfinite().all()


@pytest.mark.parametrize(("batch", "time"), [(0, 5), (2, 0)])
def test_empty(batch, time):
    inputs = single(scan_inputs(batch, time, 4, 2), DEVICE)
    output, gradients = value_and_gradients(gpu.selective_scan, inputs)
    assert output.shape == (batch, time, 4)
    assert all((g == 0).all() for g in gradients.values())


def test_half_precision_in_and_out_but_not_between():
    inputs = {n: t.detach().bfloat16() for n, t in scan_inputs(2, 11, 6, 3).items()}
    got = gpu.selective_scan(**{n: t.to(DEVICE) for n, t in inputs.items()})
    assert got.dtype == torch.bfloat16
    wanted = reference.selective_scan(**{n: t.double() for n, t in inputs.items()})
    assert_close(got, wanted, tolerance=2**-7)


def test_channels_need_not_be_neighbours():
    inputs = single(inner_inputs(2, 9, 4, 2, 4, 1), DEVICE)
    turned = {**inputs, "xz": inputs["xz"].detach().mT.contiguous().mT}
    assert torch.equal(gpu.mamba_inner(**turned), gpu.mamba_inner(**inputs))


def test_nothing_is_kept_without_gradients():
    inputs = single(scan_inputs(1, 8, 2, 2), DEVICE)
    with torch.no_grad():
        assert gpu.selective_scan(**inputs).grad_fn is None


def test_blocks_agree_on_gpu_and_cpu():
    if DEVICE == "cpu":
        pytest.skip("there is no GPU; everything above ran in Triton's interpreter")
    torch.manual_seed(0)
    block, x, lengths = Mamba(12), torch.randn(3, 700, 12), torch.tensor([700, 450, 3])
    wanted = block(x, lengths, reverse=True)
    wanted.square().sum().backward()
    gradients = [p.grad.clone() for p in block.parameters()]
    block.zero_grad()
    got = block.to(DEVICE)(x.to(DEVICE), lengths.to(DEVICE), reverse=True)
    assert dispatch.backend_for(DEVICE) is gpu
    got.square().sum().backward()
    assert_close(got, wanted)
    for parameter, gradient in zip(block.parameters(), gradients, strict=True):
        assert_close(parameter.grad, gradient, tolerance=1e-4)


def test_the_operators_keep_pytorchs_rules():
    """Of schema, fake kernels and gradients."""
    from torch.library import opcheck

    rules = ("test_schema", "test_faketensor", "test_autograd_registration")
    scan = single(scan_inputs(2, 5, 2, 2), DEVICE)
    opcheck(gpu._scan, (*scan.values(), None, False, True), test_utils=rules)
    x, weight, bias = scan["u"], torch.randn(2, 1, 4, device=DEVICE), scan["D"]
    opcheck(gpu._convolution, (x, weight, bias, None, False, 1), test_utils=rules)
    with torch.no_grad():  # a backward has no gradient of its own
        y, saved = gpu._scan(*scan.values(), None, False, True)
        read = [value.detach() for value in scan.values()]
        opcheck(gpu._scan_backward, (y, *read, None, saved, False), test_utils=rules[:2])
        x, bias = x.detach(), bias.detach()
        opcheck(
            gpu._convolution_backward, (y, x, weight, bias, None, False, 1), test_utils=rules[:2]
        )
