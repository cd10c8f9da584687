"""The selective scan on a CPU, forward and backward."""

import numpy as np
from numba import njit, prange

from mambadapter.ssm.cpu_math import FAST, ONE, sigmoid, softplus
from mambadapter.ssm.cpu_steps import CHUNK, advance, advance_keeping, retreat, sum_channels


@njit(parallel=True, fastmath=FAST, cache=True)
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
    states, channels = rates.shape
    for i in prange(u.shape[0]):
        state = np.zeros((states, channels), np.float32)
        dt = np.empty(channels, np.float32)
        drive = np.empty(channels, np.float32)
        y = np.empty(channels, np.float32)
        b = np.empty(states, np.float32)
        c = np.empty(states, np.float32)
        for t in range(lengths[i]):
            if keep and t % CHUNK == 0:
                for n in range(states):
                    for d in range(channels):
                        saved[i, t // CHUNK, n, d] = state[n, d]
            p = lengths[i] - 1 - t if reverse else t
            for d in range(channels):
                step = softplus(delta[i, p, d] + bias[d])
                dt[d] = step
                drive[d] = step * u[i, p, d]
                y[d] = D[d] * u[i, p, d]
            for n in range(states):
                b[n] = B[i, p, n]
                c[n] = C[i, p, n]
            advance(state, dt, drive, rates, b, c, y)
            if gated:
                for d in range(channels):
                    out[i, p, d] = y[d] * z[i, p, d] * sigmoid(z[i, p, d])
            else:
                for d in range(channels):
                    out[i, p, d] = y[d]


@njit(parallel=True, fastmath=FAST, cache=True)
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
    """Fill the gradients; those of A, D and bias are a row for each clip."""
    states, channels = a.shape
    for i in prange(u.shape[0]):
        h = np.empty((CHUNK + 1, states, channels), np.float32)
        decays = np.empty((CHUNK, states, channels), np.float32)
        adjoint = np.zeros((states, channels), np.float32)
        dt = np.empty((CHUNK, channels), np.float32)
        drive = np.empty((CHUNK, channels), np.float32)
        y = np.empty((CHUNK, channels), np.float32)
        b = np.empty((CHUNK, states), np.float32)
        c = np.empty((CHUNK, states), np.float32)
        parts = np.empty((2 * states, channels), np.float32)
        b_parts, c_parts = parts[:states], parts[states:]
        sums = np.empty(2 * states, np.float32)
        grad_dt = np.empty(channels, np.float32)
        grad_drive = np.empty(channels, np.float32)
        grad_y = np.empty(channels, np.float32)
        for chunk in range((lengths[i] + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, lengths[i] - start)
            for n in range(states):
                for d in range(channels):
                    h[0, n, d] = saved[i, chunk, n, d]
            for k in range(steps):
                p = lengths[i] - 1 - start - k if reverse else start + k
                for d in range(channels):
                    step = softplus(delta[i, p, d] + bias[d])
                    dt[k, d] = step
                    drive[k, d] = step * u[i, p, d]
                    y[k, d] = D[d] * u[i, p, d]
                for n in range(states):
                    b[k, n] = B[i, p, n]
                    c[k, n] = C[i, p, n]
                advance_keeping(h, decays, k, dt, drive, rates, b, c, y)
            for k in range(steps - 1, -1, -1):
                p = lengths[i] - 1 - start - k if reverse else start + k
                if gated:
                    for d in range(channels):
                        gate = z[i, p, d]
                        s = sigmoid(gate)
                        grad_z[i, p, d] = grad[i, p, d] * y[k, d] * (s + gate * s * (ONE - s))
                        grad_y[d] = grad[i, p, d] * gate * s
                else:
                    for d in range(channels):
                        grad_y[d] = grad[i, p, d]
                retreat(
                    adjoint, h, decays, k, grad_y, dt, drive, a, b, c,
                    grad_dt, grad_drive, b_parts, c_parts, grad_a, i,
                )  # fmt: skip
                sum_channels(parts, sums)
                for n in range(states):
                    grad_B[i, p, n] = sums[n]
                    grad_C[i, p, n] = sums[states + n]
                for d in range(channels):
                    x = u[i, p, d]
                    grad_u[i, p, d] = grad_drive[d] * dt[k, d] + grad_y[d] * D[d]
                    raw = (grad_dt[d] + grad_drive[d] * x) * sigmoid(delta[i, p, d] + bias[d])
                    grad_delta[i, p, d] = raw
                    grad_bias[i, d] += raw
                    grad_D[i, d] += grad_y[d] * x
