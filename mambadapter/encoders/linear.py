"""The encoder's dense layers and convolutions, computed faster to the same numbers.

Under autocast PyTorch rounds a frozen weight again for each product, and keeps that copy until the backward;
here it is rounded once. In float32, PyTorch hands matrix products to MKL and convolutions to oneDNN. MKL
leaves the 512-bit instructions of AMD's processors unused; there oneDNN is about twice as fast at the same
product. On processors without them it is slower by as much, so they keep MKL. A dense layer is a convolution
of kernel size 1, and its (B, T, d) input is already in that convolution's fastest memory layout.
"""

from collections.abc import Callable, MutableMapping
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from mambadapter.utils.tracing import is_exporting


def rounding_linear(self: nn.Linear, hidden: Tensor) -> Tensor:
    """Replace ``nn.Linear.forward``; the same numbers.

    Shapes: `hidden` (..., in_features); returns (..., out_features).
    """
    return F.linear(hidden, *_rounded(self, hidden.device.type))


def rounding_convolution(self: nn.Conv1d | nn.Conv2d, hidden: Tensor) -> Tensor:
    """Replace ``nn.Conv1d.forward``, or that of 2 dimensions; the same numbers."""
    return self._conv_forward(hidden, *_rounded(self, hidden.device.type))


def onednn_linear(self: nn.Linear, hidden: Tensor) -> Tensor:
    """Replace ``nn.Linear.forward``: (B, T, in) to (B, T, out).

    Whatever is not float32 on a CPU takes PyTorch's own path.

    Shapes: `hidden` (B, T, in_features); returns (B, T, out_features).
    """
    plain = hidden.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not (hidden.is_cpu and hidden.dim() == 3 and plain) or is_exporting():
        return rounding_linear(self, hidden)
    if not torch.is_grad_enabled() or any(p.requires_grad for p in self.parameters()):
        return _convolve(hidden, self.weight, self.bias)
    return _FrozenLinear.apply(hidden, self.weight, self.bias)


def frozen_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A frozen dense layer of this (out, in) weight and (out,) bias."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear


def compute_faster(backbone: nn.Module) -> None:
    """Give every dense layer and convolution of a frozen model the faster forward; the same numbers.

    Modules with a forward of their own keep it.
    """
    dense = onednn_linear if onednn_is_faster() else rounding_linear
    replacements: dict[type, Callable[..., Tensor]] = {
        nn.Linear: dense,
        nn.Conv1d: rounding_convolution,
        nn.Conv2d: rounding_convolution,
    }
    for module in backbone.modules():
        replacement = replacements.get(type(module))
        if replacement is not None and "forward" not in vars(module):
            module.forward = MethodType(replacement, module)  # of this one module


def _rounded(
    module: nn.Linear | nn.Conv1d | nn.Conv2d, device: str
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias; under autocast in its precision, where they are frozen."""
    if not torch.is_autocast_enabled(device) or torch.compiler.is_compiling():
        return module.weight, module.bias
    dtype = torch.get_autocast_dtype(device)
    return _once(module.weight, dtype), None if module.bias is None else _once(module.bias, dtype)


# By parameter, so that encoders which share one share this.
_ROUNDED: MutableMapping[Tensor, tuple[Any, Tensor]] = WeakTensorKeyDictionary()


def _once(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """The parameter in that precision, anew only if it was moved, or changed in a way that PyTorch counts.

    That is any but through ``.data``.
    """
    # Autocast leaves double precision alone.
    if parameter.requires_grad or parameter.is_inference() or parameter.dtype == torch.double:
        return parameter
    state = (parameter.data_ptr(), parameter._version, parameter.device, parameter.dtype, dtype)
    known = _ROUNDED.get(parameter)
    if known is None or known[0] != state:
        with torch.inference_mode(False), torch.no_grad():  # training may read it after inference
            known = _ROUNDED[parameter] = state, parameter.to(dtype)
    return known[1]


@cache
def onednn_is_faster() -> bool:
    """Whether this is an AMD processor with 512-bit instructions, and PyTorch was built with oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return False
    information = Path("/proc/cpuinfo")
    amd = information.is_file() and "AuthenticAMD" in information.read_text()
    return amd and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class _FrozenLinear(torch.autograd.Function):
    """A dense layer that learns nothing, so it need not keep its input, as a convolution would."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _convolve(hidden, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        image = F.conv_transpose2d(_to_image(gradient), weight[:, :, None, None])
        return _from_image(image), None, None


def _convolve(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _from_image(F.conv2d(_to_image(hidden), weight[:, :, None, None], bias))


def _to_image(hidden: Tensor) -> Tensor:
    """(B, T, C) to (B, C, 1, T), channels last in memory as it was."""
    return hidden.unsqueeze(1).permute(0, 3, 1, 2)


def _from_image(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).squeeze(1)
