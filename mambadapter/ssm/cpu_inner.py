"""All of a Mamba block between its outer projections in one CPU kernel, forward and backward.

Convolution, step-size and B, C projections, scan and gate of one time step stay in the first-level
cache; only the input and a state every CHUNK steps are kept for the backward.
"""

import numpy as np
from numba import njit, prange

from mambadapter.ssm.cpu_math import FAST, ONE, ZERO, sigmoid, softplus
from mambadapter.ssm.cpu_steps import CHUNK, advance, advance_keeping, retreat, sum_channels


@njit(fastmath=FAST, inline="always")
def _convolve(
    xz: np.ndarray,
    i: int,
    t: int,
    length: int,
    reverse: bool,
    taps: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
) -> None:
    """Causal depthwise convolution at step t of the scan; the frame of step s is s or length-1-s."""
    for d in range(taps.shape[1]):
        out[d] = bias[d]
    for j in range(taps.shape[0]):
        s = t - (taps.shape[0] - 1) + j
        if s >= 0:
            q = length - 1 - s if reverse else s
            for d in range(taps.shape[1]):
                out[d] += taps[j, d] * xz[i, q, d]


@njit(fastmath=FAST, inline="always")
def _project(u: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """``out = u @ weight``, (D,) by (D, M)."""
    for m in range(weight.shape[1]):
        out[m] = ZERO
    for d in range(weight.shape[0]):
        ud = u[d]
        for m in range(weight.shape[1]):
            out[m] += ud * weight[d, m]


@njit(parallel=True, fastmath=FAST, cache=True)
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
    saved: np.ndarray,
    keep: bool,
    out: np.ndarray,
) -> None:
    """Fill `out` (B, T, D) on valid frames and, if `keep`, `saved` (B, ceil(T / CHUNK), N, D).

    `taps` is (K, D), `x_proj` (D, R + 2N), `dt_proj` (R, D).
    """
    states, channels = rates.shape
    rank = dt_proj.shape[0]
    for i in prange(xz.shape[0]):
        state = np.zeros((states, channels), np.float32)
        u = np.empty(channels, np.float32)
        dt = np.empty(channels, np.float32)
        drive = np.empty(channels, np.float32)
        y = np.empty(channels, np.float32)
        low = np.empty(rank + 2 * states, np.float32)
        b = low[rank : rank + states]
        c = low[rank + states :]
        for t in range(lengths[i]):
            if keep and t % CHUNK == 0:
                for n in range(states):
                    for d in range(channels):
                        saved[i, t // CHUNK, n, d] = state[n, d]
            p = lengths[i] - 1 - t if reverse else t
            _convolve(xz, i, t, lengths[i], reverse, taps, conv_bias, u)
            for d in range(channels):
                u[d] = u[d] * sigmoid(u[d])
                dt[d] = dt_bias[d]
            _project(u, x_proj, low)
            for r in range(rank):
                lr = low[r]
                for d in range(channels):
                    dt[d] += lr * dt_proj[r, d]
            for d in range(channels):
                step = softplus(dt[d])
                dt[d] = step
                drive[d] = step * u[d]
                y[d] = D[d] * u[d]
            advance(state, dt, drive, rates, b, c, y)
            for d in range(channels):
                gate = xz[i, p, channels + d]
                out[i, p, d] = y[d] * gate * sigmoid(gate)


@njit(parallel=True, fastmath=FAST, cache=True)
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
    """Fill `grad_xz`, which comes zeroed; parameters' gradients are a slice for each clip.

    `x_proj_rows` is `x_proj` as (R + 2N, D), which is also the layout of its gradient.
    """
    states, channels = a.shape
    rank = dt_proj.shape[0]
    kernel = taps.shape[0]
    width = rank + 2 * states
    for i in prange(xz.shape[0]):
        h = np.empty((CHUNK + 1, states, channels), np.float32)
        decays = np.empty((CHUNK, states, channels), np.float32)
        adjoint = np.zeros((states, channels), np.float32)
        conv = np.empty((CHUNK, channels), np.float32)
        u = np.empty((CHUNK, channels), np.float32)
        raw = np.empty((CHUNK, channels), np.float32)
        dt = np.empty((CHUNK, channels), np.float32)
        drive = np.empty((CHUNK, channels), np.float32)
        y = np.empty((CHUNK, channels), np.float32)
        low = np.empty((CHUNK, width), np.float32)
        b = low[:, rank : rank + states]
        c = low[:, rank + states :]
        parts = np.empty((width, channels), np.float32)
        b_parts = parts[rank : rank + states]
        c_parts = parts[rank + states :]
        grad_low = np.empty(width, np.float32)
        grad_dt = np.empty(channels, np.float32)
        grad_drive = np.empty(channels, np.float32)
        grad_y = np.empty(channels, np.float32)
        grad_u = np.empty(channels, np.float32)
        for chunk in range((lengths[i] + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, lengths[i] - start)
            for n in range(states):
                for d in range(channels):
                    h[0, n, d] = saved[i, chunk, n, d]
            for k in range(steps):
                _convolve(xz, i, start + k, lengths[i], reverse, taps, conv_bias, conv[k])
                for d in range(channels):
                    u[k, d] = conv[k, d] * sigmoid(conv[k, d])
                    raw[k, d] = dt_bias[d]
                _project(u[k], x_proj, low[k])
                for r in range(rank):
                    lr = low[k, r]
                    for d in range(channels):
                        raw[k, d] += lr * dt_proj[r, d]
                for d in range(channels):
                    step = softplus(raw[k, d])
                    dt[k, d] = step
                    drive[k, d] = step * u[k, d]
                    y[k, d] = D[d] * u[k, d]
                advance_keeping(h, decays, k, dt, drive, rates, b, c, y)
            for k in range(steps - 1, -1, -1):
                t = start + k
                p = lengths[i] - 1 - t if reverse else t
                for d in range(channels):
                    gate = xz[i, p, channels + d]
                    s = sigmoid(gate)
                    grad_xz[i, p, channels + d] = (
                        grad[i, p, d] * y[k, d] * (s + gate * s * (ONE - s))
                    )
                    grad_y[d] = grad[i, p, d] * gate * s
                retreat(
                    adjoint, h, decays, k, grad_y, dt, drive, a, b, c,
                    grad_dt, grad_drive, b_parts, c_parts, grad_a, i,
                )  # fmt: skip
                for d in range(channels):
                    through_softplus = (grad_dt[d] + grad_drive[d] * u[k, d]) * sigmoid(raw[k, d])
                    grad_dt[d] = through_softplus
                    grad_dt_bias[i, d] += through_softplus
                    grad_D[i, d] += grad_y[d] * u[k, d]
                    grad_u[d] = grad_drive[d] * dt[k, d] + grad_y[d] * D[d]
                for r in range(rank):
                    lr = low[k, r]
                    for d in range(channels):
                        parts[r, d] = grad_dt[d] * dt_proj[r, d]
                        grad_dt_proj[i, r, d] += lr * grad_dt[d]
                sum_channels(parts, grad_low)
                for m in range(width):
                    gm = grad_low[m]
                    for d in range(channels):
                        grad_u[d] += gm * x_proj_rows[m, d]
                        grad_x_proj[i, m, d] += gm * u[k, d]
                for d in range(channels):
                    s = sigmoid(conv[k, d])
                    through_silu = grad_u[d] * (s + conv[k, d] * s * (ONE - s))
                    grad_u[d] = through_silu
                    grad_conv_bias[i, d] += through_silu
                for j in range(kernel):
                    s_step = t - (kernel - 1) + j
                    if s_step >= 0:
                        q = lengths[i] - 1 - s_step if reverse else s_step
                        for d in range(channels):
                            grad_xz[i, q, d] += taps[j, d] * grad_u[d]
                            grad_taps[i, j, d] += xz[i, q, d] * grad_u[d]
