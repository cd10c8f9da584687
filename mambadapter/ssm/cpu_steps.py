"""One time step of the scan, forward and backward: what the CPU kernels are made of.

Rows of D channels are contiguous, so every inner loop runs over channels and vectorises. States are
(N, D). `rates` is A^T times log2(e), so that ``exp2(dt * rates)`` is the decay.
"""

import numpy as np
from numba import njit

from mambadapter.ssm.cpu_math import FAST, ZERO, exp2

# Steps between saved states. The backward recomputes within, so memory is T / CHUNK states.
CHUNK = 16


@njit(fastmath=FAST, inline="always")
def advance(
    state: np.ndarray,
    dt: np.ndarray,
    drive: np.ndarray,
    rates: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    y: np.ndarray,
) -> None:
    """``h = exp(dt A) h + (dt u) b`` in place, and ``y += c h``; `drive` is dt u."""
    for n in range(rates.shape[0]):
        bn = b[n]
        cn = c[n]
        for d in range(rates.shape[1]):
            h = exp2(dt[d] * rates[n, d]) * state[n, d] + drive[d] * bn
            state[n, d] = h
            y[d] += h * cn


@njit(fastmath=FAST, inline="always")
def advance_keeping(
    states: np.ndarray,
    decays: np.ndarray,
    k: int,
    dt: np.ndarray,
    drive: np.ndarray,
    rates: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    y: np.ndarray,
) -> None:
    """As `advance`, from ``states[k]`` to ``states[k + 1]``, keeping the decays; rows k of all else."""
    for n in range(rates.shape[0]):
        bn = b[k, n]
        cn = c[k, n]
        for d in range(rates.shape[1]):
            decay = exp2(dt[k, d] * rates[n, d])
            h = decay * states[k, n, d] + drive[k, d] * bn
            decays[k, n, d] = decay
            states[k + 1, n, d] = h
            y[k, d] += h * cn


@njit(fastmath=FAST, inline="always")
def retreat(
    adjoint: np.ndarray,
    states: np.ndarray,
    decays: np.ndarray,
    k: int,
    grad_y: np.ndarray,
    dt: np.ndarray,
    drive: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    grad_dt: np.ndarray,
    grad_drive: np.ndarray,
    grad_b_parts: np.ndarray,
    grad_c_parts: np.ndarray,
    grad_a: np.ndarray,
    sample: int,
) -> None:
    """Step k backward.

    `adjoint` (N, D) is the gradient of the state, carried down in time. Adds to ``grad_a[sample]``;
    sets grad_dt (through the decay only) and grad_drive; leaves in the two `parts` arrays (N, D) the
    products whose sums over channels are the gradients of b and c.
    """
    for d in range(a.shape[1]):
        grad_dt[d] = ZERO
        grad_drive[d] = ZERO
    for n in range(a.shape[0]):
        bn = b[k, n]
        cn = c[k, n]
        for d in range(a.shape[1]):
            g = adjoint[n, d] + grad_y[d] * cn
            grad_b_parts[n, d] = g * drive[k, d]
            grad_c_parts[n, d] = grad_y[d] * states[k + 1, n, d]
            grad_drive[d] += g * bn
            carried = g * decays[k, n, d]
            adjoint[n, d] = carried
            through_decay = carried * states[k, n, d]
            grad_dt[d] += through_decay * a[n, d]
            grad_a[sample, n, d] += through_decay * dt[k, d]


@njit(fastmath=FAST | {"reassoc"}, inline="never")
def sum_channels(parts: np.ndarray, out: np.ndarray) -> None:
    """(M, D) to (M,); on its own, because a vectorised sum must reassociate and exp2 must not."""
    for m in range(parts.shape[0]):
        total = ZERO
        for d in range(parts.shape[1]):
            total += parts[m, d]
        out[m] = total
