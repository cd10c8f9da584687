"""Train and test a recogniser by CTC on an adapted encoder."""

from typing import Any

import speechbrain as sb
import torch.nn.functional as F
from torch import Tensor

from mambadapter.decoding.ctc import Decoding, decoder_of, greedy_texts, texts
from mambadapter.errors import UserError
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.training.recognition import RecognitionBrain, token_lengths


class CTCBrain(RecognitionBrain):
    """Connectionist temporal classification (Graves et al. 2006) of characters or pieces.

    Validation is by greedy decoding; the test is decoded as the YAML says.
    """

    def __init__(self, vocabulary: Vocabulary, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.modules.encoder.frontend.temporal:
            raise UserError(
                "encoder: CTC needs frames in the order of time, which this encoder does not emit (it is for "
                "classification); take one that reads waveforms, or Whisper's."
            )
        self.vocabulary = vocabulary
        self._decoder = decoder_of(vocabulary, Decoding.of(self.hparams))

    def compute_forward(self, batch: Any, stage: sb.Stage) -> tuple[Tensor, Tensor]:
        """(B, T, tokens) log-probabilities and (B,) valid frames of a batch."""
        hidden, frames = self.encode(*self.heard(batch, stage))
        return self.modules.head(hidden, frames).float().log_softmax(-1), frames

    def loss(self, predictions: tuple[Tensor, Tensor], batch: Any, stage: sb.Stage) -> Tensor:
        """CTC, a mean over tokens of a clip and then over clips.

        A clip whose text does not fit its frames counts 0; outside training the texts are kept.
        """
        log_probabilities, frames = predictions
        if stage != sb.Stage.TRAIN:
            self._keep(log_probabilities, frames, batch, stage)
        return F.ctc_loss(
            log_probabilities.transpose(0, 1),
            batch.tokens.data,
            frames,
            token_lengths(batch),
            blank=self.vocabulary.blank,
            zero_infinity=True,
        )

    def _keep(self, log_probabilities: Tensor, frames: Tensor, batch: Any, stage: sb.Stage) -> None:
        if stage == sb.Stage.TEST:
            found = texts(self._decoder, log_probabilities, frames)
        else:
            found = greedy_texts(self.vocabulary, log_probabilities, frames)
        self.rates.append(batch.id, found, batch.text)
