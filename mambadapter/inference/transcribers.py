"""Recognisers made from packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.decoding.ctc import greedy_texts
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.encoders.speech_to_text import SpeechToText
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference.package import check_held, load_weights, rules_of
from mambadapter.inference.reading import Recording
from mambadapter.inference.results import Segment, Transcript
from mambadapter.methods.base import Method
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class CTCTranscriber:
    """A recogniser that scores characters on every frame.

    Attributes
    ----------
    encoder : AdaptedEncoder
        The encoder.
    head : CTCHead
        The head.
    vocabulary : Vocabulary
        What it writes.
    """

    encoder: AdaptedEncoder
    head: CTCHead
    vocabulary: Vocabulary

    longest_seconds: ClassVar[float] = 30.0

    @classmethod
    def from_package(
        cls, folder: Path, card: Mapping[str, Any], method: Method, checkpoint: SharedCheckpoint
    ) -> "CTCTranscriber":
        """Rebuild a recogniser from what `open_package` gave."""
        encoder = checkpoint.encoder(method, card.get("encoder_settings") or {})

        def make_head() -> CTCHead:
            return CTCHead(encoder.width, len(card["labels"]), card["lstm"])

        check_held(folder, make_head)
        head = make_head()
        load_weights(folder, card, checkpoint.source, {"encoder": encoder, "head": head})
        return cls(encoder, head, Vocabulary(tuple(card["labels"])))

    @property
    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The encoder and what stands on it."""
        return self.encoder, self.head

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> list[Transcript]:
        """Transcribe a batch: (B, S) waveforms, (B,) lengths as fractions of S."""
        hidden, frames = self.encoder(wavs, lengths)
        texts = greedy_texts(self.vocabulary, self.head(hidden, frames), frames)
        seconds = wavs.shape[1] / self.encoder.sample_rate
        return [
            Transcript(one.name, text, (Segment(0.0, seconds, text),))
            for one, text in zip(recordings, texts, strict=True)
        ]

    def read_long(self, recording: Recording) -> Transcript:
        """Transcribe what is longer than `longest_seconds`."""
        raise UserError(f"{recording.name} is longer than {self.longest_seconds:g} s; cut it.")


@dataclass(frozen=True)
class WhisperTranscriber:
    """A Whisper, which writes token by token.

    Attributes
    ----------
    whisper : SpeechToText
        The model.
    rules : TextRules
        By which what it writes is normalised.
    longest_text : int
        Tokens that it writes at most.
    """

    whisper: SpeechToText
    rules: TextRules
    longest_text: int

    longest_seconds: ClassVar[float] = 30.0

    @classmethod
    def from_package(
        cls, folder: Path, card: Mapping[str, Any], method: Method, checkpoint: SharedCheckpoint
    ) -> "WhisperTranscriber":
        """Rebuild a Whisper from what `open_package` gave."""
        rules, settings = rules_of(folder, card), card.get("encoder_settings") or {}
        whisper = checkpoint.whisper(card["language"], method, card["adapt"], settings)
        modules = {"encoder": whisper.encoder, "head": whisper.decoder}
        load_weights(folder, card, checkpoint.source, modules)
        return cls(whisper, rules, card["longest_text"])

    @property
    def encoder(self) -> AdaptedEncoder:
        """What hears."""
        return self.whisper.encoder

    @property
    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The encoder and what stands on it."""
        return self.whisper.encoder, self.whisper.decoder

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> list[Transcript]:
        """Transcribe a batch, as a `CTCTranscriber` does."""
        memory, frames = self.encoder(wavs, lengths)
        written = decode_greedily(self.whisper.decoder, memory, frames, self.longest_text)
        texts = [self.rules.normalise(self.whisper.decode(tokens)).text for tokens in written]
        seconds = wavs.shape[1] / self.encoder.sample_rate
        return [
            Transcript(one.name, text, (Segment(0.0, seconds, text),))
            for one, text in zip(recordings, texts, strict=True)
        ]

    def read_long(self, recording: Recording) -> Transcript:
        """Transcribe what is longer than `longest_seconds`."""
        raise UserError(f"{recording.name} is longer than {self.longest_seconds:g} s; cut it.")
