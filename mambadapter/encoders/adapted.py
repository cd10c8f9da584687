"""A frozen encoder with branches beside its sub-layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mambadapter.encoders.families import family_of, frontend_of
from mambadapter.encoders.frontend import Frontend
from mambadapter.encoders.frozen_features import FrozenFeatures, frozen_until
from mambadapter.encoders.loading import load_pretrained
from mambadapter.encoders.padding import refuse_short, valid_samples
from mambadapter.encoders.stack import AdaptedStack, Method
from mambadapter.encoders.state import ForwardState


class Features(Protocol):
    """What computes a batch's frozen part once, however often the batch comes."""

    def hidden(self, wavs: Tensor, samples: Tensor | None) -> Tensor:
        """(B, S) waveforms and (B,) valid samples to (B, T, d), as `AdaptedStack.run` of them."""


class AdaptedEncoder(AdaptedStack):
    """A frozen wav2vec2, HuBERT, WavLM, AST or Whisper encoder, adapted by a method.

    As `AdaptedStack`; and a clip's output does not depend on the padding of its batch.

    Parameters
    ----------
    backbone : PreTrainedModel
        The transformers encoder; it is changed in place.
    method : Method
        One of `mambadapter.methods`.
    frontend : Frontend, optional
        What makes of waveforms what the backbone reads; default as is usual for its family.

    Example
    -------
    >>> from transformers import Wav2Vec2Config, Wav2Vec2Model
    >>> from mambadapter.methods import MambAdapters
    >>> config = Wav2Vec2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    ...                         intermediate_size=32, conv_dim=(16,) * 7,
    ...                         num_conv_pos_embedding_groups=2)
    >>> encoder = AdaptedEncoder(Wav2Vec2Model(config), MambAdapters(rank=4))
    >>> hidden, frames = encoder(torch.randn(2, 8000), torch.tensor([1.0, 0.5]))
    >>> hidden.shape, frames.tolist()
    (torch.Size([2, 24, 16]), [24, 12])
    """

    def __init__(
        self, backbone: PreTrainedModel, method: Method, frontend: Frontend | None = None
    ) -> None:
        frontend, state = frontend or frontend_of(backbone.config), ForwardState()
        frontend.attach(backbone, state)
        if patch := family_of(backbone.config).patch:
            patch(backbone)
        super().__init__(backbone, method, state)
        self.frontend, self.constants = frontend, frontend.constants
        self.features: Features | None = None
        self._trains_on_features = True

    @classmethod
    def from_pretrained(cls, source: str | Mapping[str, Any], method: Method) -> "AdaptedEncoder":
        """Load an encoder by hub name or local folder and adapt it.

        Parameters
        ----------
        source : str or Mapping[str, Any]
            Hub name such as ``microsoft/wavlm-base-plus``, or a folder; or a mapping with that as its
            ``source`` and the settings of its frontend, such as AST's ``max_length``.
        method : Method
            One of `mambadapter.methods`.

        Returns
        -------
        AdaptedEncoder

        Raises
        ------
        UserError
            If the checkpoint cannot be loaded whole, or the method does not fit it.
        """
        loaded = load_pretrained(source, regularised=method.trains_backbone)
        return cls(loaded.backbone, method, loaded.frontend)

    @property
    def sample_rate(self) -> int:
        """Hz, of the waveforms it reads."""
        return self.frontend.sample_rate

    def frames(self, samples: Tensor) -> Tensor:
        """How many encoder frames, or other positions of the output, so many waveform samples make.

        Parameters
        ----------
        samples : Tensor
            (B,) samples.

        Returns
        -------
        Tensor
            (B,) frames, int64.
        """
        return self.frontend.frames(self.backbone, samples)

    def keep_frozen(self, folder: Path, limit: float, training: bool = True) -> None:
        """From now on compute what training does not change once for each clip.

        The same clips must come again as they were, without augmentation; and nothing below the first branch
        may be changed any more. Does nothing where nothing stays as it is, as in full fine-tuning.

        Parameters
        ----------
        folder : Path
            Where it is kept, in ``frozen_features``, by encoder and clip; runs may share it.
        limit : float
            Bytes of that; 0 keeps nothing.
        training : bool
            False: in evaluation mode alone, where training hears its clips changed.
        """
        ends = frozen_until(self)
        self._trains_on_features = training
        if self.features is None and ends is not None:
            self.features = FrozenFeatures(self, ends, folder, limit)

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode a batch of waveforms.

        Parameters
        ----------
        wavs : Tensor
            (B, S) waveforms at `sample_rate`, padded on the right.
        wav_lens : Tensor, optional
            (B,) lengths as fractions of S, as SpeechBrain gives them; None, which is faster, when nothing
            is padded.

        Returns
        -------
        hidden : Tensor
            (B, T, d) last hidden states.
        frames : Tensor
            (B,) how many of the T are valid.

        Raises
        ------
        UserError
            If a clip is too short to make one frame; on a GPU lengths are not looked at.
        """
        samples = valid_samples(wavs, wav_lens)
        lengths = torch.full(wavs.shape[:1], wavs.shape[1], device=wavs.device)
        frames = refuse_short(self.frames(lengths if samples is None else samples))
        self.state.samples = samples
        self.state.lengths = frames if self.frontend.ragged and samples is not None else None
        if self.features is not None and (self._trains_on_features or not self.training):
            hidden = self.features.hidden(wavs, samples)
        else:
            hidden = self.run(**self.frontend.inputs(wavs, samples))
        return self.frontend.read_out(hidden), frames
