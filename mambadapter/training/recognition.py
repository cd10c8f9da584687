"""What training a recogniser takes, whichever way it makes texts."""

from typing import Any

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from mambadapter.metrics.error_rates import ErrorRates
from mambadapter.training.brain import EncoderBrain
from mambadapter.utils.masks import frame_mask


class RecognitionBrain(EncoderBrain):
    """An `EncoderBrain` scored by its word and character error rates.

    A task appends to `rates` what it recognised outside of training. The best epoch is that of the lowest
    validation word error rate, and while that saturates, of the lowest character error rate. The test's
    alignments are written to ``wer_test.txt`` and ``cer_test.txt``.

    Attributes
    ----------
    rates : ErrorRates
        Of the stage that runs.
    """

    rates: ErrorRates

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start_augmenting()

    def targets(self, batch: Any) -> list[int]:
        """The characters, or tokens, of its texts."""
        tokens = batch.tokens.data
        return tokens[frame_mask(token_lengths(batch), tokens.shape[1])].tolist()

    def start_metrics(self) -> None:
        """Begin to collect texts."""
        self.rates = ErrorRates()

    def stage_metrics(self) -> dict[str, float]:
        """Error rates as fractions, with 95 % intervals by bootstrap over utterances."""
        return self.rates.metrics()

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """As every Brain; after the test also write the alignments."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage == sb.Stage.TEST and if_main_process():
            self.rates.write(self.hparams.output_folder)


def token_lengths(batch: Any) -> Tensor:
    """(B,) lengths of its texts, which SpeechBrain has as shares of the longest."""
    tokens, lens = batch.tokens
    return (lens * tokens.shape[1]).round().long()
