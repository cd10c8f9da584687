"""Encoders that read the waveform itself: wav2vec 2.0, HuBERT, WavLM."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mambadapter.encoders.padding import frame_mask, make_length_aware, normalise_waveforms
from mambadapter.encoders.position_convolution import keep_narrow_groups_exact
from mambadapter.encoders.state import ForwardState
from mambadapter.encoders.wavlm_attention import use_fused_attention


@dataclass
class Waveforms:
    """The input of wav2vec 2.0, HuBERT and WavLM: samples, and which of them are padding.

    Parameters
    ----------
    sample_rate : int
        Hz.
    normalise : bool
        Scale each clip to zero mean and unit variance first.

    Example
    -------
    >>> import torch
    >>> inputs = Waveforms().inputs(torch.randn(2, 800), torch.tensor([800, 400]))
    >>> inputs["attention_mask"].sum(1)
    tensor([800, 400])
    """

    sample_rate: int = 16000
    normalise: bool = True

    temporal: ClassVar[bool] = True
    ragged: ClassVar[bool] = True

    def attach(self, backbone: nn.Module, state: ForwardState) -> None:
        """Make a clip's frames independent of its batch's padding, and the attention fast."""
        make_length_aware(backbone, state)
        use_fused_attention(backbone)
        keep_narrow_groups_exact(backbone)

    def frames(self, backbone: nn.Module, samples: Tensor) -> Tensor:
        """(B,) samples to (B,) frames of about 20 ms."""
        return backbone._get_feat_extract_output_lengths(samples).long()

    def inputs(self, wavs: Tensor, samples: Tensor | None) -> dict[str, Tensor | None]:
        """(B, S) waveforms and (B,) valid samples, or None where all are, to the model's arguments."""
        if self.normalise:
            wavs = normalise_waveforms(wavs, samples)
        mask = None if samples is None else frame_mask(samples, wavs.shape[1]).long()
        return {"input_values": wavs, "attention_mask": mask}

    def read_out(self, hidden: Tensor) -> Tensor:
        """The frames as they are."""
        return hidden
