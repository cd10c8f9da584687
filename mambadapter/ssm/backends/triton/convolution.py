"""The depthwise convolution and its SiLU, for GPUs. Addresses skip padding and set the direction."""

import triton
import triton.language as tl

from mambadapter.ssm.backends.triton.math import length_of, per_channel, sigmoid, silu_slope


@triton.jit
def _tap_inputs(x, x_t, frame, channel, length, inside, earlier, reverse: tl.constexpr):
    """The inputs `earlier` frames before in scan order, or after if negative; zeros beyond the clip."""
    if reverse:
        source = frame + earlier
    else:
        source = frame - earlier
    valid = (source >= 0) & (source < length) & (frame < length)
    address = x + source[:, None] * x_t + channel[None, :]
    return tl.load(address, mask=valid[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def _before_silu(
    x, x_t, weight, bias, frame, channel, length, inside,
    taps: tl.constexpr, biased: tl.constexpr, reverse: tl.constexpr, lookahead: tl.constexpr,
):  # fmt: skip
    value = tl.zeros((frame.shape[0], channel.shape[0]), tl.float32)
    for tap in tl.static_range(taps):
        w = tl.load(weight + channel * taps + tap, mask=inside, other=0.0).to(tl.float32)
        value += w[None, :] * _tap_inputs(
            x, x_t, frame, channel, length, inside, taps - 1 - tap - lookahead, reverse
        )
    if biased:
        value += per_channel(bias, channel, inside)[None, :]
    return value


@triton.jit(do_not_specialize=["time", "x_b"])
def convolve(
    x, weight, bias, lengths, out,
    time, channels, x_b, x_t,
    taps: tl.constexpr, activate: tl.constexpr, biased: tl.constexpr,
    padded: tl.constexpr, reverse: tl.constexpr, lookahead: tl.constexpr,
    FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write to `out` the convolution of x, with `activate` its SiLU; zeros on padding."""
    clip = tl.program_id(0).to(tl.int64)
    frame = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    length = length_of(lengths, clip, time, padded)
    value = _before_silu(
        x + clip * x_b, x_t, weight, bias, frame, channel, length, inside,
        taps, biased, reverse, lookahead,
    )  # fmt: skip
    if activate:
        value = value * sigmoid(value)
    value = tl.where((frame < length)[:, None], value, 0.0)
    address = out + clip * time * channels + frame[:, None] * channels + channel[None, :]
    tl.store(address, value, mask=(frame < time)[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["time", "x_b", "grad_b"])
def convolve_backward(
    grad, x, weight, bias, lengths, grad_value, grad_parameters,
    time, channels, grad_b, grad_t, x_b, x_t,
    taps: tl.constexpr, biased: tl.constexpr, padded: tl.constexpr, reverse: tl.constexpr,
    lookahead: tl.constexpr,
    FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write to `grad_value` the gradient of the SiLU's argument, given `grad`, that of its result.

    A row of `grad_parameters` is a tile's share of the gradients of the weight and the bias, in this order.
    """
    clip = tl.program_id(0).to(tl.int64)
    tile = clip * tl.num_programs(1) + tl.program_id(1)
    frame = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    length = length_of(lengths, clip, time, padded)
    value = _before_silu(
        x + clip * x_b, x_t, weight, bias, frame, channel, length, inside,
        taps, biased, reverse, lookahead,
    )  # fmt: skip
    valid = (frame < length)[:, None] & inside[None, :]
    address = grad + clip * grad_b + frame[:, None] * grad_t + channel[None, :]
    grad_tile = tl.load(address, mask=valid, other=0.0).to(tl.float32)
    grad_tile *= silu_slope(value, sigmoid(value))
    row = grad_parameters + tile * channels * (taps + 1)
    for tap in tl.static_range(taps):
        tap_inputs = _tap_inputs(
            x + clip * x_b, x_t, frame, channel, length, inside, taps - 1 - tap - lookahead, reverse
        )
        tl.store(row + channel * taps + tap, tl.sum(grad_tile * tap_inputs, 0), mask=inside)
    tl.store(row + channels * taps + channel, tl.sum(grad_tile, 0), mask=inside)
    address = grad_value + clip * time * channels + frame[:, None] * channels + channel[None, :]
    tl.store(address, grad_tile, mask=(frame < time)[:, None] & inside[None, :])
