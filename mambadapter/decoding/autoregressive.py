"""Greedy decoding: at each step the likeliest token."""

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from mambadapter.encoders.decoder import AdaptedDecoder


@torch.no_grad()
def decode_greedily(
    decoder: AdaptedDecoder, memory: Tensor, frames: Tensor, limit: int
) -> list[list[int]]:
    """Write what a batch of clips says.

    Shapes: `memory` (B, T, d), `frames` (B,).
    """
    cache = cache_for(decoder)
    tokens = torch.tensor([decoder.start], device=memory.device).expand(len(memory), -1)
    ended = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
    unread = tokens
    for _ in range(min(limit, decoder.longest - len(decoder.start))):
        best = decoder(memory, frames, unread, cache=cache)[:, -1].argmax(-1)
        best = best.masked_fill(ended, decoder.end)
        ended |= best == decoder.end
        if bool(ended.all()):
            break
        tokens = torch.cat([tokens, best[:, None]], dim=1)
        unread = tokens if cache is None else best[:, None]
    texts = tokens[:, len(decoder.start) :].tolist()
    return [text[: text.index(decoder.end)] if decoder.end in text else text for text in texts]


def cache_for(decoder: AdaptedDecoder) -> EncoderDecoderCache | None:
    """An empty one, or None: branches see more than one token, and keep none of those before."""
    return None if len(decoder.branches) else EncoderDecoderCache(DynamicCache(), DynamicCache())
