"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356): a log-mel spectrogram and two convolutions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PretrainedConfig
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from mambadapter.encoders.families.family import Family, Layout, Masked
from mambadapter.encoders.frontend import Constants
from mambadapter.encoders.state import ForwardState
from mambadapter.errors import UserError
from mambadapter.utils.masks import frame_mask
from mambadapter.validators import check_types, one_of

_HOP = 160  # samples between the spectrogram's frames, at 16 kHz
_WINDOW = 400


@dataclass
class LogMels:
    """The input of Whisper's encoder: the log-mel spectrogram of a clip and of the silence after it."""

    sample_rate: int = 16000
    mel_bins: int = 80
    max_frames: int = 1500
    padding: str = "clip"

    temporal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_types(self)
        one_of("padding", self.padding, ("clip", "full"))
        filters = mel_filter_bank(
            num_frequency_bins=_WINDOW // 2 + 1,
            num_mel_filters=self.mel_bins,
            min_frequency=0.0,
            max_frequency=self.sample_rate / 2,
            sampling_rate=self.sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        window = torch.hann_window(_WINDOW)
        self.constants = Constants(filters=torch.from_numpy(filters).float().T, window=window)

    @property
    def ragged(self) -> bool:
        """Whether a longer clip has more frames."""
        return self.padding == "clip"

    @property
    def longest(self) -> float:
        """30 s, if its weights are as published."""
        return self.max_frames * 2 * _HOP

    def attach(self, backbone: WhisperEncoder, state: ForwardState) -> None:
        """Let the encoder read less than 30 s, and not attend to padding."""
        backbone.forward = MethodType(encode, backbone)

    def frames(self, backbone: WhisperEncoder, samples: Tensor) -> Tensor:
        """(B,) samples to (B,) frames of 20 ms: those of the clip, also where silence to 30 s follows."""
        return _frames(samples)

    def inputs(self, wavs: Tensor, samples: Tensor | None, blank: bool = False) -> dict[str, Any]:
        """(B, S) waveforms and (B,) valid samples, or None where all are, to the model's arguments."""
        if wavs.shape[1] > self.longest:
            raise UserError(
                f"A clip of {wavs.shape[1] / self.sample_rate:.1f} s is longer than the "
                f"{self.longest / self.sample_rate:g} s that Whisper reads; leave it out or cut it."
            )
        if samples is not None:
            wavs = wavs * frame_mask(samples, wavs.shape[1])
        if self.padding == "full":
            features = self._log_mels(wavs, 2 * self.max_frames, blank)
            return {"input_features": features}
        # Silence follows, so that windows and convolutions at a clip's end see what they would in 30 s.
        frames = _frames(wavs.shape[1])
        features = self._log_mels(wavs, 2 * frames + 4, blank)
        mask = None if samples is None else frame_mask(_frames(samples), frames)
        return {"input_features": features, "attention_mask": mask, "frames": frames}

    def read_out(self, hidden: Tensor) -> Tensor:
        """The frames as they are."""
        return hidden

    def _log_mels(self, wavs: Tensor, frames: int, blank: bool) -> Tensor:
        """(B, S) to (B, mel_bins, frames), as transformers' ``WhisperFeatureExtractor``."""
        if blank:
            return wavs.new_zeros(len(wavs), self.mel_bins, frames)
        with torch.autocast(wavs.device.type, enabled=False):
            wavs = F.pad(wavs.float(), (0, max(0, frames * _HOP - wavs.shape[1])))
            window, filters = self.constants.window, self.constants.filters
            spectrum = torch.stft(wavs, _WINDOW, _HOP, window=window, return_complex=True)
            power = spectrum[..., :frames].abs().square()
            bands = (filters @ power).clamp(min=1e-10).log10()
            loudest = bands.amax((1, 2), keepdim=True)
            return (torch.maximum(bands, loudest - 8.0) + 4.0) / 4.0


def _frames(samples: Any) -> Any:
    return _half(samples // _HOP)


def _half(frames: Any) -> Any:
    """What the second convolution makes of so many frames of a spectrogram."""
    return (frames + 1) // 2


def encode(
    self: WhisperEncoder,
    input_features: Tensor,
    attention_mask: Tensor | None = None,
    frames: int | None = None,
    output_hidden_states: bool = False,
    **kwargs: Any,
) -> BaseModelOutput:
    """Replace ``WhisperEncoder.forward``: any length up to 30 s, of which so many frames, and a mask.

    Shapes: `input_features` (B, mel_bins, F), `attention_mask` (B, T).
    """
    hidden = F.gelu(self.conv2(F.gelu(self.conv1(input_features)))).mT
    hidden = hidden[:, :frames]
    mask = None if attention_mask is None else attention_mask[:, None, None]
    hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
    hidden = F.dropout(hidden, p=self.dropout, training=self.training)
    states = []
    for layer in self.layers:
        states.append(hidden)
        hidden = layer(hidden, attention_mask=mask)
    hidden = self.layer_norm(hidden)
    every = (*states, hidden) if output_hidden_states else None
    return BaseModelOutput(last_hidden_state=hidden, hidden_states=every)


def log_mels_of(
    config: PretrainedConfig, preprocessor: Mapping[str, Any], settings: Mapping[str, Any]
) -> LogMels:
    """The frontend of the checkpoint's size, with the user's settings."""
    rate = preprocessor.get("sampling_rate", 16000)
    return LogMels(rate, config.num_mel_bins, config.max_source_positions, **settings)


def _shape(width: int, layers: int, heads: int, mel_bins: int = 80) -> dict[str, int]:
    one = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * width}
    both = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in one.items()}
    return {"d_model": width, "num_mel_bins": mel_bins, **both}


_LAYOUT = Layout(
    layers="layers",
    outer_norm="layer_norm",
    attention="self_attn",
    before_attention="self_attn_layer_norm",
    ffn=("fc1", "fc2"),
    before_ffn="final_layer_norm",
    dense=(*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "fc1", "fc2"),
    front_end=("conv1", "conv2"),
    fixed="embed_positions.weight",
)

WHISPER = Family(
    layout=_LAYOUT,
    frontend=log_mels_of,
    regularisers=("dropout", "attention_dropout", "activation_dropout"),
    masked=Masked("input_features", hop=0.01, is_input=True, channels_first=True),
    settings=("padding",),
    shapes={
        f"whisper-{size}": _shape(*numbers)
        for size, numbers in {
            "tiny": (384, 4, 6),
            "tiny.en": (384, 4, 6),
            "base": (512, 6, 8),
            "small": (768, 12, 12),
            "medium": (1024, 24, 16),
            "large-v3": (1280, 32, 20, 128),
        }.items()
    },
    blanks={
        "conv1": lambda backbone, mels: mels.new_zeros(len(mels), 1, mels.shape[2]),
        "conv2": lambda backbone, x: x.new_zeros(
            len(x), backbone.config.d_model, _half(x.shape[2])
        ),
    },
    encoder="encoder",
    decoder=WhisperDecoder,
    decoder_layout=replace(_LAYOUT, front_end=(), fixed=""),
)
