"""The selective scan on a CPU, forward and backward. Channels come in whole vectors."""

import numpy as np
from numba import njit, prange

from mambadapter.ssm.backends.numba.math import sigmoid, silu_slope, softplus
from mambadapter.ssm.backends.numba.steps import (
    CHUNK,
    DRIVE,
    DT,
    GRAD_DRIVE,
    GRAD_DT,
    GRAD_Y,
    ROW,
    ROWS,
    Y,
    advance,
    pair,
    retreat,
)
from mambadapter.ssm.backends.numba.vector import LANES, load, store, total


@njit(parallel=True, cache=True)
def scan_forward(
    u: np.ndarray,
    delta: np.ndarray,
    rates: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    D: np.ndarray,
    z: np.ndarray,
    bias: np.ndarray,
    lengths: np.ndarray,
    reverse: bool,
    gated: bool,
    saved: np.ndarray,
    keep: bool,
    out: np.ndarray,
) -> None:
    """Fill `out` (B, T, D) on valid frames and, if `keep`, `saved` (B, ceil(T / CHUNK), N, D)."""
    for i in prange(u.shape[0]):
        _clip_forward(
            u[i], delta[i], rates, B[i], C[i], D, z[i], bias, lengths[i], reverse, gated,
            saved[i], keep, out[i],
        )  # fmt: skip


@njit
def _clip_forward(
    u: np.ndarray,
    delta: np.ndarray,
    rates: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    D: np.ndarray,
    z: np.ndarray,
    bias: np.ndarray,
    length: int,
    reverse: bool,
    gated: bool,
    saved: np.ndarray,
    keep: bool,
    out: np.ndarray,
) -> None:
    channels = rates.shape[1]
    state = np.zeros(rates.shape, np.float32)
    for t in range(length):
        if keep and t % CHUNK == 0:
            saved[t // CHUNK] = state
        p = length - 1 - t if reverse else t
        for d in range(0, channels, LANES):
            x = load(u, (p, d))
            dt = softplus(load(delta, (p, d)) + load(bias, d))
            y = advance(state, d, dt, dt * x, load(D, d) * x, rates, B, C, p)
            if gated:
                gate = load(z, (p, d))
                y = y * gate * sigmoid(gate)
            store(out, (p, d), y)


@njit(parallel=True, cache=True)
def scan_backward(
    grad: np.ndarray,
    u: np.ndarray,
    delta: np.ndarray,
    a: np.ndarray,
    rates: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    D: np.ndarray,
    z: np.ndarray,
    bias: np.ndarray,
    lengths: np.ndarray,
    reverse: bool,
    gated: bool,
    saved: np.ndarray,
    grad_u: np.ndarray,
    grad_delta: np.ndarray,
    grad_z: np.ndarray,
    grad_B: np.ndarray,
    grad_C: np.ndarray,
    grad_a: np.ndarray,
    grad_D: np.ndarray,
    grad_bias: np.ndarray,
) -> None:
    """Fill the gradients; those of A, D and bias are a slice for each clip and come zeroed."""
    for i in prange(u.shape[0]):
        _clip_backward(
            grad[i], u[i], delta[i], a, rates, B[i], C[i], D, z[i], bias, lengths[i], reverse, gated,
            saved[i], grad_u[i], grad_delta[i], grad_z[i], grad_B[i], grad_C[i], grad_a[i], grad_D[i],
            grad_bias[i],
        )  # fmt: skip


@njit
def _clip_backward(
    grad: np.ndarray,
    u: np.ndarray,
    delta: np.ndarray,
    a: np.ndarray,
    rates: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    D: np.ndarray,
    z: np.ndarray,
    bias: np.ndarray,
    length: int,
    reverse: bool,
    gated: bool,
    saved: np.ndarray,
    grad_u: np.ndarray,
    grad_delta: np.ndarray,
    grad_z: np.ndarray,
    grad_B: np.ndarray,
    grad_C: np.ndarray,
    grad_a: np.ndarray,
    grad_D: np.ndarray,
    grad_bias: np.ndarray,
) -> None:
    states, channels = a.shape
    adjoint = np.zeros((states, channels), np.float32)
    work = np.empty(ROWS * ROW, np.float32)
    bc = np.empty(2 * states * CHUNK, np.float32)
    parts = np.empty(2 * states * CHUNK * LANES, np.float32)
    stride = -1 if reverse else 1
    for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
        start = chunk * CHUNK
        steps = min(CHUNK, length - start)
        first = length - 1 - start if reverse else start
        parts[:] = 0
        for k in range(steps):
            for n in range(states):
                bc[pair(n, k)] = B[first + k * stride, n]
                bc[pair(n, k) + 1] = C[first + k * stride, n]
        for d in range(0, channels, LANES):
            for k in range(steps):
                p, row = first + k * stride, k * LANES
                x, from_out = load(u, (p, d)), load(grad, (p, d))
                step = softplus(load(delta, (p, d)) + load(bias, d))
                store(work, row + DT, step)
                store(work, row + DRIVE, step * x)
                store(work, row + Y, load(D, d) * x)
                if gated:
                    gate = load(z, (p, d))
                    from_out = from_out * gate * sigmoid(gate)
                store(work, row + GRAD_Y, from_out)
            retreat(steps, d, saved[chunk], adjoint, a, rates, bc, work, 0, parts, grad_a)
            sum_D, sum_bias = load(grad_D, d), load(grad_bias, d)
            for k in range(steps):
                p, row = first + k * stride, k * LANES
                x, from_y = load(u, (p, d)), load(work, row + GRAD_Y)
                from_drive = load(work, row + GRAD_DRIVE)
                if gated:
                    gate = load(z, (p, d))
                    slope = silu_slope(gate, sigmoid(gate))
                    store(grad_z, (p, d), load(grad, (p, d)) * load(work, row + Y) * slope)
                store(grad_u, (p, d), from_drive * load(work, row + DT) + from_y * load(D, d))
                raw = load(delta, (p, d)) + load(bias, d)
                from_raw = (load(work, row + GRAD_DT) + from_drive * x) * sigmoid(raw)
                store(grad_delta, (p, d), from_raw)
                sum_bias = sum_bias + from_raw
                sum_D = sum_D + from_y * x
            store(grad_D, d, sum_D)
            store(grad_bias, d, sum_bias)
        for k in range(steps):
            p = first + k * stride
            for n in range(states):
                part = pair(n, k) * LANES
                grad_B[p, n] = total(load(parts, part))
                grad_C[p, n] = total(load(parts, part + LANES))
