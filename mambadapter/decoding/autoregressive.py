"""Greedy decoding: at each step the likeliest token, by choice with Whisper's timestamps."""

from itertools import pairwise

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from mambadapter.encoders.decoder import AdaptedDecoder


@torch.no_grad()
def decode_greedily(
    decoder: AdaptedDecoder, memory: Tensor, frames: Tensor, limit: int
) -> list[list[int]]:
    """Write what a batch of clips says.

    Shapes: `memory` (B, T, d), `frames` (B,).
    """
    # Branches beside the layers see more than one token, and keep nothing of those before.
    cache = None if len(decoder.branches) else EncoderDecoderCache(DynamicCache(), DynamicCache())
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


# Seconds between two of Whisper's timestamps, and the latest that a window may begin with.
_TICK, _LATEST_START = 0.02, 50


@torch.no_grad()
def decode_with_times(
    decoder: AdaptedDecoder, memory: Tensor, frames: Tensor, seconds: float
) -> tuple[list[tuple[float, float, list[int]]], float]:
    """Write what a window of a long recording says, with its times.

    As Whisper's authors do (openai-whisper's ``transcribe``): a window that stops inside a segment is
    followed by one that begins where the last whole segment ended.

    Shapes: `memory` (1, T, d), `frames` (1,). Returns (start, end, tokens) of each segment, and where the
    next window begins, all in seconds from the window's start.
    """
    *start, silent = decoder.start  # the token for no timestamps is the last
    rules = WhisperTimeStampLogitsProcessor(
        GenerationConfig(
            no_timestamps_token_id=silent,
            eos_token_id=decoder.end,
            max_initial_timestamp_index=_LATEST_START,
        ),
        begin_index=len(start),
    )
    cache = None if len(decoder.branches) else EncoderDecoderCache(DynamicCache(), DynamicCache())
    tokens = unread = torch.tensor([start], device=memory.device)
    # Half of its context, as the authors have it: what is longer repeats itself.
    for _ in range(decoder.longest // 2):
        scores = decoder(memory, frames, unread, cache=cache)[:, -1].float()
        if decoder.language is not None:
            scores[:, -1] = -torch.inf  # a language of its own is behind the timestamps
        best = rules(tokens, scores).argmax(-1)
        if int(best) == decoder.end:
            break
        tokens = torch.cat([tokens, best[:, None]], dim=1)
        unread = tokens if cache is None else best[:, None]
    return split_at_times(tokens[0, len(start) :].tolist(), silent + 1, seconds)


def split_at_times(
    tokens: list[int], zero: int, seconds: float
) -> tuple[list[tuple[float, float, list[int]]], float]:
    """Segments of a window's tokens, of which those from `zero` are times; and where the next begins.

    Example
    -------
    >>> split_at_times([100, 7, 150, 150, 8, 9, 200, 200, 5], 100, 30.0)
    ([(0.0, 1.0, [7]), (1.0, 2.0, [8, 9])], 2.0)
    >>> split_at_times([100, 7, 150], 100, 30.0)
    ([(0.0, 1.0, [7])], 30.0)
    """
    is_time = [token >= zero for token in tokens]
    pairs = [place + 1 for place, both in enumerate(pairwise(is_time)) if all(both)]
    single = is_time[-2:] == [False, True]
    if single:
        pairs.append(len(tokens))
    if not pairs or (single and len(pairs) == 1):
        times = [token - zero for token, time in zip(tokens, is_time, strict=True) if time]
        end = times[-1] * _TICK if times and times[-1] > 0 else seconds
        text = [token for token, time in zip(tokens, is_time, strict=True) if not time]
        return ([(0.0, end, text)] if text else []), seconds
    found, before = [], 0
    for place in pairs:
        part = tokens[before:place]
        text = [token for token in part if token < zero]
        found.append((_TICK * (part[0] - zero), _TICK * (part[-1] - zero), text))
        before = place
    return found, seconds if single else max(found[-1][1], _TICK)
