"""WavLM: a waveform encoder whose gated relative-position attention runs through PyTorch's fused kernel.

transformers computes it with materialised attention weights and a position bias repeated for every
clip. The bias is one per batch, and the gate's eight outputs are only ever summed in fours, so both
can be folded. Same numbers (WavLM, arXiv 2110.13900, section III.B), less memory and time: what is kept
for the backward does not grow with the square of the frames.
"""

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from mambadapter.encoders.families.family import Family
from mambadapter.encoders.families.wav2vec2 import (
    BLANKS,
    LARGE,
    LAYOUT,
    MASKED,
    REGULARISERS,
    waveforms_of,
)
from mambadapter.encoders.prefixing import with_prefix


def fused_attention(
    self: WavLMAttention,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    index: int = 0,
    **kwargs: Any,
) -> tuple[Tensor, None, Tensor]:
    """Replace ``WavLMAttention.forward``.

    Shapes: `hidden_states` (B, T, d), `attention_mask` (B, T).
    """
    batch, time, width = hidden_states.shape
    if position_bias is None:
        position_bias = self.compute_bias(time, time)[None]
    heads = hidden_states.view(batch, time, self.num_heads, self.head_dim)
    gate_weight = self.gru_rel_pos_linear.weight.view(2, 4, -1).sum(1)
    gate_bias = self.gru_rel_pos_linear.bias.view(2, 4).sum(1)
    gates = torch.sigmoid(F.linear(heads, gate_weight, gate_bias)).transpose(1, 2)
    gate_a, gate_b = gates.chunk(2, dim=-1)
    gate = gate_a * (gate_b * self.gru_rel_pos_const - 1.0) + 2.0
    padding = None if attention_mask is None else ~attention_mask.bool()[:, None, None]
    query, key, value = (
        projection(hidden_states).view(heads.shape).transpose(1, 2)
        for projection in (self.q_proj, self.k_proj, self.v_proj)
    )
    key, value, prefix = with_prefix(self, key, value)
    # A prefix has no position: a bias of zero. It is never padding.
    bias = F.pad(position_bias, (prefix, 0))
    padding = None if padding is None else F.pad(padding, (prefix, 0))
    dropout = self.dropout if self.training else 0.0
    if (
        query.is_cpu
        and query.dtype == torch.float32
        and not (dropout or position_bias.requires_grad)
    ):
        output = _FrozenBiasAttention.apply(query, key, value, gate, bias, padding)
    else:
        gated = _gated(gate, bias, padding).to(query.dtype)
        output = F.scaled_dot_product_attention(query, key, value, gated, dropout)
    return self.out_proj(output.transpose(1, 2).reshape(batch, time, width)), None, position_bias


class _FrozenBiasAttention(torch.autograd.Function):
    """Attention that computes its weights again in the backward.

    PyTorch's fused CPU kernel has no backward to the bias, whose gate depends on the input; its fallback
    keeps every (B, H, T, T) weight.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        gate: Tensor,
        position_bias: Tensor,
        padding: Tensor | None,
    ) -> Tensor:
        bias = _gated(gate, position_bias, padding)
        output = F.scaled_dot_product_attention(query, key, value, bias)
        ctx.save_for_backward(query, key, value, gate, position_bias, padding, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, gate, position_bias, padding, output = ctx.saved_tensors
        query = query * query.shape[-1] ** -0.5
        scores = (query @ key.mT).add_(_gated(gate, position_bias, padding))
        weights = torch.softmax(scores, dim=-1)
        to_scores = gradient @ value.mT
        to_scores.sub_((gradient * output).sum(-1, keepdim=True)).mul_(weights)
        to_query = (to_scores @ key) * query.shape[-1] ** -0.5
        to_gate = torch.linalg.vecdot(to_scores, position_bias)[..., None]
        return to_query, to_scores.mT @ query, weights.mT @ gradient, to_gate, None, None


def _gated(gate: Tensor, position_bias: Tensor, padding: Tensor | None) -> Tensor:
    """(B, H, T, 1) gates of the (1, H, T, T) bias, closed to padded keys (B, 1, 1, T)."""
    bias = gate * position_bias
    return bias if padding is None else bias.masked_fill(padding, float("-inf"))


def use_fused_attention(backbone: nn.Module) -> None:
    """Give every WavLM attention of a model the fused forward."""
    for module in backbone.modules():
        if isinstance(module, WavLMAttention):
            module.forward = MethodType(fused_attention, module)  # type: ignore[method-assign]  # of this one module


WAVLM = Family(
    layout=LAYOUT,
    frontend=waveforms_of,
    regularisers=REGULARISERS,
    masked=MASKED,
    shapes={"wavlm-base": {}, "wavlm-base-plus": {}, "wavlm-large": LARGE},
    patch=use_fused_attention,
    reads_prefixes=True,
    layers_alike=False,  # the first computes the positions of all
    blanks=BLANKS,
)
