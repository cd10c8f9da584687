"""The Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778): patches of a spectrogram."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance import kaldi
from transformers import PretrainedConfig

from mambadapter.encoders.families.family import Family, Layout, Masked
from mambadapter.encoders.frontend import Constants
from mambadapter.encoders.state import ForwardState
from mambadapter.errors import UserError
from mambadapter.utils.masks import frame_mask
from mambadapter.validators import check_types, one_of, positive_integer

if TYPE_CHECKING:
    from transformers import ASTModel

# Tokens in front of the patches: class and distillation.
_FIRST = 2
_LONGEST = 60_000  # frames: attention over all of them takes memory by the square
_WINDOW, _HOP = 0.025, 0.01  # s, of a spectrogram's frame, and from one to the next
_PREEMPHASIS = 0.97


@dataclass
class Spectrograms:
    """The input of AST: a log-mel spectrogram of fixed length, cut into overlapping patches.

    Every clip is cut or padded with silence to `max_length`, as the model was trained, so all tokens of all
    clips are valid.
    """

    sample_rate: int = 16000
    mel_bins: int = 128
    max_length: int = 1024
    mean: float = -4.2677393
    std: float = 4.5689974
    token_order: str = "time"
    readout: str = "mean"

    temporal: ClassVar[bool] = False
    ragged: ClassVar[bool] = False
    longest: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        check_types(self)
        positive_integer("max_length", self.max_length)
        if self.max_length > _LONGEST:
            raise UserError(
                f"encoder.max_length={self.max_length} is {self.max_length / 100:,.0f} s in one piece; give "
                f"at most {_LONGEST}."
            )
        one_of("token_order", self.token_order, ("time", "frequency"))
        one_of("readout", self.readout, ("mean", "cls"))
        size = round(_WINDOW * self.sample_rate)
        bins = 1 << (size - 1).bit_length()
        filters, _ = kaldi.get_mel_banks(
            self.mel_bins, bins, self.sample_rate, 20.0, 0.0, 100.0, -500.0, 1.0
        )
        window = torch.hann_window(size, periodic=False)
        self.constants = Constants(filters=F.pad(filters, (0, 1)), window=window)

    def attach(self, backbone: "ASTModel", state: ForwardState) -> None:
        """Fit the position embeddings to the length, and put the tokens in order."""
        embeddings = backbone.embeddings
        old = embeddings.get_shape(backbone.config)
        backbone.config.max_length = self.max_length
        bands, moments = embeddings.get_shape(backbone.config)
        if moments < 1:
            raise UserError(
                f"encoder.max_length={self.max_length} leaves no patch; give at least "
                f"{backbone.config.patch_size} frames of 10 ms."
            )
        embeddings.position_embeddings = nn.Parameter(
            resized_positions(embeddings.position_embeddings.detach(), old, moments)
        )
        if self.token_order == "time":
            embeddings.register_forward_hook(_TimeMajor(bands, moments))

    def frames(self, backbone: "ASTModel", samples: Tensor) -> Tensor:
        """As many tokens as every clip has; none of a clip that is shorter than a spectrogram's frame."""
        bands, moments = backbone.embeddings.get_shape(backbone.config)
        tokens = 1 if self.readout == "cls" else _FIRST + bands * moments
        return torch.where(samples < round(_WINDOW * self.sample_rate), 0, tokens)

    def inputs(self, wavs: Tensor, samples: Tensor | None, blank: bool = False) -> dict[str, Any]:
        """(B, S) waveforms and (B,) valid samples, or None where all are, to the model's arguments."""
        if blank:
            return {"input_values": wavs.new_zeros(len(wavs), self.max_length, self.mel_bins)}
        return {"input_values": self._spectrograms(wavs, samples)}

    def read_out(self, hidden: Tensor) -> Tensor:
        """All tokens, or the one that stands for the clip."""
        return hidden[:, :_FIRST].mean(1, keepdim=True) if self.readout == "cls" else hidden

    def _spectrograms(self, wavs: Tensor, samples: Tensor | None) -> Tensor:
        """(B, S) to (B, max_length, mel_bins), as ``torchaudio.compliance.kaldi.fbank`` of each clip alone.

        That takes one clip at a time, and reads from the host.
        """
        size, hop = round(_WINDOW * self.sample_rate), round(_HOP * self.sample_rate)
        with torch.autocast(wavs.device.type, enabled=False):
            windows = wavs.float().unfold(1, size, hop)[:, : self.max_length]
            windows = windows - windows.mean(-1, keepdim=True)
            before = F.pad(windows, (1, 0), mode="replicate")[..., :-1]
            windows = (windows - _PREEMPHASIS * before) * self.constants.window
            filters = self.constants.filters
            spectrum = torch.fft.rfft(windows, n=2 * (filters.shape[1] - 1)).abs().square()
            bands = (spectrum @ filters.T).clamp(min=torch.finfo(torch.float32).eps).log()
        if samples is not None:
            counted = (samples - size).div(hop, rounding_mode="floor") + 1
            bands = bands * frame_mask(counted, bands.shape[1])[..., None]
        bands = F.pad(bands, (0, 0, 0, self.max_length - bands.shape[1]))
        return (bands - self.mean) / (2 * self.std)


@dataclass(frozen=True)
class _TimeMajor:
    """Reorders the patches behind the first tokens: from band after band to moment after moment."""

    bands: int
    moments: int

    def __call__(self, module: nn.Module, args: tuple, tokens: Tensor) -> Tensor:
        patches = tokens[:, _FIRST:].unflatten(1, (self.bands, self.moments))
        return torch.cat([tokens[:, :_FIRST], patches.transpose(1, 2).flatten(1, 2)], dim=1)


def resized_positions(positions: Tensor, grid: tuple[int, int], moments: int) -> Tensor:
    """Interpolate AST's position embeddings to another number of patches in time, linearly."""
    bands, old = grid
    if moments == old:
        return positions
    patches = positions[:, _FIRST:].unflatten(1, (bands, old)).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(bands, moments), mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :_FIRST], patches.flatten(2).transpose(1, 2)], dim=1)


def spectrograms_of(
    config: PretrainedConfig, preprocessor: Mapping[str, Any], settings: Mapping[str, Any]
) -> Spectrograms:
    """The frontend as the checkpoint was trained, but for the user's settings."""
    trained = {"max_length": config.max_length}
    if preprocessor.get("do_normalize", True):
        trained |= {key: preprocessor[key] for key in ("mean", "std") if key in preprocessor}
    else:
        trained |= {"mean": 0.0, "std": 0.5}
    rate = preprocessor.get("sampling_rate", 16000)
    return Spectrograms(rate, config.num_mel_bins, **{**trained, **settings})


AST = Family(
    layout=Layout(
        layers="layers",
        outer_norm="layernorm",
        attention="attention",
        before_attention="layernorm_before",
        ffn=("mlp", "mlp"),
        before_ffn="layernorm_after",
        dense=(*(f"attention.{name}_proj" for name in "qkvo"), "mlp.fc1", "mlp.fc2"),
    ),
    frontend=spectrograms_of,
    regularisers=("hidden_dropout_prob", "attention_probs_dropout_prob"),
    masked=Masked("input_values", hop=0.01, is_input=True),
    settings=("max_length", "token_order", "readout"),
    shapes={"ast": {}},
    blanks={
        "embeddings": lambda backbone, x: x.new_zeros(
            len(x), *backbone.embeddings.position_embeddings.shape[1:]
        )
    },
)
