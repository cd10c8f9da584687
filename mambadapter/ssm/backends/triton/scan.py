"""The selective scan for GPUs. One program scans a few channels of a clip, a tile of frames at a time.

Within a tile, the recurrence ``h = decay h + drive`` is an associative scan over pairs (decay, drive). The
program takes the tiles in order and carries the state in registers. The backward reads the saved state
before each tile and recomputes the others. Decays are at most 1, so no product of them overflows.
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
def _compose(decay, drive, later_decay, later_drive):
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
    """Write `y`, zeros on padding, and with `keep` to `saved` the state before each tile."""
    clip = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    column = tl.arange(0, STATES)
    inside = channel < channels
    state_mask = inside[:, None] & (column < states)[None, :]
    state_offset = channel[:, None] * states + column[None, :]
    rate = tl.load(A + state_offset, mask=state_mask, other=0.0).to(tl.float32) * LOG2_E
    skip = per_channel(D, channel, inside)
    dt_bias = tl.zeros((CHANNELS,), tl.float32)
    if biased:
        dt_bias = per_channel(bias, channel, inside)
    length = length_of(lengths, clip, time, padded)
    tiles = tl.cdiv(time, FRAMES)
    state = tl.zeros((CHANNELS, STATES), tl.float32)
    for tile in range(tiles):
        position = tile * FRAMES + tl.arange(0, FRAMES)
        frame = frame_of(position, length, reverse)
        valid = (position < length)[:, None]
        channel_mask, column_mask = valid & inside[None, :], valid & (column < states)[None, :]
        if keep:
            address = saved + (clip * tiles + tile) * channels * states + state_offset
            tl.store(address, state, mask=state_mask)
        dt = softplus(
            _rows(delta + clip * delta_b, delta_t, frame, channel, channel_mask) + dt_bias[None, :]
        )
        dt = tl.where(channel_mask, dt, 0.0)
        x_tile = _rows(u + clip * u_b, u_t, frame, channel, channel_mask)
        b_tile = _rows(B + clip * B_b, B_t, frame, column, column_mask)
        c_tile = _rows(C + clip * C_b, C_t, frame, column, column_mask)
        decay = tl.exp2(dt[:, :, None] * rate[None, :, :])
        drive = (dt * x_tile)[:, :, None] * b_tile[:, None, :]
        decays, drives = tl.associative_scan((decay, drive), 0, _compose)
        h = decays * state[None, :, :] + drives
        value = tl.sum(h * c_tile[:, None, :], 2) + skip[None, :] * x_tile
        if gated:
            gate = _rows(z + clip * z_b, z_t, frame, channel, channel_mask)
            value *= gate * sigmoid(gate)
        address = y + clip * time * channels + frame[:, None] * channels + channel[None, :]
        tl.store(address, value, mask=(position < time)[:, None] & inside[None, :])
        state = _row(h, FRAMES - 1)


@triton.jit(
    do_not_specialize=["time", "grad_b", "u_b", "delta_b", "B_b", "C_b", "z_b"],
)
def scan_backward(
    grad, u, delta, A, B, C, D, z, bias, lengths, saved,
    grad_u, grad_delta, grad_z, grad_B, grad_C, grad_parameters,
    clips, time, channels, states,
    grad_b, grad_t, u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t,
    gated: tl.constexpr, biased: tl.constexpr, padded: tl.constexpr, reverse: tl.constexpr,
    FRAMES: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Write all gradients; where several programs add to one, each writes its share.

    A row of `grad_parameters` is a clip's share of the gradients of A, D and the bias, in this order.
    """
    clip = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    column = tl.arange(0, STATES)
    inside = channel < channels
    state_mask = inside[:, None] & (column < states)[None, :]
    state_offset = channel[:, None] * states + column[None, :]
    rate = tl.load(A + state_offset, mask=state_mask, other=0.0).to(tl.float32) * LOG2_E
    skip = per_channel(D, channel, inside)
    dt_bias = tl.zeros((CHANNELS,), tl.float32)
    if biased:
        dt_bias = per_channel(bias, channel, inside)
    length = length_of(lengths, clip, time, padded)
    tiles = tl.cdiv(time, FRAMES)
    program = tl.program_id(1) * clips + clip
    sum_A = tl.zeros((CHANNELS, STATES), tl.float32)
    sum_D = tl.zeros((CHANNELS,), tl.float32)
    sum_bias = tl.zeros((CHANNELS,), tl.float32)
    carried = tl.zeros((CHANNELS, STATES), tl.float32)
    for turn in range(tiles):
        tile = tiles - 1 - turn
        position = tile * FRAMES + tl.arange(0, FRAMES)
        frame = frame_of(position, length, reverse)
        valid = (position < length)[:, None]
        channel_mask, column_mask = valid & inside[None, :], valid & (column < states)[None, :]
        raw_dt = (
            _rows(delta + clip * delta_b, delta_t, frame, channel, channel_mask) + dt_bias[None, :]
        )
        dt = tl.where(channel_mask, softplus(raw_dt), 0.0)
        x_tile = _rows(u + clip * u_b, u_t, frame, channel, channel_mask)
        b_tile = _rows(B + clip * B_b, B_t, frame, column, column_mask)
        c_tile = _rows(C + clip * C_b, C_t, frame, column, column_mask)
        grad_y = _rows(grad + clip * grad_b, grad_t, frame, channel, channel_mask)

        decay = tl.exp2(dt[:, :, None] * rate[None, :, :])
        drive = (dt * x_tile)[:, :, None] * b_tile[:, None, :]
        decays, drives = tl.associative_scan((decay, drive), 0, _compose)
        address = saved + (clip * tiles + tile) * channels * states + state_offset
        state = tl.load(address, mask=state_mask, other=0.0)
        h = decays * state[None, :, :] + drives

        writable = (position < time)[:, None] & inside[None, :]
        channel_offset = clip * time * channels + frame[:, None] * channels + channel[None, :]
        if gated:
            gate = _rows(z + clip * z_b, z_t, frame, channel, channel_mask)
            s = sigmoid(gate)
            value = tl.sum(h * c_tile[:, None, :], 2) + skip[None, :] * x_tile
            tl.store(grad_z + channel_offset, grad_y * value * silu_slope(gate, s), mask=writable)
            grad_y = grad_y * gate * s

        # The gradient of h comes from its own frame's output, and from the next h times the next decay.
        next_position = position + 1
        has_next = (next_position < length)[:, None] & inside[None, :]
        next_frame = frame_of(next_position, length, reverse)
        next_raw = _rows(delta + clip * delta_b, delta_t, next_frame, channel, has_next)
        next_dt = tl.where(has_next, softplus(next_raw + dt_bias[None, :]), 0.0)
        next_decay = tl.exp2(next_dt[:, :, None] * rate[None, :, :])
        grad_h_from_y = grad_y[:, :, None] * c_tile[:, None, :]
        decays, drives = tl.associative_scan((next_decay, grad_h_from_y), 0, _compose, reverse=True)
        grad_h = decays * carried[None, :, :] + drives
        carried = _row(grad_h, 0)

        through_decay = grad_h * (h - drive)  # h - drive = decay h_before
        grad_drive = tl.sum(grad_h * b_tile[:, None, :], 2)
        grad_dt = tl.sum(through_decay * (rate * LN_2)[None, :, :], 2) + grad_drive * x_tile
        grad_raw = grad_dt * sigmoid(raw_dt)
        grad_raw = tl.where(channel_mask, grad_raw, 0.0)
        tl.store(grad_u + channel_offset, grad_drive * dt + skip[None, :] * grad_y, mask=writable)
        tl.store(grad_delta + channel_offset, grad_raw, mask=writable)
        sum_A += tl.sum(through_decay * dt[:, :, None], 0)
        sum_D += tl.sum(grad_y * x_tile, 0)
        sum_bias += tl.sum(grad_raw, 0)
        address = program * time * states + frame[:, None] * states + column[None, :]
        writable = (position < time)[:, None] & (column < states)[None, :]
        tl.store(grad_B + address, tl.sum(grad_h * (dt * x_tile)[:, :, None], 1), mask=writable)
        tl.store(grad_C + address, tl.sum(h * grad_y[:, :, None], 1), mask=writable)
    row = grad_parameters + clip * channels * (states + 2)
    tl.store(row + state_offset, sum_A, mask=state_mask)
    tl.store(row + channels * states + channel, sum_D, mask=inside)
    tl.store(row + channels * (states + 1) + channel, sum_bias, mask=inside)
