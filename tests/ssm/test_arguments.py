"""A scan refuses what does not fit together: kernels would read and write past the end of it."""

import pytest
import torch

from mambadapter.errors import UserError
from mambadapter.ssm import Mamba, dispatch, mamba_inner, selective_scan, set_backend

BATCH, TIME, CHANNELS, STATES, TAPS, RANK = 2, 50, 24, 16, 4, 3


@pytest.fixture(params=["reference", "cpu"])
def _backend(request, monkeypatch):
    monkeypatch.setattr(dispatch, "_requested", None)
    monkeypatch.setattr(dispatch, "_chosen", {})
    set_backend(request.param)


def scan_arguments():
    return {
        "u": torch.randn(BATCH, TIME, CHANNELS),
        "delta": torch.randn(BATCH, TIME, CHANNELS),
        "A": -torch.ones(CHANNELS, STATES),
        "B": torch.randn(BATCH, TIME, STATES),
        "C": torch.randn(BATCH, TIME, STATES),
        "D": torch.randn(CHANNELS),
        "z": torch.randn(BATCH, TIME, CHANNELS),
        "delta_bias": torch.randn(CHANNELS),
        "lengths": torch.tensor([50, 20]),
    }


def inner_arguments():
    return {
        "xz": torch.randn(BATCH, TIME, 2 * CHANNELS),
        "conv_weight": torch.randn(CHANNELS, 1, TAPS),
        "conv_bias": torch.randn(CHANNELS),
        "x_proj": torch.randn(RANK + 2 * STATES, CHANNELS),
        "dt_proj": torch.randn(CHANNELS, RANK),
        "dt_bias": torch.randn(CHANNELS),
        "A": -torch.ones(CHANNELS, STATES),
        "D": torch.randn(CHANNELS),
        "lengths": torch.tensor([50, 20]),
    }


FUNCTIONS = {selective_scan: scan_arguments, mamba_inner: inner_arguments}

WRONG_IN_A_SCAN = [
    ("u", (BATCH, CHANNELS), r"u has shape \(2, 24\); it must be \(B, T, D\)"),
    ("delta", (BATCH, TIME, 1), r"delta has shape \(2, 50, 1\); it must be \(B=2, T=50, D=24\)"),
    ("delta", (BATCH, 49, CHANNELS), r"delta has shape \(2, 49, 24\)"),
    ("A", (STATES, CHANNELS), r"A has shape \(16, 24\); it must be \(D=24, N\)"),
    ("A", (CHANNELS,), r"A has shape \(24,\); it must be \(D=24, N\)"),
    ("B", (BATCH, STATES, TIME), r"B has shape \(2, 16, 50\); it must be \(B=2, T=50, N=16\)"),
    ("C", (1, TIME, STATES), r"C has shape \(1, 50, 16\); it must be \(B=2, T=50, N=16\)"),
    ("D", (1,), r"D has shape \(1,\); it must be \(D=24\)"),
    ("D", (), r"D has shape \(\); it must be \(D=24\)"),
    ("z", (BATCH, TIME, 2 * CHANNELS), r"z has shape \(2, 50, 48\)"),
    ("delta_bias", (CHANNELS, 1), r"delta_bias has shape \(24, 1\); it must be \(D=24\)"),
]

WRONG_IN_A_BLOCK = [
    ("xz", (BATCH, TIME, CHANNELS), r"xz has shape \(2, 50, 24\); it must be \(B=2, T=50, 2D=48\)"),
    ("xz", (TIME, 2 * CHANNELS), r"xz has shape \(50, 48\); it must be \(B, T, 2D=48\)"),
    (
        "conv_weight",
        (CHANNELS, TAPS),
        r"conv_weight has shape \(24, 4\); it must be \(D=24, 1, K\)",
    ),
    ("conv_weight", (CHANNELS, 2, TAPS), r"conv_weight .* it must be \(D=24, 1, K\)"),
    ("conv_bias", (2 * CHANNELS,), r"conv_bias has shape \(48,\); it must be \(D=24\)"),
    ("x_proj", (34, CHANNELS), r"x_proj has shape \(34, 24\); it must be \(R\+2N=35, D=24\)"),
    ("dt_proj", (RANK, CHANNELS), r"dt_proj has shape \(3, 24\); it must be \(D=24, R\)"),
    ("dt_bias", (RANK,), r"dt_bias has shape \(3,\); it must be \(D=24\)"),
    ("A", (STATES, CHANNELS), r"A has shape \(16, 24\); it must be \(D=24, N\)"),
    ("D", (CHANNELS, STATES), r"D has shape \(24, 16\); it must be \(D\)"),
]

