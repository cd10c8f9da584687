"""Recognisers made from packages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mambadapter.data.audio import read_clip
from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.decoding.ctc import greedy_texts
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.speech_to_text import SpeechToText, load_speech_to_text, parts
from mambadapter.heads import CTCHead
from mambadapter.inference.package import (
    SEQ2SEQ,
    TRANSCRIPTION,
    check_size,
    encoder_source,
    load_package,
    load_weights,
    method_of,
    open_package,
    rules_of,
)
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Transcriber:
    """A trained recogniser for audio files.

    Attributes
    ----------
    encoder : AdaptedEncoder
        The encoder.
    head : CTCHead
        The head.
    vocabulary : Vocabulary
        What it writes.
    audio_channel : int or None
        The one that is taken of files with several, as in training; None: their mean.

    Example
    -------
    >>> transcriber = Transcriber.from_package("results/run/adapter")  # doctest: +SKIP
    >>> transcriber.transcribe("clip.mp3")  # doctest: +SKIP
    'yiwen sin'
    """

    encoder: AdaptedEncoder
    head: CTCHead
    vocabulary: Vocabulary
    audio_channel: int | None = None

    @classmethod
    def from_package(cls, folder: str | Path, source: str | None = None) -> "Transcriber":
        """Rebuild a recogniser from a package; arguments and errors as for `Classifier.from_package`."""
        encoder, head, card = load_package(
            folder, source, TRANSCRIPTION,
            lambda width, card: CTCHead(width, len(card["labels"]), card["lstm"]),
        )  # fmt: skip
        encoder.fold()
        return cls(encoder, head, Vocabulary(tuple(card["labels"])), card.get("audio_channel"))

    @torch.inference_mode()
    def transcribe(
        self, path: str | Path, channel: int | None = None, read_cut: bool = False
    ) -> str:
        """Recognise one audio file of any rate, format and number of channels, by greedy decoding.

        Parameters
        ----------
        path : str or Path
            The file.
        channel : int, optional
            The one to take of several, from 1; default as in training.
        read_cut : bool
            Read a file that was cut short as far as it goes.

        Returns
        -------
        str
            The text, by the rules of the language it was trained on.

        Raises
        ------
        UserError
            If the file cannot be read, is shorter than it says, or has no such channel.
        """
        channel = channel or self.audio_channel
        wav = read_clip(path, self.encoder.sample_rate, channel, read_cut, warn=True)
        hidden, frames = self.encoder(wav[None])
        return greedy_texts(self.vocabulary, self.head(hidden, frames), frames)[0]


@dataclass(frozen=True)
class WhisperTranscriber:
    """A trained Whisper for audio files.

    Attributes
    ----------
    whisper : SpeechToText
        The model.
    rules : TextRules
        By which what it writes is normalised.
    longest_text : int
        Tokens that it writes at most.
    audio_channel : int or None
        As of a `Transcriber`.

    Example
    -------
    >>> transcriber = WhisperTranscriber.from_package("results/run/adapter")  # doctest: +SKIP
    >>> transcriber.transcribe("clip.mp3")  # doctest: +SKIP
    'yiwen sin'
    """

    whisper: SpeechToText
    rules: TextRules
    longest_text: int
    audio_channel: int | None = None

    @classmethod
    def from_package(cls, folder: str | Path, source: str | None = None) -> "WhisperTranscriber":
        """Rebuild a Whisper from a package; arguments and errors as for `Classifier.from_package`."""
        whisper, rules, card = load_whisper_package(folder, source)
        whisper.encoder.fold()
        whisper.decoder.fold()
        return cls(whisper, rules, card["longest_text"], card.get("audio_channel"))

    @torch.inference_mode()
    def transcribe(
        self, path: str | Path, channel: int | None = None, read_cut: bool = False
    ) -> str:
        """Recognise one audio file, as a `Transcriber` does."""
        encoder, decoder = self.whisper.encoder, self.whisper.decoder
        channel = channel or self.audio_channel
        wav = read_clip(path, encoder.sample_rate, channel, read_cut, warn=True)
        hidden, frames = encoder(wav[None])
        (tokens,) = decode_greedily(decoder, hidden, frames, self.longest_text)
        return self.rules.normalise(self.whisper.decode(tokens)).text


def load_whisper_package(
    folder: str | Path, source: str | None
) -> tuple[SpeechToText, TextRules, dict[str, Any]]:
    """Rebuild what `save_whisper_package` wrote: the model, the rules and the card."""
    folder, card = open_package(folder, SEQ2SEQ)
    where, method = encoder_source(card, source), method_of(folder, card)
    rules = rules_of(folder, card)
    check_size(folder, where["source"], method, parts(card["adapt"]))
    whisper = load_speech_to_text(where, card["language"], method, card["adapt"])
    modules = {"encoder": whisper.encoder, "head": whisper.decoder}
    load_weights(folder, card, where["source"], modules)
    return whisper, rules, card


def recogniser(folder: str | Path, source: str | None = None) -> Transcriber | WhisperTranscriber:
    """Rebuild whichever recogniser a package holds; arguments and errors as for `Classifier.from_package`."""
    _, card = open_package(folder)
    kind = WhisperTranscriber if card["task"] == SEQ2SEQ else Transcriber
    return kind.from_package(folder, source)
