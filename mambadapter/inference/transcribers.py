"""Recognisers made from packages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mambadapter.data.decoding import SHORTEST_SECONDS
from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.decoding.ctc import BestPath, Decoder, Decoding, decoder_of
from mambadapter.decoding.long_form import decode_with_times
from mambadapter.decoding.timed import Timed, letters, segments, utterances
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.encoders.speech_to_text import SpeechToText
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead
from mambadapter.inference.package import check_held, decoding_of, load_weights, rules_of
from mambadapter.inference.reading import Recording
from mambadapter.inference.results import Segment, Transcript
from mambadapter.inference.windows import Samples, hop_of, windows
from mambadapter.methods.base import Method
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import CHAR, Vocabulary

# Windows of a long recording are as long as the longest clip of the training, between these, in seconds.
_SHORTEST_WINDOW, _LONGEST_WINDOW = 4.0, 30.0
_CORE, _CONTEXT = (
    2 / 3,
    1 / 6,
)  # shares of a window: what it answers for, and what it sees on each side of that

_TIMESTAMPS = "timestamps"


@dataclass(frozen=True)
class CTCTranscriber:
    """A recogniser that scores tokens on every frame.

    Attributes
    ----------
    encoder : AdaptedEncoder
        The encoder.
    head : CTCHead
        The head.
    vocabulary : Vocabulary
        What it writes.
    decoding : Decoding
        How texts are found.
    longest_clip : float or None
        Seconds of the longest clip that it was trained on, where that is known.
    """

    encoder: AdaptedEncoder
    head: CTCHead
    vocabulary: Vocabulary
    decoding: Decoding = field(default_factory=Decoding)
    longest_clip: float | None = None

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
        vocabulary = Vocabulary(tuple(card["labels"]), card.get("token_type") or CHAR)
        return cls(encoder, head, vocabulary, decoding_of(folder, card), card.get("longest_clip"))

    def decoded(self, decoding: Mapping[str, Any]) -> "CTCTranscriber":
        """One that decodes by the settings of `Decoding.changed`, with its language model loaded."""
        decoding = {name: value for name, value in decoding.items() if name != _TIMESTAMPS}
        other = replace(self, decoding=self.decoding.changed(**decoding))
        decoder_of(other.vocabulary, other.decoding)
        return other

    @property
    def longest_seconds(self) -> float:
        """What is read in one piece, as the clips of the training were: the longest of them, 4 to 30 s."""
        return min(max(self.longest_clip or _LONGEST_WINDOW, _SHORTEST_WINDOW), _LONGEST_WINDOW)

    @property
    def _decoder(self) -> Decoder:
        return decoder_of(self.vocabulary, self.decoding)

    @property
    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The encoder and what stands on it."""
        return self.encoder, self.head

    def read(
        self, wavs: Tensor, lengths: Tensor | None, recordings: Sequence[Recording]
    ) -> list[Transcript]:
        """Transcribe a batch: (B, S) waveforms, (B,) lengths as fractions of S."""
        read, frames = self._read(wavs, lengths, self._decoder)
        return [
            self._transcript(one.name, self._decoder.words([piece[:count]]))
            for one, piece, count in zip(recordings, read, frames, strict=True)
        ]

    def read_long(self, recording: Recording) -> Transcript:
        """Transcribe a recording of any length.

        It is read twice: by windows, greedily, to find where nobody speaks; then each utterance by itself, as
        the clips of the training were, whose loudness is their own. Windows are as long as those clips,
        because what an encoder hears of a frame depends on how long and how loud all is that it is given.
        Their context on both sides is thrown away, and words are looked for in their joined scores, so that
        none ends where a window does.
        """
        hop, samples = hop_of(self.encoder), Samples(recording.blocks())
        longest = round(self.longest_seconds * self.encoder.sample_rate / hop)
        listener = BestPath(self.vocabulary)
        path = (
            token
            for piece in self._pieces(recording.blocks(), listener)
            for token in piece.tolist()
        )
        found = [
            word._replace(start=start + word.start, end=start + word.end)
            for start, stop in utterances(letters(self.vocabulary, path), longest)
            for word in self._decoder.words(
                self._pieces(samples.blocks(start * hop, stop * hop), self._decoder)
            )
        ]
        return self._transcript(recording.name, found)

    def _pieces(self, blocks: Iterable[Tensor], decoder: Decoder) -> Iterator[Tensor]:
        hop, rate = hop_of(self.encoder), self.encoder.sample_rate
        core, context = (
            round(share * self.longest_seconds * rate / hop) * hop for share in (_CORE, _CONTEXT)
        )
        device = next(self.encoder.backbone.parameters()).device
        for window in windows(blocks, core, context):
            (found,), (count,) = self._read(window.wav[None].to(device), None, decoder)
            first, behind = ((place - window.start) // hop for place in window.keep)
            yield found[first : count if window.last else behind]

    def _read(
        self, wavs: Tensor, lengths: Tensor | None, decoder: Decoder
    ) -> tuple[Tensor, list[int]]:
        """What a decoder reads of every frame, and how many frames are valid."""
        hidden, frames = self.encoder(wavs, lengths)
        return decoder.reads(self.head(hidden, frames)), frames.tolist()

    def _transcript(self, name: str, words: Iterable[Timed]) -> Transcript:
        seconds = hop_of(self.encoder) / self.encoder.sample_rate

        def segment(one: Timed) -> Segment:
            return Segment(round(one.start * seconds, 3), round(one.end * seconds, 3), one.text)

        found = tuple(map(segment, segments(words)))
        return Transcript(name, " ".join(one.text for one in found), found)


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
    timestamps : bool
        It writes the times of its segments in short recordings, too.
    """

    whisper: SpeechToText
    rules: TextRules
    longest_text: int
    timestamps: bool = False

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

    def decoded(self, decoding: Mapping[str, Any]) -> "WhisperTranscriber":
        """One with `timestamps`, or without; it has none of the other settings."""
        if others := decoding.keys() - {_TIMESTAMPS}:
            raise UserError(
                f"{', '.join(sorted(others))}: of recognisers by CTC alone; this adapter is a Whisper's, "
                "which writes token by token."
            )
        return replace(self, **decoding)

    @property
    def longest_seconds(self) -> float:
        """What is read in one piece, without timestamps."""
        return 0.0 if self.timestamps else self._window

    @property
    def _window(self) -> float:
        """Seconds that the encoder has positions for: 30."""
        return self.encoder.backbone.config.max_source_positions / 50

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
        rate = self.encoder.sample_rate
        ends = [wavs.shape[1] / rate * share for share in _shares(lengths, len(wavs))]
        return [
            self._transcript(one.name, [Segment(0.0, round(end, 3), self._normalised(tokens))])
            for one, tokens, end in zip(recordings, written, ends, strict=True)
        ]

    def read_long(self, recording: Recording) -> Transcript:
        """Transcribe a recording of any length, by windows of 30 s as Whisper's authors do.

        Each window is written with timestamps, and the next begins where the last whole segment ends (Radford
        et al. 2022, section 3.8); without the text of the window before, which adapters are not trained with.
        """
        rate, decoder = self.encoder.sample_rate, self.whisper.decoder
        device = next(self.encoder.backbone.parameters()).device
        samples, whole = Samples(recording.blocks()), round(self._window * rate)
        found: list[Segment] = []
        start = 0
        while not samples.ends_by(start + round(SHORTEST_SECONDS * rate)):
            wav = samples.span(start, start + whole)
            memory, frames = self.encoder(wav[None].to(device))
            parts, seconds = decode_with_times(
                decoder, memory, frames, len(wav) / rate, self.whisper.decode
            )
            for begin, end, tokens in parts:
                if text := self._normalised(tokens):
                    at = start / rate
                    found.append(Segment(round(at + begin, 3), round(at + end, 3), text))
            start += round(seconds * rate)
        return self._transcript(recording.name, found)

    def _normalised(self, tokens: list[int]) -> str:
        return self.rules.normalise(self.whisper.decode(tokens)).text

    def _transcript(self, name: str, found: list[Segment]) -> Transcript:
        return Transcript(name, " ".join(one.text for one in found if one.text), tuple(found))


def _shares(lengths: Tensor | None, count: int) -> list[float]:
    return [1.0] * count if lengths is None else lengths.tolist()
