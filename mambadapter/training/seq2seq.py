"""Train and test a Whisper: an adapted encoder and a decoder that writes token by token."""

from typing import Any

import speechbrain as sb
import torch
import torch.nn.functional as F
from torch import Tensor

from mambadapter.decoding.autoregressive import decode_greedily
from mambadapter.encoders.speech_to_text import SpeechToText
from mambadapter.text import TextRules
from mambadapter.training.recognition import RecognitionBrain, token_lengths

_IGNORED = -100


class Seq2SeqBrain(RecognitionBrain):
    """Cross-entropy on a text's tokens, given those before (Radford et al. 2022, arXiv 2212.04356).

    Texts are written greedily, and normalised as the references are before they are scored.
    """

    def __init__(self, whisper: SpeechToText, rules: TextRules, *args: Any, **kwargs: Any) -> None:
        modules = {"encoder": whisper.encoder, "head": whisper.decoder}
        super().__init__(modules, *args, **kwargs)
        self.whisper, self.rules = whisper, rules

    def compute_forward(self, batch: Any, stage: sb.Stage) -> tuple[Tensor, Tensor]:
        """(B, L, vocabulary) logits of a batch, and (B, L) what they should say."""
        memory, frames = self.encode(*self.heard(batch, stage))
        if stage != sb.Stage.TRAIN:
            self._write(memory, frames, batch)
        start, end = self.whisper.decoder.start, self.whisper.decoder.end
        read, labels, lengths = teacher_forced(batch.tokens.data, token_lengths(batch), start, end)
        return self.modules.head(memory, frames, read, lengths), labels

    def loss(self, predictions: tuple[Tensor, Tensor], batch: Any, stage: sb.Stage) -> Tensor:
        """A mean over the tokens of the batch's texts, the end's among them."""
        logits, labels = predictions
        return F.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=_IGNORED
        )

    def targets(self, batch: Any) -> list[int]:
        """The tokens of its texts, an end for each among them."""
        return super().targets(batch) + [self.whisper.decoder.end] * len(batch.id)

    def _write(self, memory: Tensor, frames: Tensor, batch: Any) -> None:
        decoder, limit = self.whisper.decoder, self.hparams.longest_text
        written = decode_greedily(decoder, memory, frames, limit)
        texts = [self.rules.normalise(self.whisper.decode(tokens)).text for tokens in written]
        self.rates.append(batch.id, texts, batch.text)


def teacher_forced(
    tokens: Tensor, lengths: Tensor, start: tuple[int, ...], end: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What a decoder reads, and what it should say after each token of that.

    `tokens` (B, L) and `lengths` (B,) give what is read and labels, both (B, len(start) + L), -100 where
    nothing is to be said, and their lengths (B,).
    """
    clips, count = tokens.shape
    before = torch.cat([tokens.new_full((clips, 1), token) for token in start], dim=1)
    place = torch.arange(count + 1, device=tokens.device)
    ended = F.pad(tokens, (0, 1)).masked_fill(place >= lengths[:, None], end)
    labels = ended.masked_fill(place > lengths[:, None], _IGNORED)
    silent = before[:, 1:].new_full((clips, len(start) - 1), _IGNORED)
    read = torch.cat([before, ended[:, :count]], dim=1)
    return read, torch.cat([silent, labels], dim=1), lengths + len(start)
