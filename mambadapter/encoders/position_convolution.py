"""The positional convolution of waveform encoders in float32, where bfloat16 on a CPU would be wrong."""

from types import MethodType

import torch
from torch import Tensor, nn

# oneDNN's bfloat16 kernels for AMX emit noise (relative error 1, torch 2.11) for grouped convolutions of
# fewer channels a group; the published encoders have 48 and more, the bundled one 12.
_SAFE_GROUP = 16


def keep_narrow_groups_exact(backbone: nn.Module) -> None:
    """Let a positional convolution of narrow groups ignore autocast on a CPU."""
    for module in backbone.get_submodule("encoder.pos_conv_embed").modules():
        if isinstance(module, nn.Conv1d) and module.in_channels // module.groups < _SAFE_GROUP:
            module.forward = MethodType(_convolve_in_float32, module)  # type: ignore[method-assign]  # of this one module


def _convolve_in_float32(self: nn.Conv1d, hidden: Tensor) -> Tensor:
    if not (hidden.is_cpu and torch.is_autocast_enabled("cpu")):
        return self._conv_forward(hidden, self.weight, self.bias)
    with torch.autocast("cpu", enabled=False):
        return self._conv_forward(hidden.float(), self.weight, self.bias)
