"""Whisper's decoder, frozen and adapted: tokens one after the other, from what its encoder heard."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from mambadapter.encoders.stack import AdaptedStack, Method
from mambadapter.encoders.state import ForwardState
from mambadapter.errors import UserError
from mambadapter.utils.masks import frame_mask


class AdaptedDecoder(AdaptedStack):
    """A frozen Whisper decoder, adapted by a method.

    Called on what the encoder returns, it scores the token that follows each of those it is given.
    """

    backbone: WhisperDecoder

    def __init__(
        self,
        backbone: WhisperDecoder,
        method: Method,
        start: Sequence[int],
        end: int,
        language: Tensor | None = None,
        masked: bool = True,
    ) -> None:
        super().__init__(backbone, method, ForwardState())
        self.start, self.end = tuple(start), end
        self.language = None if language is None else nn.Parameter(language.detach().clone())
        self.masked = masked
        self._mask: Tensor | None = None
        for layer in self.layers:
            attention = layer.get_submodule("encoder_attn")
            attention.register_forward_pre_hook(self._hide_padding, with_kwargs=True)

    @property
    def longest(self) -> int:
        """How many tokens a text may have, those it starts with and the one that ends it among them."""
        return self.backbone.config.max_target_positions

    @property
    def vocabulary(self) -> int:
        """How many tokens Whisper knows, without that of a new language."""
        return self.backbone.embed_tokens.num_embeddings

    def forward(
        self,
        memory: Tensor,
        frames: Tensor,
        tokens: Tensor | None = None,
        lengths: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Score the token after each one.

        Shapes: `memory` (B, T, d), `frames` (B,), `tokens` (B, L), `lengths` (B,); returns (B, L,
        vocabulary).
        """
        if tokens is None:
            tokens = torch.tensor([self.start], device=memory.device).expand(len(memory), -1)
        if tokens.shape[1] > self.longest:
            raise UserError(
                f"A text has {tokens.shape[1]} tokens; this decoder writes at most {self.longest}. Leave "
                "such clips out, with a lower --longest_seconds."
            )
        self._mask = frame_mask(frames, memory.shape[1])[:, None, None] if self.masked else None
        self.state.lengths = lengths
        hidden = self.run(
            inputs_embeds=self._embed(tokens),
            encoder_hidden_states=memory,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        logits = F.linear(hidden, self.backbone.embed_tokens.weight)
        if self.language is None:
            return logits
        return torch.cat([logits, F.linear(hidden, self.language)], dim=-1)

    def _embed(self, tokens: Tensor) -> Tensor:
        table = self.backbone.embed_tokens
        if self.language is None:
            return table(tokens)
        new = tokens == self.vocabulary
        known = table(tokens.masked_fill(new, 0))
        return torch.where(new[..., None], self.language.to(known.dtype), known)

    def _hide_padding(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, {**kwargs, "attention_mask": self._mask}
