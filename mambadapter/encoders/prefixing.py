"""An encoder's attention, which may see trained keys and values beside those of the frames."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from mambadapter.encoders.prompting import extend_mask
from mambadapter.encoders.state import ForwardState

if TYPE_CHECKING:
    from mambadapter.encoders.stack import AdaptedStack

_NAME = "mambadapter"
_ATTRIBUTE = "mambadapter_prefix"


@dataclass(frozen=True)
class _Prefixed:
    """What one attention looks its prefix up in."""

    prefix: nn.Module
    state: ForwardState


def attend_to_prefixes(encoder: "AdaptedStack", make: Callable[[], nn.Module]) -> None:
    """Give every attention of an encoder a prefix."""
    for place in encoder.sublayers:
        if place.kind == "attention":
            prefix = encoder.branches[f"layer{place.layer}_prefix"] = make()
            # Not as a submodule: the backbone's parameter names stay those of its checkpoint.
            place.module.__dict__[_ATTRIBUTE] = _Prefixed(prefix, encoder.state)
    if not encoder.family.reads_prefixes:
        encoder.backbone.config._attn_implementation = _NAME


def attend_by_sdpa(backbone: PreTrainedModel) -> None:
    """Where transformers takes PyTorch's fused attention, take ours, which is that and reads prefixes.

    transformers looks into each batch's mask to leave it out where nothing is padded, for which the host
    waits and a graph breaks; here a mask is left out where none is given.
    """
    if backbone.config._attn_implementation == "sdpa":
        backbone.config._attn_implementation = _NAME


def with_prefix(attention: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, int]:
    """Put an attention's prefix, if it has one that is on, in front of its keys and values.

    Shapes: `key, value` (B, H, T, d / H); returns (B, H, P + T, d / H).
    """
    prefixed = attention.__dict__.get(_ATTRIBUTE)
    if prefixed is None or not prefixed.state.enabled:
        return key, value, 0
    keys, values = prefixed.prefix(key.shape[0], key.shape[1])
    key = torch.cat([keys.to(key.dtype), key], dim=2)
    value = torch.cat([values.to(value.dtype), value], dim=2)
    return key, value, keys.shape[2]


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    key, value, length = with_prefix(module, key, value)
    mask = attention_mask
    if length and mask is None and module.is_causal and query.shape[2] > 1:
        # The kernel's own causal mask would hide the first positions behind the prefix.
        square = key.new_ones(query.shape[2], query.shape[2], dtype=torch.bool)
        mask = square.tril()[None, None]
    mask = extend_mask(mask, length, rows=False) if length else mask
    return _SDPA(module, query, key, value, mask, **kwargs)


def _mask(
    *args: Any,
    attention_mask: Tensor | None = None,
    allow_is_bidirectional_skip: bool = False,
    **kwargs: Any,
) -> Tensor | None:
    skip = allow_is_bidirectional_skip and attention_mask is None
    return _SDPA_MASK(
        *args, attention_mask=attention_mask, allow_is_bidirectional_skip=skip, **kwargs
    )


_SDPA, _SDPA_MASK = AttentionInterface()["sdpa"], AttentionMaskInterface()["sdpa"]
AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _mask)
