"""What an `AdaptedEncoder` asks of its frontend."""

from typing import Any, Protocol

from torch import Tensor, nn

from mambadapter.encoders.state import ForwardState


class Constants(nn.Module):
    """What a frontend multiplies by; it moves with the encoder from device to device and is never saved."""

    filters: Tensor
    window: Tensor

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)


class Frontend(Protocol):
    """Makes of a batch of waveforms what a family of encoders reads.

    Attributes
    ----------
    sample_rate : int
        Hz.
    temporal : bool
        The outputs are frames in the order of time, as CTC needs them.
    ragged : bool
        A longer clip has more of them; otherwise all have as many, and none is padding.
    longest : float
        Samples of the longest clip that it reads; infinity where there is no limit.
    constants : Constants
        Its tensors.
    """

    sample_rate: int
    constants: Constants

    @property
    def temporal(self) -> bool: ...

    @property
    def ragged(self) -> bool: ...

    @property
    def longest(self) -> float: ...

    def attach(self, backbone: Any, state: ForwardState) -> None:
        """Fit the backbone to the inputs, before it is frozen."""

    def frames(self, backbone: Any, samples: Tensor) -> Tensor:
        """(B,) samples to (B,) valid positions of the output; 0 for a clip that is too short."""

    def inputs(self, wavs: Tensor, samples: Tensor | None, blank: bool = False) -> dict[str, Any]:
        """(B, S) waveforms and (B,) valid samples, or None where all are, to the model's arguments.

        With `blank` their numbers are not needed, only their shapes.
        """

    def read_out(self, hidden: Tensor) -> Tensor:
        """(B, T, d) of the last layer to what the head reads."""
