"""Elementary functions of vectors, for the CPU kernels.

The C library's exp is one call for each number. Here exp is 2^x as a polynomial on [-1/2, 1/2] times
a power of two put straight into the exponent bits: relative error about 1e-7, float32's own.
"""

import numpy as np
from numba import njit

from mambadapter.ssm.backends.numba.vector import Vector, at_least, at_most, raise_exponent, splat

f32 = np.float32

LOG2_E = f32(1.4426950408889634)
ZERO, ONE, TWO = f32(0.0), f32(1.0), f32(2.0)

_ROUNDER = f32(
    12582912.0
)  # 1.5 * 2^23: a number added to it is rounded to an integer, in the low bits
_LOWEST, _HIGHEST = f32(-126.0), f32(127.0)
_E1, _E2, _E3, _E4, _E5 = (
    f32(0.6931470036506653),
    f32(0.24022242426872253),
    f32(0.05550733581185341),
    f32(0.009671512991189957),
    f32(0.001326472731307149),
)
# log(1 + e) = s (2 + s^2 (2/3 + ...)) with s = e / (2 + e), minimax on [0, 1/3].
_S0, _S1, _S2, _S3, _S4 = (
    f32(2.0),
    f32(0.6666632294654846),
    f32(0.4002464711666107),
    f32(0.27964359521865845),
    f32(0.2816147208213806),
)


@njit(inline="always")
def exp2(x: Vector) -> Vector:
    """2^x for x up to 127; what would be no normal float32 number is 2^-126."""
    x = at_least(splat(_LOWEST), x)
    shifted = x + splat(_ROUNDER)
    rest = x - (shifted - splat(_ROUNDER))
    power = splat(_E5) * rest + splat(_E4)
    power = power * rest + splat(_E3)
    power = power * rest + splat(_E2)
    power = power * rest + splat(_E1)
    power = power * rest + splat(ONE)
    return raise_exponent(power, shifted)


@njit(inline="always")
def sigmoid(x: Vector) -> Vector:
    """1 / (1 + e^-x)."""
    return splat(ONE) / (splat(ONE) + exp2(at_most(splat(_HIGHEST), x * splat(-LOG2_E))))


@njit(inline="always")
def silu_slope(x: Vector, s: Vector) -> Vector:
    """The derivative of x sigmoid(x), given s = sigmoid(x)."""
    return s + x * s * (splat(ONE) - s)


@njit(inline="always")
def softplus(x: Vector) -> Vector:
    """log(1 + e^x), without overflow."""
    size = at_least(splat(ZERO) - x, x)
    e = exp2(size * splat(-LOG2_E))
    s = e / (splat(TWO) + e)
    square = s * s
    series = splat(_S4) * square + splat(_S3)
    series = series * square + splat(_S2)
    series = series * square + splat(_S1)
    series = series * square + splat(_S0)
    return at_least(splat(ZERO), x) + series * s
