"""The recurrence, forward and backward, on one vector of channels; both CPU kernels use it.

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

# Steps between saved states. The backward recomputes those in between, so memory is T / CHUNK states.
CHUNK = 16

# Rows of the work space of one vector of channels, as offsets from its beginning. The offsets are constants,
# so the compiled code reaches all rows from one address register.
ROW = CHUNK * LANES
DT, DRIVE, Y, GRAD_Y, GRAD_DT, GRAD_DRIVE, BEFORE, DECAY = range(0, 8 * ROW, ROW)
ROWS = 8


@njit(inline="always")
def bc_index(n: int, k: int) -> int:
    """Index of b of state n at step k of a chunk; c of the same follows it."""
    return 2 * (n * CHUNK + k)


@njit(inline="always")
def step_forward(
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

    `drive` is dt u; b and c are (rows, N), and this step's are at `row`.
    """
    for n in range(rates.shape[0]):
        h = exp2(dt * load(rates, (n, d))) * load(state, (n, d)) + drive * broadcast(b, (row, n))
        store(state, (n, d), h)
        y = y + h * broadcast(c, (row, n))
    return y


@njit(inline="always")
def chunk_backward(
    steps: int,
    d: int,
    saved: np.ndarray,
    adjoint: np.ndarray,
    a: np.ndarray,
    rates: np.ndarray,
    bc: np.ndarray,
    work: np.ndarray,
    base: int,
    grad_bc: np.ndarray,
    grad_a: np.ndarray,
) -> None:
    """Backpropagate through one chunk of `steps` steps, for channels d and on.

    One state n at a time: forward from ``saved[n]``, the state before the chunk, adding ``c h`` to row Y;
    then backward. `adjoint` (N, D) brings in the gradient of the state after the chunk, and takes out
    that of the state before it.

    `work` holds the rows DT to DECAY from `base` on, CHUNK vectors each. DT, DRIVE, Y and GRAD_Y come
    filled; this fills GRAD_DT (through the decay only) and GRAD_DRIVE. `bc` holds b and c at `bc_index`.
    `grad_bc` has a vector for each number of `bc`: that number's gradient, one channel's share a lane. Adds
    to it and to `grad_a` (N, D).
    """
    for k in range(base, base + steps * LANES, LANES):
        store(work, k + GRAD_DT, splat(ZERO))
        store(work, k + GRAD_DRIVE, splat(ZERO))
    for n in range(a.shape[0]):
        rate, slope = load(rates, (n, d)), load(a, (n, d))
        h = load(saved, (n, d))
        for k in range(steps):
            row, index = base + k * LANES, bc_index(n, k)
            decay = exp2(load(work, row + DT) * rate)
            store(work, row + BEFORE, h)
            store(work, row + DECAY, decay)
            h = multiply_add(decay, h, load(work, row + DRIVE) * broadcast(bc, index))
            store(work, row + Y, load(work, row + Y) + h * broadcast(bc, index + 1))
        # Only ``decay * grad_h`` depends on the step after; as a fused multiply-add it is the shortest chain.
        grad_h, decay, sum_a = load(adjoint, (n, d)), splat(ONE), load(grad_a, (n, d))
        for k in range(steps - 1, -1, -1):
            row, index = base + k * LANES, bc_index(n, k)
            slot = index * LANES
            grad_y = load(work, row + GRAD_Y)
            grad_h = multiply_add(decay, grad_h, grad_y * broadcast(bc, index + 1))
            store(grad_bc, slot, load(grad_bc, slot) + grad_h * load(work, row + DRIVE))
            store(grad_bc, slot + LANES, load(grad_bc, slot + LANES) + grad_y * h)
            store(
                work, row + GRAD_DRIVE, load(work, row + GRAD_DRIVE) + grad_h * broadcast(bc, index)
            )
            decay, h = load(work, row + DECAY), load(work, row + BEFORE)
            through_decay = decay * h * grad_h
            store(work, row + GRAD_DT, load(work, row + GRAD_DT) + through_decay * slope)
            sum_a = sum_a + through_decay * load(work, row + DT)
        store(adjoint, (n, d), decay * grad_h)
        store(grad_a, (n, d), sum_a)
