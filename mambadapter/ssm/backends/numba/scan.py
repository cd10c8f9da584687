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
    bc_index,
    chunk_backward,
    step_forward,
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
        frame = length - 1 - t if reverse else t
        for d in range(0, channels, LANES):
            x = load(u, (frame, d))
            dt = softplus(load(delta, (frame, d)) + load(bias, d))
            y = step_forward(state, d, dt, dt * x, load(D, d) * x, rates, B, C, frame)
            if gated:
                gate = load(z, (frame, d))
                y = y * gate * sigmoid(gate)
            store(out, (frame, d), y)


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
    grad_bc = np.empty(2 * states * CHUNK * LANES, np.float32)
    stride = -1 if reverse else 1
    for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
        start = chunk * CHUNK
        steps = min(CHUNK, length - start)
        first = length - 1 - start if reverse else start
        grad_bc[:] = 0
        for k in range(steps):
            for n in range(states):
                bc[bc_index(n, k)] = B[first + k * stride, n]
                bc[bc_index(n, k) + 1] = C[first + k * stride, n]
        for d in range(0, channels, LANES):
            for k in range(steps):
                frame, row = first + k * stride, k * LANES
                x, grad_y = load(u, (frame, d)), load(grad, (frame, d))
                dt = softplus(load(delta, (frame, d)) + load(bias, d))
                store(work, row + DT, dt)
                store(work, row + DRIVE, dt * x)
                store(work, row + Y, load(D, d) * x)
                if gated:
                    gate = load(z, (frame, d))
                    grad_y = grad_y * gate * sigmoid(gate)
                store(work, row + GRAD_Y, grad_y)
            chunk_backward(steps, d, saved[chunk], adjoint, a, rates, bc, work, 0, grad_bc, grad_a)
            sum_D, sum_bias = load(grad_D, d), load(grad_bias, d)
            for k in range(steps):
                frame, row = first + k * stride, k * LANES
                x, grad_y = load(u, (frame, d)), load(work, row + GRAD_Y)
                grad_drive = load(work, row + GRAD_DRIVE)
                if gated:
                    gate = load(z, (frame, d))
                    slope = silu_slope(gate, sigmoid(gate))
                    store(grad_z, (frame, d), load(grad, (frame, d)) * load(work, row + Y) * slope)
                store(grad_u, (frame, d), grad_drive * load(work, row + DT) + grad_y * load(D, d))
                raw_dt = load(delta, (frame, d)) + load(bias, d)
                grad_raw = (load(work, row + GRAD_DT) + grad_drive * x) * sigmoid(raw_dt)
                store(grad_delta, (frame, d), grad_raw)
                sum_bias = sum_bias + grad_raw
                sum_D = sum_D + grad_y * x
            store(grad_D, d, sum_D)
            store(grad_bias, d, sum_bias)
        for k in range(steps):
            frame = first + k * stride
            for n in range(states):
                slot = bc_index(n, k) * LANES
                grad_B[frame, n] = total(load(grad_bc, slot))
                grad_C[frame, n] = total(load(grad_bc, slot + LANES))
