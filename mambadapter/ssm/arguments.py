"""Refuse arguments of the scans that do not fit together.

Kernels address raw memory by the sizes of their first argument. With a wrong shape or length they would
write past the end of an output, and nothing would report it.
"""

import torch
from torch import Tensor

from mambadapter.errors import UserError
from mambadapter.utils.tracing import is_exporting

_INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}


def check_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    delta_bias: Tensor | None,
    lengths: Tensor | None,
) -> Tensor | None:
    """Refuse arguments of `mambadapter.ssm.selective_scan` that do not fit together; return the lengths."""
    sizes: dict[str, int] = {}
    _check_shape("u", u, "B T D", sizes)
    _check_shape("A", A, "D N", sizes)
    _check_shape("delta", delta, "B T D", sizes)
    _check_shape("B", B, "B T N", sizes)
    _check_shape("C", C, "B T N", sizes)
    _check_shape("D", D, "D", sizes)
    _check_shape("z", z, "B T D", sizes)
    _check_shape("delta_bias", delta_bias, "D", sizes)
    return _checked_lengths(lengths, sizes["B"], sizes["T"])


def check_inner(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj: Tensor,
    dt_proj: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    lengths: Tensor | None,
    lookahead: int,
) -> Tensor | None:
    """Refuse arguments of `mambadapter.ssm.mamba_inner` that do not fit together; return the lengths."""
    sizes = {"1": 1}
    _check_shape("D", D, "D", sizes)
    _check_shape("A", A, "D N", sizes)
    _check_shape("dt_proj", dt_proj, "D R", sizes)
    sizes["2D"], sizes["R+2N"] = 2 * sizes["D"], sizes["R"] + 2 * sizes["N"]
    _check_shape("xz", xz, "B T 2D", sizes)
    _check_shape("conv_weight", conv_weight, "D 1 K", sizes)
    _check_shape("conv_bias", conv_bias, "D", sizes)
    _check_shape("x_proj", x_proj, "R+2N D", sizes)
    _check_shape("dt_bias", dt_bias, "D", sizes)
    check_lookahead(lookahead, sizes["K"])
    return _checked_lengths(lengths, sizes["B"], sizes["T"])


def check_lookahead(lookahead: int, taps: int) -> None:
    """Refuse a convolution none of whose taps reads the frame itself."""
    if not 0 <= lookahead < taps:
        raise UserError(
            f"lookahead={lookahead} is impossible for {taps} taps; give 0 to {taps - 1}."
        )


def _check_shape(name: str, tensor: Tensor | None, layout: str, sizes: dict[str, int]) -> None:
    """Compare a shape with the sizes known so far, and add those that it is the first to have."""
    if tensor is None:
        return
    axes, shape = layout.split(), tensor.shape
    fits = len(axes) == len(shape)
    for axis, size in zip(axes, shape, strict=False):
        fits = fits and sizes.setdefault(axis, size) == size
    if not fits:
        known = (f"{a}={sizes[a]}" if a in sizes and not a.isdigit() else a for a in axes)
        raise UserError(f"{name} has shape {tuple(shape)}; it must be ({', '.join(known)}).")


def _checked_lengths(lengths: Tensor | None, batch: int, time: int) -> Tensor | None:
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor):
        raise UserError(
            f"lengths is a {type(lengths).__name__}; {_wanted(batch, time)}, in a tensor."
        )
    if lengths.dtype not in _INTEGERS:
        raise UserError(
            f"lengths is of {lengths.dtype}; {_wanted(batch, time)}: give lengths.long()."
        )
    if lengths.shape != (batch,):
        raise UserError(f"lengths has shape {tuple(lengths.shape)}; {_wanted(batch, time)}.")
    # On another device, reading the values would stall the host until the device has computed them.
    checked = lengths.device.type == "cpu" and not is_exporting()
    return _within(lengths, time) if checked else lengths


def _wanted(batch: int, time: int) -> str:
    return f"it must be {batch} integers from 0 to {time}, the valid frames of each clip"


# An operator, so that a compiled graph checks them too.
@torch.library.custom_op("mambadapter::lengths_within", mutates_args=())
def _within(lengths: Tensor, time: int) -> Tensor:
    for clip, length in enumerate(lengths.tolist()):
        if not 0 <= length <= time:
            raise UserError(f"lengths[{clip}] is {length}; {_wanted(len(lengths), time)}.")
    return lengths.clone()


@_within.register_fake
def _(lengths: Tensor, time: int) -> Tensor:
    return torch.empty_like(lengths)
