"""Put trained vectors in front of the frames that a Transformer layer reads, and take them out again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders.state import ForwardState

if TYPE_CHECKING:
    from mambadapter.encoders.stack import AdaptedStack


def prepend_prompts(encoder: "AdaptedStack", prompts: Sequence[nn.Module]) -> None:
    """Prepend prompts to what the layers of an encoder read.

    They come after the position embeddings and see no padding; attention masks grow with them. In WavLM
    they stand before the first frame for the relative positions, whose differences between frames stay.
    """
    layers = encoder.layers
    for index, layer in enumerate(layers):
        own = prompts[index] if index < len(prompts) else None
        if own is not None:
            encoder.branches[f"layer{index}_prompts"] = own
        leaves = len(prompts) == len(layers) or index == len(layers) - 1
        hook = _Prompted(encoder.state, own, prompts[0], leaves)
        layer.register_forward_pre_hook(hook.before, with_kwargs=True)
        layer.register_forward_hook(hook.after)


@dataclass(frozen=True)
class _Prompted:
    """The hooks of one layer: `own` enters it, if any; `any_prompt` says how many vectors there are."""

    state: ForwardState
    own: nn.Module | None
    any_prompt: nn.Module
    leaves: bool

    @property
    def count(self) -> int:
        return self.any_prompt.get_parameter("vectors").shape[0]

    def before(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if not self.state.enabled:
            return None
        hidden, *others = args
        if self.own is not None:
            hidden = torch.cat([self.own(hidden.shape[0]).to(hidden.dtype), hidden], dim=1)
        # The mask comes by name, or by place behind the hidden states.
        if others:
            return (hidden, extend_mask(others[0], self.count, rows=True), *others[1:]), kwargs
        mask = extend_mask(kwargs.get("attention_mask"), self.count, rows=True)
        return (hidden,), {**kwargs, "attention_mask": mask}

    def after(self, module: nn.Module, args: tuple, output: Any) -> Any:
        if not (self.state.enabled and self.leaves):
            return None
        if isinstance(output, tuple):
            return (output[0][:, self.count :], *output[1:])
        return output[:, self.count :]


def extend_mask(mask: Tensor | None, count: int, rows: bool) -> Tensor | None:
    """Let every frame attend to `count` more positions in front of the others.

    Shapes: `mask` (B, T) or (B, 1, T or 1, T).
    """
    if mask is None:
        return None
    open_to_all = 0 if mask.is_floating_point() else 1
    mask = F.pad(mask, (count, 0), value=open_to_all)
    if rows and mask.dim() == 4 and mask.shape[2] > 1:
        mask = torch.cat([mask[:, :, :1].expand(-1, -1, count, -1), mask], dim=2)
    return mask
