"""What the GPU kernels share: elementary functions, accurate over float32's range, and addresses."""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def silu_slope(x, s):
    """The derivative of x sigmoid(x), given s = sigmoid(x)."""
    return s + x * s * (1.0 - s)


@triton.jit
def softplus(x):
    """log(1 + e^x): the GPU's own logarithm loses the small step sizes a Mamba block starts with."""
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    s = e / (2.0 + e)
    q = s * s
    # log(1 + e) = s (2 + s^2 (2/3 + ...)), the minimax polynomial of the CPU kernels on [0, 1/3].
    series = 0.2816147208213806 * q + 0.27964359521865845
    series = series * q + 0.4002464711666107
    series = series * q + 0.6666632294654846
    series = series * q + 2.0
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + series * s


@triton.jit
def frame_of(position, length, reverse: tl.constexpr):
    """The frame that a scan reads at a position; padding keeps its place."""
    if reverse:
        return tl.where(position < length, length - 1 - position, position)
    else:
        return position


@triton.jit
def length_of(lengths, clip, time, padded: tl.constexpr):
    """The valid frames of a clip, at most `time`: lengths on a GPU are not checked."""
    if padded:
        return tl.minimum(tl.load(lengths + clip).to(tl.int32), time)
    else:
        return time


@triton.jit
def per_channel(x, channel, inside):
    """A vector's entries of some channels, zero outside."""
    return tl.load(x + channel, mask=inside, other=0.0).to(tl.float32)
