"""The selective scan for GPUs: a program a clip and a few channels, the frames of a tile at once.

A tile's recurrence ``h = decay h + drive`` is an associative scan over pairs (decay, drive); tiles follow
one another, and the state between them stays in registers. Backward keeps the state before each tile
and recomputes the rest. Decays are at most 1, so nothing can overflow.
"""

import triton
import triton.language as tl

from mambadapter.ssm.backends.triton.math import (
    LN_2,
    LOG2_E,
    frame_of,
    length_of,
    per_channel,
    sigmoid,
    silu_slope,
    softplus,
)


@triton.jit
def _after(decay, drive, later_decay, later_drive):
    return decay * later_decay, later_decay * drive + later_drive


@triton.jit
def _rows(x, stride, frame, column, mask):
    address = x + frame[:, None] * stride + column[None, :]
    return tl.load(address, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _row(x, index):
    """One frame of (frames, channels, states)."""
    here = tl.arange(0, x.shape[0]) == index
    return tl.sum(tl.where(here[:, None, None], x, 0.0), 0)


@triton.jit(
    do_not_specialize=["time", "u_b", "delta_b", "B_b", "C_b", "z_b"],
)
def scan_forward(
    u, delta, A, B, C, D, z, bias, lengths, y, saved,
    time, channels, states,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t,
    gated: tl.constexpr, biased: tl.constexpr, padded: tl.constexpr, reverse: tl.constexpr,
    keep: tl.constexpr, FRAMES: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Y, zero on padding; with `keep`, the state before each tile."""
    clip = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    column = tl.arange(0, STATES)
    inside = channel < channels
    stateful = inside[:, None] & (column < states)[None, :]
    square = channel[:, None] * states + column[None, :]
    rate = tl.load(A + square, mask=stateful, other=0.0).to(tl.float32) * LOG2_E
    skip = per_channel(D, channel, inside)
    offset = tl.zeros((CHANNELS,), tl.float32)
    if biased:
        offset = per_channel(bias, channel, inside)
    length = length_of(lengths, clip, time, padded)
    tiles = tl.cdiv(time, FRAMES)
    state = tl.zeros((CHANNELS, STATES), tl.float32)
    for tile in range(tiles):
        position = tile * FRAMES + tl.arange(0, FRAMES)
        frame = frame_of(position, length, reverse)
        valid = (position < length)[:, None]
        wide, narrow = valid & inside[None, :], valid & (column < states)[None, :]
        if keep:
            address = saved + (clip * tiles + tile) * channels * states + square
            tl.store(address, state, mask=stateful)
        step = softplus(
            _rows(delta + clip * delta_b, delta_t, frame, channel, wide) + offset[None, :]
        )
        step = tl.where(wide, step, 0.0)
        seen = _rows(u + clip * u_b, u_t, frame, channel, wide)
        into = _rows(B + clip * B_b, B_t, frame, column, narrow)
        out_of = _rows(C + clip * C_b, C_t, frame, column, narrow)
        decay = tl.exp2(step[:, :, None] * rate[None, :, :])
        drive = (step * seen)[:, :, None] * into[:, None, :]
        decays, drives = tl.associative_scan((decay, drive), 0, _after)
        h = decays * state[None, :, :] + drives
        value = tl.sum(h * out_of[:, None, :], 2) + skip[None, :] * seen
        if gated:
            gate = _rows(z + clip * z_b, z_t, frame, channel, wide)
            value *= gate * sigmoid(gate)
        address = y + clip * time * channels + frame[:, None] * channels + channel[None, :]
        tl.store(address, value, mask=(position < time)[:, None] & inside[None, :])
        state = _row(h, FRAMES - 1)


@triton.jit(
    do_not_specialize=["time", "grad_b", "u_b", "delta_b", "B_b", "C_b", "z_b"],
)
def scan_backward(
    grad, u, delta, A, B, C, D, z, bias, lengths, saved,
    grad_u, grad_delta, grad_z, grad_B, grad_C, grad_rest,
    clips, time, channels, states,
    grad_b, grad_t, u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t,
    gated: tl.constexpr, biased: tl.constexpr, padded: tl.constexpr, reverse: tl.constexpr,
    FRAMES: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """All gradients; those that several programs share, as the share of each.

    A row of `grad_rest` is a clip's share of the gradients of A, D and the bias, in this order.
    """
    clip = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    column = tl.arange(0, STATES)
    inside = channel < channels
    stateful = inside[:, None] & (column < states)[None, :]
    square = channel[:, None] * states + column[None, :]
    rate = tl.load(A + square, mask=stateful, other=0.0).to(tl.float32) * LOG2_E
    skip = per_channel(D, channel, inside)
    offset = tl.zeros((CHANNELS,), tl.float32)
    if biased:
        offset = per_channel(bias, channel, inside)
    length = length_of(lengths, clip, time, padded)
    tiles = tl.cdiv(time, FRAMES)
    share = tl.program_id(1) * clips + clip
    sum_A = tl.zeros((CHANNELS, STATES), tl.float32)
    sum_D = tl.zeros((CHANNELS,), tl.float32)
    sum_bias = tl.zeros((CHANNELS,), tl.float32)
    carried = tl.zeros((CHANNELS, STATES), tl.float32)
    for turn in range(tiles):
        tile = tiles - 1 - turn
        position = tile * FRAMES + tl.arange(0, FRAMES)
        frame = frame_of(position, length, reverse)
        valid = (position < length)[:, None]
        wide, narrow = valid & inside[None, :], valid & (column < states)[None, :]
        raw = _rows(delta + clip * delta_b, delta_t, frame, channel, wide) + offset[None, :]
        step = tl.where(wide, softplus(raw), 0.0)
        seen = _rows(u + clip * u_b, u_t, frame, channel, wide)
        into = _rows(B + clip * B_b, B_t, frame, column, narrow)
        out_of = _rows(C + clip * C_b, C_t, frame, column, narrow)
        slope = _rows(grad + clip * grad_b, grad_t, frame, channel, wide)

        decay = tl.exp2(step[:, :, None] * rate[None, :, :])
        drive = (step * seen)[:, :, None] * into[:, None, :]
        decays, drives = tl.associative_scan((decay, drive), 0, _after)
        address = saved + (clip * tiles + tile) * channels * states + square
        state = tl.load(address, mask=stateful, other=0.0)
        h = decays * state[None, :, :] + drives

        writable = (position < time)[:, None] & inside[None, :]
        plain = clip * time * channels + frame[:, None] * channels + channel[None, :]
        if gated:
            gate = _rows(z + clip * z_b, z_t, frame, channel, wide)
            s = sigmoid(gate)
            value = tl.sum(h * out_of[:, None, :], 2) + skip[None, :] * seen
            tl.store(grad_z + plain, slope * value * silu_slope(gate, s), mask=writable)
            slope = slope * gate * s

        # What reaches h from its own output, and from the frame after it.
        following = position + 1
        later = (following < length)[:, None] & inside[None, :]
        next_frame = frame_of(following, length, reverse)
        next_raw = _rows(delta + clip * delta_b, delta_t, next_frame, channel, later)
        next_step = tl.where(later, softplus(next_raw + offset[None, :]), 0.0)
        next_decay = tl.exp2(next_step[:, :, None] * rate[None, :, :])
        own = slope[:, :, None] * out_of[:, None, :]
        decays, drives = tl.associative_scan((next_decay, own), 0, _after, reverse=True)
        g = decays * carried[None, :, :] + drives
        carried = _row(g, 0)

        through = g * (h - drive)  # g decay h_before
        reached = tl.sum(g * into[:, None, :], 2)
        of_step = tl.sum(through * (rate * LN_2)[None, :, :], 2) + reached * seen
        of_raw = of_step * sigmoid(raw)
        of_raw = tl.where(wide, of_raw, 0.0)
        tl.store(grad_u + plain, reached * step + skip[None, :] * slope, mask=writable)
        tl.store(grad_delta + plain, of_raw, mask=writable)
        sum_A += tl.sum(through * step[:, :, None], 0)
        sum_D += tl.sum(slope * seen, 0)
        sum_bias += tl.sum(of_raw, 0)
        address = share * time * states + frame[:, None] * states + column[None, :]
        writable = (position < time)[:, None] & (column < states)[None, :]
        tl.store(grad_B + address, tl.sum(g * (step * seen)[:, :, None], 1), mask=writable)
        tl.store(grad_C + address, tl.sum(h * slope[:, :, None], 1), mask=writable)
    rest = grad_rest + clip * channels * (states + 2)
    tl.store(rest + square, sum_A, mask=stateful)
    tl.store(rest + channels * states + channel, sum_D, mask=inside)
    tl.store(rest + channels * (states + 1) + channel, sum_bias, mask=inside)