WRONG_LENGTHS = [
    (torch.tensor([60, 20]), r"lengths\[0\] is 60; it must be 2 integers from 0 to 50"),
    (torch.tensor([50, -1]), r"lengths\[1\] is -1; it must be 2 integers from 0 to 50"),
    (torch.tensor([50, 20, 10]), r"lengths has shape \(3,\); it must be 2 integers"),
    (torch.tensor([[50], [20]]), r"lengths has shape \(2, 1\)"),
    (torch.tensor(50), r"lengths has shape \(\)"),
    (torch.tensor([1.0, 0.4]), r"lengths is of torch.float32; .*lengths\.long\(\)"),
    (torch.tensor([True, False]), r"lengths is of torch.bool"),
    ([50, 20], r"lengths is a list; it must be 2 integers from 0 to 50.* in a tensor"),
]

SHAPES = [(selective_scan, *w) for w in WRONG_IN_A_SCAN] + [
    (mamba_inner, *w) for w in WRONG_IN_A_BLOCK
]


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize(("function", "name", "shape", "message"), SHAPES)
def test_a_shape_that_does_not_fit_is_refused(function, name, shape, message):
    with pytest.raises(UserError, match=message):
        function(**{**FUNCTIONS[function](), name: torch.zeros(shape)})


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("lengths", "message"), WRONG_LENGTHS)
def test_lengths_that_no_clip_has_are_refused(function, lengths, message):
    with pytest.raises(UserError, match=message):
        function(**{**FUNCTIONS[function](), "lengths": lengths})


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
@pytest.mark.parametrize("lengths", [[50, 20], [0, 50], [0, 0]])
def test_lengths_of_every_integer_type(function, dtype, lengths):
    """Up to the last frame."""
    arguments = {**FUNCTIONS[function](), "lengths": torch.tensor(lengths, dtype=dtype)}
    for reverse in (False, True):
        output = function(**arguments, reverse=reverse)
        assert output.shape == (BATCH, TIME, CHANNELS)
        for clip, length in zip(output, lengths, strict=True):
            assert (clip[length:] == 0).all()


@pytest.mark.usefixtures("_backend")
def test_what_is_optional_may_be_left_out():
    left_out = {
        selective_scan: ("z", "delta_bias", "lengths"),
        mamba_inner: ("conv_bias", "lengths"),
    }
    for function, names in left_out.items():
        arguments = {**FUNCTIONS[function](), **dict.fromkeys(names)}
        assert function(**arguments).shape == (BATCH, TIME, CHANNELS)


@pytest.mark.usefixtures("_backend")
def test_a_block_refuses_lengths_before_it_scans():
    with pytest.raises(UserError, match=r"lengths\[0\] is 60; .* from 0 to 50"):
        Mamba(12)(torch.randn(2, 50, 12), lengths=torch.tensor([60, 20]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_are_checked_where_there_are_no_values(function):
    arguments = {n: t.to("meta") for n, t in FUNCTIONS[function]().items()}
    assert function(**arguments).shape == (BATCH, TIME, CHANNELS)
    with pytest.raises(UserError, match=r"A has shape \(16, 24\)"):
        function(**{**arguments, "A": arguments["A"].t()})
    with pytest.raises(UserError, match=r"lengths has shape \(4,\)"):
        function(**{**arguments, "lengths": arguments["lengths"].repeat(2)})
