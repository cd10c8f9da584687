"""The recurrence itself, forward and backward, on one vector of channels: what the CPU kernels share.

States are (N, D). `rates` is A^T times log2(e), so that ``exp2(dt * rates)`` is the decay.
"""

import numpy as np
from numba import njit

from mambadapter.ssm.backends.numba.math import ONE, ZERO, exp2
from mambadapter.ssm.backends.numba.vector import (
    LANES,
    Vector,
    broadcast,
    load,
    multiply_add,
    splat,
    store,
)

# Steps between saved states. The backward recomputes within, so memory is T / CHUNK states.
CHUNK = 16

# Rows of the work space of one vector of channels: numbers from its beginning. Constants, so that one
# register addresses them all.
ROW = CHUNK * LANES
DT, DRIVE, Y, GRAD_Y, GRAD_DT, GRAD_DRIVE, BEFORE, DECAY = range(0, 8 * ROW, ROW)
ROWS = 8


@njit(inline="always")
def pair(n: int, k: int) -> int:
    """Where b and c of state n at step k of a chunk are, next to each other."""
    return 2 * (n * CHUNK + k)


@njit(inline="always")
def advance(
    state: np.ndarray,
    d: int,
    dt: Vector,
    drive: Vector,
    y: Vector,
    rates: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    row: int,
) -> Vector:
    """``h = exp(dt A) h + (dt u) b`` in place for channels d and on; returns ``y + c h``.

    `drive` is dt u; b and c are (rows, N), of which `row` counts.
    """
    for n in range(rates.shape[0]):
        h = exp2(dt * load(rates, (n, d))) * load(state, (n, d)) + drive * broadcast(b, (row, n))
        store(state, (n, d), h)
        y = y + h * broadcast(c, (row, n))
    return y


@njit(inline="always")
def retreat(
    steps: int,
    d: int,
    saved: np.ndarray,
    adjoint: np.ndarray,
    a: np.ndarray,
    rates: np.ndarray,
    bc: np.ndarray,
    work: np.ndarray,
    at: int,
    parts: np.ndarray,
    grad_a: np.ndarray,
) -> None:
    """Go back through one chunk of `steps` steps, for channels d and on.

    One state at a time: forward from ``saved[n]``, the state before the chunk, adding ``c h`` to Y; then
    backward, carrying the gradient of the state down in `adjoint` (N, D).

    From `at` on, `work` holds the rows DT to DECAY, CHUNK vectors each. DT, DRIVE, Y and GRAD_Y come
    filled; this fills GRAD_DT (through the decay only) and GRAD_DRIVE. `bc` holds b and c of step k and
    state n at ``pair(n, k)``; at as many vectors, `parts` gains the products whose sums over channels are
    their gradients. Adds to `grad_a` (N, D).
    """
    for k in range(at, at + steps * LANES, LANES):
        store(work, k + GRAD_DT, splat(ZERO))
        store(work, k + GRAD_DRIVE, splat(ZERO))
    for n in range(a.shape[0]):
        rate, slope = load(rates, (n, d)), load(a, (n, d))
        h = load(saved, (n, d))
        for k in range(steps):
            row, of = at + k * LANES, pair(n, k)
            decay = exp2(load(work, row + DT) * rate)
            store(work, row + BEFORE, h)
            store(work, row + DECAY, decay)
            h = multiply_add(decay, h, load(work, row + DRIVE) * broadcast(bc, of))
            store(work, row + Y, load(work, row + Y) + h * broadcast(bc, of + 1))
        # The one product that waits for the step before is the gradient of the state times the decay.
        g, decay, sum_a = load(adjoint, (n, d)), splat(ONE), load(grad_a, (n, d))
        for k in range(steps - 1, -1, -1):
            row, of = at + k * LANES, pair(n, k)
            part = of * LANES
            from_y = load(work, row + GRAD_Y)
            g = multiply_add(decay, g, from_y * broadcast(bc, of + 1))
            store(parts, part, load(parts, part) + g * load(work, row + DRIVE))
            store(parts, part + LANES, load(parts, part + LANES) + from_y * h)
            store(work, row + GRAD_DRIVE, load(work, row + GRAD_DRIVE) + g * broadcast(bc, of))
            decay, h = load(work, row + DECAY), load(work, row + BEFORE)
            through_decay = decay * h * g
            store(work, row + GRAD_DT, load(work, row + GRAD_DT) + through_decay * slope)
            sum_a = sum_a + through_decay * load(work, row + DT)
        store(adjoint, (n, d), decay * g)
        store(grad_a, (n, d), sum_a)
