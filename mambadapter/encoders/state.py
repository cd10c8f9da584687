"""What one forward pass tells the modules hooked into a frozen encoder."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class ForwardState:
    """Lengths of the batch now in flight, and whether branches are on.

    transformers hands each model family's layers a mask of another shape, or none at all; branches
    and length-aware layers read this instead. One instance belongs to one `AdaptedEncoder`.

    Attributes
    ----------
    samples : Tensor or None
        (B,) valid waveform samples of each clip; None when nothing is padded.
    lengths : Tensor or None
        (B,) valid positions of each sequence, frames of an encoder or tokens of a decoder; None when
        nothing is padded.
    enabled : bool
        False turns every branch off, which leaves the frozen encoder.
    """

    samples: Tensor | None = None
    lengths: Tensor | None = None
    enabled: bool = True
