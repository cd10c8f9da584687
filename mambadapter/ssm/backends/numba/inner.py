"""All of a Mamba block between its outer projections in one CPU kernel, forward and backward; for inference
with those projections, too.

Convolution, step-size and B, C projections, scan and gate of a few time steps stay in the first-level
cache; only the input and a state every CHUNK steps are kept for the backward. Channels come in whole
vectors, and so do the columns of x_proj.
"""

import numpy as np
from numba import njit, prange

from mambadapter.ssm.backends.numba.math import ZERO, sigmoid, silu_slope, softplus
from mambadapter.ssm.backends.numba.steps import (
    CHUNK,
    DRIVE,
    DT,
    GRAD_DRIVE,
    GRAD_DT,
    GRAD_Y,
    ROWS,
    Y,
    bc_index,
    chunk_backward,
    step_forward,
)
from mambadapter.ssm.backends.numba.vector import (
    LANES,
    Vector,
    broadcast,
    load,
    splat,
    store,
    total,
)


@njit(inline="always")
def _convolve(
    xz: np.ndarray, t: int, length: int, reverse: bool, lookahead: int, taps: np.ndarray,
    bias: np.ndarray, d: int,
) -> Vector:  # fmt: skip
    """Depthwise convolution at step t of the scan; the frame of step s is s or length-1-s."""
    out = load(bias, d)
    for j in range(taps.shape[0]):
        s = t - (taps.shape[0] - 1) + j + lookahead
        if 0 <= s < length:
            q = length - 1 - s if reverse else s
            out = out + load(taps, (j, d)) * load(xz, (q, d))
    return out


@njit(inline="always")
def _project(u: np.ndarray, weight: np.ndarray, out: np.ndarray, k: int) -> None:
    """``out[k] = u[k] @ weight``, with `weight` (D, M)."""
    for m in range(0, weight.shape[1], LANES):
        sums = splat(ZERO)
        for d in range(weight.shape[0]):
            sums = sums + broadcast(u, (k, d)) * load(weight, (d, m))
        store(out, (k, m), sums)


@njit(inline="always")
def _raw_dt(dbc: np.ndarray, k: int, dt_proj: np.ndarray, dt_bias: np.ndarray, d: int) -> Vector:
    """Step sizes before their softplus, from the first columns of `dbc`."""
    raw_dt = load(dt_bias, d)
    for r in range(dt_proj.shape[0]):
        raw_dt = raw_dt + broadcast(dbc, (k, r)) * load(dt_proj, (r, d))
    return raw_dt


@njit(parallel=True, cache=True)
def inner_forward(
    xz: np.ndarray,
    taps: np.ndarray,
    conv_bias: np.ndarray,
    x_proj: np.ndarray,
    dt_proj: np.ndarray,
    dt_bias: np.ndarray,
    rates: np.ndarray,
    D: np.ndarray,
    lengths: np.ndarray,
    reverse: bool,
    lookahead: int,
    saved: np.ndarray,
    keep: bool,
    out: np.ndarray,
) -> None:
    """Fill `out` (B, T, D) on valid frames and, if `keep`, `saved` (B, ceil(T / CHUNK), N, D).

    `taps` is (K, D), `x_proj` (D, R + 2N, rounded up to whole vectors), `dt_proj` (R, D).
    """
    for i in prange(xz.shape[0]):
        _clip_forward(
            xz[i], taps, conv_bias, x_proj, dt_proj, dt_bias, rates, D, lengths[i], reverse,
            lookahead, saved[i], keep, out[i],
        )  # fmt: skip


