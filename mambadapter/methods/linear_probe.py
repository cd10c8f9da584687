"""The linear probe: a head on the frozen encoder."""

from dataclasses import dataclass

from mambadapter.encoders.shape import EncoderShape
from mambadapter.methods.base import FinalNormMethod
from mambadapter.methods.counts import TrainedCount


@dataclass(frozen=True)
class LinearProbe(FinalNormMethod):
    """Only the head learns, and the final LayerNorm as in every method of the paper.

    Parameters
    ----------
    norms : str
        ``final`` trains the encoder's last LayerNorm, ``none`` leaves the encoder wholly frozen.
    """

    def count(self, shape: EncoderShape) -> TrainedCount:
        """Closed formula: ``2d``, or nothing."""
        return TrainedCount(layer_norm=self.norm_count(shape))
