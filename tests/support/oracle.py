"""Inputs of the scans, and the float64 oracle that every backend is held against."""

import torch

from mambadapter.ssm.backends import reference


def scan_inputs(batch, time, channels, states, gated=True, dtype=torch.float64):
    torch.manual_seed(0)
    inputs = {
        "u": torch.randn(batch, time, channels),
        "delta": torch.randn(batch, time, channels),
        "A": -torch.rand(channels, states) * states - 0.1,
        "B": torch.randn(batch, time, states),
        "C": torch.randn(batch, time, states),
        "D": torch.randn(channels),
        "z": torch.randn(batch, time, channels) if gated else None,
        "delta_bias": torch.randn(channels) - 3,
    }
    return {n: t if t is None else t.to(dtype).requires_grad_() for n, t in inputs.items()}


def inner_inputs(batch, time, channels, states, taps, rank, dtype=torch.float64):
    torch.manual_seed(0)
    inputs = {
        "xz": torch.randn(batch, time, 2 * channels),
        "conv_weight": torch.randn(channels, 1, taps) / taps**0.5,
        "conv_bias": torch.randn(channels),
        "x_proj": torch.randn(rank + 2 * states, channels) / channels**0.5,
        "dt_proj": torch.randn(channels, rank) / rank**0.5,
        "dt_bias": torch.randn(channels) - 3,
        "A": -torch.rand(channels, states) * states - 0.1,
        "D": torch.randn(channels),
    }
    return {n: t.to(dtype).requires_grad_() for n, t in inputs.items()}


def value_and_gradients(function, inputs, **options):
    """The output, and the gradients of a sum of it with random weights."""
    output = function(**inputs, **options)
    torch.manual_seed(1)
    weight = torch.randn(output.shape, dtype=torch.float64).to(output)
    (output * weight).sum().backward()
    gradients = {n: t.grad for n, t in inputs.items() if t is not None}
    return output.detach(), gradients


def single(inputs, device="cpu"):
    """The same inputs in float32."""
    plain = {n: t if t is None else t.detach().float().to(device) for n, t in inputs.items()}
    return {n: t if t is None else t.requires_grad_() for n, t in plain.items()}


def assert_close(got, wanted, tolerance=5e-6):
    error = (got.double().cpu() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)
    assert error < tolerance, error


def compare(fast, inputs, device="cpu", lengths=None, **options):
    """A backend's function in float32 against the reference in float64: value and gradients."""
    oracle = {"selective_scan": reference.selective_scan, "mamba_inner": reference.mamba_inner}
    wanted, wanted_gradients = value_and_gradients(
        oracle[fast.__name__], inputs, lengths=lengths, **options
    )
    lengths = None if lengths is None else lengths.to(device)
    got, gradients = value_and_gradients(fast, single(inputs, device), lengths=lengths, **options)
    assert_close(got, wanted)
    for name, gradient in wanted_gradients.items():
        assert_close(gradients[name], gradient)
