"""Windows of a long recording by Whisper, as its authors write them: with times, and again if they fail.

The thresholds are those of openai-whisper's ``transcribe`` (Radford et al. 2022, arXiv 2212.04356, section
4.5).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from mambadapter.decoding.autoregressive import cache_for
from mambadapter.encoders.decoder import AdaptedDecoder

# What is tried in turn: greedily, then drawn, until a text is likely and does not repeat itself.
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MOST_COMPRESSED = 2.4  # bytes of a text over those that zlib makes of it: above, it repeats itself
_LEAST_LIKELY = -1.0  # mean log-probability of its tokens: below, it is a guess
_SILENT = 0.6  # probability of no speech, above which a guess is of nothing

# Seconds between two of Whisper's timestamps, and the latest that a window may begin with.
_TICK, _LATEST_START = 0.02, 50

_SEED = 0  # of what is drawn for a window, so that the same window is written the same


@dataclass(frozen=True)
class Attempt:
    """A text for a window.

    Attributes
    ----------
    tokens : list[int]
        Those of the text and its times.
    likelihood : float
        Mean log-probability of them and the end.
    no_speech : float
        Probability that there is nothing to write.
    """

    tokens: list[int]
    likelihood: float
    no_speech: float

    @property
    def silent(self) -> bool:
        """It is a guess where nothing is said."""
        return self.no_speech > _SILENT and self.likelihood < _LEAST_LIKELY

    def fails(self, text: str) -> bool:
        """It, with this for its text, is to be tried again."""
        guessed = self.likelihood < _LEAST_LIKELY and not self.silent
        return guessed or (compression(text) > _MOST_COMPRESSED and not self.silent)


def compression(text: str) -> float:
    """How many times shorter zlib makes a text.

    Example
    -------
    >>> compression("one two three four five") < 1.1 < 2.4 < compression("7 8 7 8 " * 20)
    True
    """
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


@torch.no_grad()
def decode_with_times(
    decoder: AdaptedDecoder,
    memory: Tensor,
    frames: Tensor,
    seconds: float,
    text_of: Callable[[list[int]], str],
) -> tuple[list[tuple[float, float, list[int]]], float]:
    """Write what a window of a long recording says, with its times.

    A window that stops inside a segment is followed by one that begins where the last whole segment ended. A
    text that repeats itself or is unlikely is written again, drawn at rising temperatures; the last stays,
    whatever it is. A guess where probably nothing is said is none.

    Shapes: `memory` (1, T, d), `frames` (1,). Returns (start, end, tokens) of each segment, and where the
    next window begins, all in seconds from the window's start.
    """
    zero, generator = decoder.start[-1] + 1, torch.Generator().manual_seed(_SEED)
    for temperature in _TEMPERATURES:
        attempt = write(decoder, memory, frames, temperature, generator)
        if not attempt.fails(text_of([token for token in attempt.tokens if token < zero]).strip()):
            break
    if attempt.silent:
        return [], seconds
    return split_at_times(attempt.tokens, zero, seconds)


def write(
    decoder: AdaptedDecoder,
    memory: Tensor,
    frames: Tensor,
    temperature: float,
    generator: torch.Generator,
) -> Attempt:
    """Write a window once: by the likeliest tokens at temperature 0, by drawn ones above."""
    *start, silent = decoder.start
    rules = rules_for_times(decoder)
    cache = cache_for(decoder)
    tokens = unread = torch.tensor([start], device=memory.device)
    likelihoods, no_speech = list[Tensor](), None
    # Half of its context, as the authors have it.
    for _ in range(decoder.longest // 2):
        scores = decoder(memory, frames, unread, cache=cache).float()
        if no_speech is None:  # after the first token; its own is before the one for no times
            no_speech = scores[0, 0].softmax(-1)[silent - 1]
        scores = scores[:, -1]
        if decoder.language is not None:
            scores[:, -1] = -torch.inf  # a language of its own is behind the timestamps
        scores = rules(cast(torch.LongTensor, tokens), scores)
        if temperature:
            shares = (scores[0] / temperature).softmax(-1).cpu()
            best = torch.multinomial(shares, 1, generator=generator).to(scores.device)
        else:
            best = scores.argmax(-1)
        likelihoods.append(scores[0].log_softmax(-1)[best[0]])
        if int(best) == decoder.end:
            break
        tokens = torch.cat([tokens, best[:, None]], dim=1)
        unread = tokens if cache is None else best[:, None]
    written = tokens[0, len(start) :].tolist()
    mean = float(torch.stack(likelihoods).sum()) / (len(written) + 1)
    return Attempt(written, mean, 0.0 if no_speech is None else float(no_speech))


def rules_for_times(decoder: AdaptedDecoder) -> LogitsProcessorList:
    """Times come in pairs and rise, by transformers; nothing of a vocabulary that has none."""
    *start, silent = decoder.start  # the token for no timestamps is the last
    if decoder.vocabulary <= silent + 1:
        return LogitsProcessorList()
    settings = GenerationConfig(
        no_timestamps_token_id=silent,
        eos_token_id=decoder.end,
        max_initial_timestamp_index=_LATEST_START,
    )
    return LogitsProcessorList([WhisperTimeStampLogitsProcessor(settings, len(start))])


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
