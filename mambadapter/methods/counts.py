"""Closed parameter counts of the methods."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainedCount:
    """What a method trains, the head left out.

    Attributes
    ----------
    adapter : int
        Parameters that the method adds.
    layer_norm : int
        Parameters of the encoder's LayerNorms that learn.
    encoder : int
        Other parameters of the encoder that learn.
    """

    adapter: int = 0
    layer_norm: int = 0
    encoder: int = 0

    def total(self, with_norms: bool = True) -> int:
        """All of them, or all but the LayerNorms.

        Example
        -------
        >>> TrainedCount(adapter=46008, layer_norm=19968).total()
        65976
        """
        return self.adapter + self.encoder + (self.layer_norm if with_norms else 0)
