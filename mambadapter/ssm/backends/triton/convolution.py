"""The causal depthwise convolution and its SiLU, for GPUs: padding and direction are addresses."""

import triton
import triton.language as tl

from mambadapter.ssm.backends.triton.math import length_of, per_channel, sigmoid, silu_slope


@triton.jit
def _tap(x, x_t, frame, channel, length, inside, back, reverse: tl.constexpr):
    """What lies `back` frames earlier in scan order, and zeros before the start."""
    if reverse:
        source = frame + back
    else:
        source = frame - back
    there = (source >= 0) & (source < length) & (frame < length)
    address = x + source[:, None] * x_t + channel[None, :]
    return tl.load(address, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def _convolved(
    x, x_t, weight, bias, frame, channel, length, inside,
    taps: tl.constexpr, biased: tl.constexpr, reverse: tl.constexpr,
):  # fmt: skip
    value = tl.zeros((frame.shape[0], channel.shape[0]), tl.float32)
    for tap in tl.static_range(taps):
        w = tl.load(weight + channel * taps + tap, mask=inside, other=0.0).to(tl.float32)
        value += w[None, :] * _tap(x, x_t, frame, channel, length, inside, taps - 1 - tap, reverse)
    if biased:
        value += per_channel(bias, channel, inside)[None, :]
    return value


@triton.jit(do_not_specialize=["time", "x_b"])
def convolve(
    x, weight, bias, lengths, out,
    time, channels, x_b, x_t,
    taps: tl.constexpr, activate: tl.constexpr, biased: tl.constexpr,
    padded: tl.constexpr, reverse: tl.constexpr,
    FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Out = convolution of x, or SiLU of it; zero on padding."""
    clip = tl.program_id(0).to(tl.int64)
    frame = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    length = length_of(lengths, clip, time, padded)
    value = _convolved(
        x + clip * x_b, x_t, weight, bias, frame, channel, length, inside, taps, biased, reverse
    )
    if activate:
        value = value * sigmoid(value)
    value = tl.where((frame < length)[:, None], value, 0.0)
    address = out + clip * time * channels + frame[:, None] * channels + channel[None, :]
    tl.store(address, value, mask=(frame < time)[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["time", "x_b", "grad_b"])
def before_activation(
    grad, x, weight, bias, lengths, grad_value, grad_rest,
    time, channels, grad_b, grad_t, x_b, x_t,
    taps: tl.constexpr, biased: tl.constexpr, padded: tl.constexpr, reverse: tl.constexpr,
    FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """From the gradient of the SiLU to that of its argument.

    A row of `grad_rest` is a tile's share of the gradients of the weight and the bias, in this order.
    """
    clip = tl.program_id(0).to(tl.int64)
    tile = clip * tl.num_programs(1) + tl.program_id(1)
    frame = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    length = length_of(lengths, clip, time, padded)
    value = _convolved(
        x + clip * x_b, x_t, weight, bias, frame, channel, length, inside, taps, biased, reverse
    )
    valid = (frame < length)[:, None] & inside[None, :]
    address = grad + clip * grad_b + frame[:, None] * grad_t + channel[None, :]
    slope = tl.load(address, mask=valid, other=0.0).to(tl.float32)
    slope *= silu_slope(value, sigmoid(value))
    rest = grad_rest + tile * channels * (taps + 1)
    for tap in tl.static_range(taps):
        seen = _tap(x + clip * x_b, x_t, frame, channel, length, inside, taps - 1 - tap, reverse)
        tl.store(rest + channel * taps + tap, tl.sum(slope * seen, 0), mask=inside)
    tl.store(rest + channels * taps + channel, tl.sum(slope, 0), mask=inside)
    address = grad_value + clip * time * channels + frame[:, None] * channels + channel[None, :]
    tl.store(address, slope, mask=(frame < time)[:, None] & inside[None, :])
