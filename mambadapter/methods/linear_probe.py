"""The linear probe: a head on the frozen encoder."""

from dataclasses import dataclass

from mambadapter.methods.base import FinalNormMethod, register


@register
@dataclass(frozen=True)
class LinearProbe(FinalNormMethod):
    """Only the head learns, and the final LayerNorm as in every method of the paper.

    Parameters
    ----------
    norms : str
        ``final`` trains the encoder's last LayerNorm, ``none`` leaves the encoder wholly frozen.
    """