@njit
def _clip_forward(
    xz: np.ndarray,
    taps: np.ndarray,
    conv_bias: np.ndarray,
    x_proj: np.ndarray,
    dt_proj: np.ndarray,
    dt_bias: np.ndarray,
    rates: np.ndarray,
    D: np.ndarray,
    length: int,
    reverse: bool,
    lookahead: int,
    saved: np.ndarray,
    keep: bool,
    out: np.ndarray,
) -> None:
    states, channels = rates.shape
    rank = dt_proj.shape[0]
    state = np.zeros((states, channels), np.float32)
    u = np.empty((CHUNK, channels), np.float32)
    dbc = np.empty((CHUNK, x_proj.shape[1]), np.float32)
    b, c = dbc[:, rank:], dbc[:, rank + states :]
    # A chunk at a time, stage by stage: within a stage no step waits for the one before, but for the scan's.
    for start in range(0, length, CHUNK):
        if keep:
            saved[start // CHUNK] = state
        steps = min(CHUNK, length - start)
        for k in range(steps):
            for d in range(0, channels, LANES):
                conv = _convolve(xz, start + k, length, reverse, lookahead, taps, conv_bias, d)
                store(u, (k, d), conv * sigmoid(conv))
        for k in range(steps):
            _project(u, x_proj, dbc, k)
        for d in range(0, channels, LANES):
            for k in range(steps):
                t = start + k
                frame = length - 1 - t if reverse else t
                x = load(u, (k, d))
                dt = softplus(_raw_dt(dbc, k, dt_proj, dt_bias, d))
                y = step_forward(state, d, dt, dt * x, load(D, d) * x, rates, b, c, k)
                gate = load(xz, (frame, channels + d))
                store(out, (frame, d), y * gate * sigmoid(gate))


@njit(parallel=True, cache=True)
def block_forward(
    x: np.ndarray,
    in_proj: np.ndarray,
    out_proj: np.ndarray,
    inner: tuple[np.ndarray, ...],
    lengths: np.ndarray,
    reverse: bool,
    lookahead: int,
    out: np.ndarray,
) -> None:
    """`block_clip` of each clip of a batch: `x` and `out` (B, T, M), `lengths` (B,)."""
    for i in prange(x.shape[0]):
        block_clip(x[i], in_proj, out_proj, inner, lengths[i], reverse, lookahead, out[i])


@njit(cache=True)
def block_clip(
    x: np.ndarray,
    in_proj: np.ndarray,
    out_proj: np.ndarray,
    inner: tuple[np.ndarray, ...],
    length: int,
    reverse: bool,
    lookahead: int,
    out: np.ndarray,
) -> None:
    """Fill valid frames of `out` (T, M) with what a block makes of `x` (T, M).

    `in_proj` is (M, 2D), `out_proj` (D, M, rounded up to whole vectors); `inner` is what `inner_forward`
    takes from `taps` to `D`.
    """
    taps, conv_bias, x_proj, dt_proj, dt_bias, rates, D = inner
    xz = np.empty((length, in_proj.shape[1]), np.float32)
    mixed = np.empty((length, rates.shape[1]), np.float32)
    row = np.empty((1, out_proj.shape[1]), np.float32)
    for t in range(length):
        _project(x, in_proj, xz, t)
    _clip_forward(
        xz, taps, conv_bias, x_proj, dt_proj, dt_bias, rates, D, length, reverse, lookahead,
        np.empty((0, 0, 0), np.float32), False, mixed,
    )  # fmt: skip
    for t in range(length):
        _project(mixed[t : t + 1], out_proj, row, 0)
        out[t] = row[0, : out.shape[1]]


@njit(parallel=True, cache=True)
def inner_backward(
    grad: np.ndarray,
    xz: np.ndarray,
    taps: np.ndarray,
    conv_bias: np.ndarray,
    x_proj: np.ndarray,
    x_proj_rows: np.ndarray,
    dt_proj: np.ndarray,
    dt_bias: np.ndarray,
    a: np.ndarray,
    rates: np.ndarray,
    D: np.ndarray,
    lengths: np.ndarray,
    reverse: bool,
    lookahead: int,
    saved: np.ndarray,
    grad_xz: np.ndarray,
    grad_taps: np.ndarray,
    grad_conv_bias: np.ndarray,
    grad_x_proj: np.ndarray,
    grad_dt_proj: np.ndarray,
    grad_dt_bias: np.ndarray,
    grad_a: np.ndarray,
    grad_D: np.ndarray,
) -> None:
    """Add to `grad_xz` and to the parameters' gradients, a slice for each clip; all come zeroed.

    `x_proj_rows` is `x_proj` as (R + 2N, D), which is also the layout of its gradient.
    """
    for i in prange(xz.shape[0]):
        _clip_backward(
            grad[i], xz[i], taps, conv_bias, x_proj, x_proj_rows, dt_proj, dt_bias, a, rates, D,
            lengths[i], reverse, lookahead, saved[i], grad_xz[i], grad_taps[i], grad_conv_bias[i],
            grad_x_proj[i], grad_dt_proj[i], grad_dt_bias[i], grad_a[i], grad_D[i],
        )  # fmt: skip


@njit
def _clip_backward(
    grad: np.ndarray,
    xz: np.ndarray,
    taps: np.ndarray,
    conv_bias: np.ndarray,
    x_proj: np.ndarray,
    x_proj_rows: np.ndarray,
    dt_proj: np.ndarray,
    dt_bias: np.ndarray,
    a: np.ndarray,
    rates: np.ndarray,
    D: np.ndarray,
    length: int,
    reverse: bool,
    lookahead: int,
    saved: np.ndarray,
    grad_xz: np.ndarray,
    grad_taps: np.ndarray,
    grad_conv_bias: np.ndarray,
    grad_x_proj: np.ndarray,
    grad_dt_proj: np.ndarray,
    grad_dt_bias: np.ndarray,
    grad_a: np.ndarray,
    grad_D: np.ndarray,
) -> None:
    states, channels = a.shape
    rank, kernel, width = dt_proj.shape[0], taps.shape[0], x_proj_rows.shape[0]
    adjoint = np.zeros((states, channels), np.float32)
    # Every vector of channels has a work space; that of channels d and on begins at ROWS * CHUNK * d.
    work = np.empty(ROWS * CHUNK * channels, np.float32)
    conv = np.empty((CHUNK, channels), np.float32)
    u = np.empty((CHUNK, channels), np.float32)
    raw_dt = np.empty((CHUNK, channels), np.float32)
    dbc = np.empty((CHUNK, x_proj.shape[1]), np.float32)
    bc = np.empty(2 * states * CHUNK, np.float32)
    grad_bc = np.empty(2 * states * CHUNK * LANES, np.float32)
    grad_u = np.empty((CHUNK, channels), np.float32)
    grad_dbc = np.empty((CHUNK, width), np.float32)
    for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
        start = chunk * CHUNK
        steps = min(CHUNK, length - start)
        first, stride = (length - 1 - start, -1) if reverse else (start, 1)
        grad_bc[:] = 0

        # Recompute the forward pass of the chunk, up to what the scan reads.
        for k in range(steps):
            frame = first + k * stride
            for d in range(0, channels, LANES):
                x = _convolve(xz, start + k, length, reverse, lookahead, taps, conv_bias, d)
                store(conv, (k, d), x)
                store(u, (k, d), x * sigmoid(x))
            _project(u, x_proj, dbc, k)
            for n in range(states):
                bc[bc_index(n, k)] = dbc[k, rank + n]
                bc[bc_index(n, k) + 1] = dbc[k, rank + states + n]
            for d in range(0, channels, LANES):
                row = ROWS * CHUNK * d + k * LANES
                x, gate = load(u, (k, d)), load(xz, (frame, channels + d))
                raw = _raw_dt(dbc, k, dt_proj, dt_bias, d)
                dt = softplus(raw)
                store(raw_dt, (k, d), raw)
                store(work, row + DT, dt)
                store(work, row + DRIVE, dt * x)
                store(work, row + Y, load(D, d) * x)
                store(work, row + GRAD_Y, load(grad, (frame, d)) * gate * sigmoid(gate))

        # Back through gate, scan and step sizes.
        for d in range(0, channels, LANES):
            base = ROWS * CHUNK * d
            chunk_backward(
                steps, d, saved[chunk], adjoint, a, rates, bc, work, base, grad_bc, grad_a
            )
            sum_D, sum_bias = load(grad_D, d), load(grad_dt_bias, d)
            for k in range(steps):
                frame, row = first + k * stride, base + k * LANES
                gate = load(xz, (frame, channels + d))
                slope = silu_slope(gate, sigmoid(gate))
                store(
                    grad_xz,
                    (frame, channels + d),
                    load(grad, (frame, d)) * load(work, row + Y) * slope,
                )
                x, grad_y = load(u, (k, d)), load(work, row + GRAD_Y)
                grad_drive = load(work, row + GRAD_DRIVE)
                grad_raw = (load(work, row + GRAD_DT) + grad_drive * x) * sigmoid(
                    load(raw_dt, (k, d))
                )
                store(work, row + GRAD_DT, grad_raw)
                store(grad_u, (k, d), grad_drive * load(work, row + DT) + grad_y * load(D, d))
                sum_D = sum_D + grad_y * x
                sum_bias = sum_bias + grad_raw
            store(grad_D, d, sum_D)
            store(grad_dt_bias, d, sum_bias)
            for r in range(rank):
                sums = load(grad_dt_proj, (r, d))
                for k in range(steps):
                    sums = sums + broadcast(dbc, (k, r)) * load(work, base + k * LANES + GRAD_DT)
                store(grad_dt_proj, (r, d), sums)

        # Back through the projections to step sizes, B and C.
        for k in range(steps):
            for r in range(rank):
                sums = splat(ZERO)
                for d in range(0, channels, LANES):
                    grad_raw = load(work, ROWS * CHUNK * d + k * LANES + GRAD_DT)
                    sums = sums + grad_raw * load(dt_proj, (r, d))
                grad_dbc[k, r] = total(sums)
            for n in range(states):
                slot = bc_index(n, k) * LANES
                grad_dbc[k, rank + n] = total(load(grad_bc, slot))
                grad_dbc[k, rank + states + n] = total(load(grad_bc, slot + LANES))
        for d in range(0, channels, LANES):
            for m in range(width):
                sums = load(grad_x_proj, (m, d))
                for k in range(steps):
                    sums = sums + broadcast(grad_dbc, (k, m)) * load(u, (k, d))
                store(grad_x_proj, (m, d), sums)

            # Back through SiLU and convolution.
            sum_bias = load(grad_conv_bias, d)
            for k in range(steps):
                grad_act = load(grad_u, (k, d))
                for m in range(width):
                    grad_m = broadcast(grad_dbc, (k, m))
                    grad_act = grad_act + grad_m * load(x_proj_rows, (m, d))
                x = load(conv, (k, d))
                grad_conv = grad_act * silu_slope(x, sigmoid(x))
                sum_bias = sum_bias + grad_conv
                for j in range(kernel):
                    s = start + k - (kernel - 1) + j + lookahead
                    if 0 <= s < length:
                        q = length - 1 - s if reverse else s
                        store(
                            grad_xz, (q, d), load(grad_xz, (q, d)) + load(taps, (j, d)) * grad_conv
                        )
                        tap = load(grad_taps, (j, d)) + load(xz, (q, d)) * grad_conv
                        store(grad_taps, (j, d), tap)
            store(grad_conv_bias, d, sum_bias)
