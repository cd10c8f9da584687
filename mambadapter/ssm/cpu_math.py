"""Elementary functions that LLVM vectorises, for the CPU kernels.

The C library's exp is one call for each number. Here exp is 2^x as a polynomial on [-1/2, 1/2] times
a power of two put straight into the exponent bits: relative error about 1e-7, float32's own.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

f32 = np.float32

# No "reassoc": adding and subtracting MAGIC is what rounds, and must not be simplified away.
FAST = {"contract", "nsz", "nnan", "ninf", "arcp"}

LOG2_E = f32(1.4426950408889634)
ZERO, ONE, TWO = f32(0.0), f32(1.0), f32(2.0)

_MAGIC = f32(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer in the low bits
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


@intrinsic
def _as_float(typingctx, bits):  # noqa: ANN001, ANN202 - numba's intrinsic protocol
    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _as_bits(typingctx, value):  # noqa: ANN001, ANN202 - numba's intrinsic protocol
    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@njit(fastmath=FAST, inline="always")
def exp2(x: float) -> float:
    """2^x, clamped to the range of normal float32 numbers."""
    x = min(max(x, _LOWEST), _HIGHEST)
    shifted = x + _MAGIC
    rest = x - (shifted - _MAGIC)
    power = _E5
    power = power * rest + _E4
    power = power * rest + _E3
    power = power * rest + _E2
    power = power * rest + _E1
    power = power * rest + ONE
    return _as_float(np.int32(_as_bits(power) + np.int32(_as_bits(shifted) << np.int32(23))))


@njit(fastmath=FAST, inline="always")
def sigmoid(x: float) -> float:
    """1 / (1 + e^-x)."""
    return ONE / (ONE + exp2(-x * LOG2_E))


@njit(fastmath=FAST, inline="always")
def softplus(x: float) -> float:
    """log(1 + e^x), without overflow."""
    e = exp2(-abs(x) * LOG2_E)
    s = e / (TWO + e)
    square = s * s
    series = _S4 * square + _S3
    series = series * square + _S2
    series = series * square + _S1
    series = series * square + _S0
    return max(x, ZERO) + series * s
