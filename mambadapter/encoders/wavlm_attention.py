"""WavLM's gated relative-position attention through PyTorch's fused attention kernel.

transformers computes it with materialised attention weights and a position bias repeated for every
clip. The bias is one per batch, and the gate's eight outputs are only ever summed in fours, so both
can be folded. Same numbers (WavLM, arXiv 2110.13900, section III.B), less memory and time.
"""

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


def fused_attention(
    self: WavLMAttention,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    index: int = 0,
    **kwargs: Any,
) -> tuple[Tensor, None, Tensor]:
    """Replace ``WavLMAttention.forward``.

    Parameters
    ----------
    self : WavLMAttention
        The attention module this is bound to.
    hidden_states : Tensor
        (B, T, d).
    attention_mask : Tensor or None
        (B, T), true on valid frames.
    position_bias : Tensor or None
        (1, H, T, T) from the first layer; computed there.
    index : int
        Layer number; unused, part of the signature.
    **kwargs : Any
        Ignored, as in the original.

    Returns
    -------
    tuple
        Output (B, T, d), no attention weights, position bias (1, H, T, T).
    """
    batch, time, width = hidden_states.shape
    if position_bias is None:
        position_bias = self.compute_bias(time, time)[None]
    heads = hidden_states.view(batch, time, self.num_heads, self.head_dim)
    gate_weight = self.gru_rel_pos_linear.weight.view(2, 4, -1).sum(1)
    gate_bias = self.gru_rel_pos_linear.bias.view(2, 4).sum(1)
    gates = torch.sigmoid(F.linear(heads, gate_weight, gate_bias)).transpose(1, 2)
    gate_a, gate_b = gates.chunk(2, dim=-1)
    bias = (gate_a * (gate_b * self.gru_rel_pos_const - 1.0) + 2.0) * position_bias
    if attention_mask is not None:
        bias = bias.masked_fill(~attention_mask.bool()[:, None, None], float("-inf"))
    query, key, value = (
        projection(hidden_states).view(heads.shape).transpose(1, 2)
        for projection in (self.q_proj, self.k_proj, self.v_proj)
    )
    output = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias.to(query.dtype),
        dropout_p=self.dropout if self.training else 0.0,
    )
    return self.out_proj(output.transpose(1, 2).reshape(batch, time, width)), None, position_bias


def use_fused_attention(backbone: nn.Module) -> None:
    """Give every WavLM attention of a model the fused forward; other models stay as they are."""
    for module in backbone.modules():
        if isinstance(module, WavLMAttention):
            module.forward = MethodType(fused_attention, module)
