"""Encoders that read the waveform itself: wav2vec 2.0 and HuBERT, and what WavLM has in common with them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from mambadapter.encoders.families.family import Family, Layout, Masked
from mambadapter.encoders.frontend import Constants
from mambadapter.encoders.padding import make_length_aware, normalise_waveforms
from mambadapter.encoders.position_convolution import keep_narrow_groups_exact
from mambadapter.encoders.state import ForwardState
from mambadapter.utils.masks import frame_mask


@dataclass
class Waveforms:
    """The input of wav2vec 2.0, HuBERT and WavLM: samples, and which of them are padding."""

    sample_rate: int = 16000
    normalise: bool = True

    temporal: ClassVar[bool] = True
    ragged: ClassVar[bool] = True
    longest: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        self.constants = Constants()

    def attach(self, backbone: PreTrainedModel, state: ForwardState) -> None:
        """Make a clip's frames independent of its batch's padding."""
        make_length_aware(backbone, state)
        keep_narrow_groups_exact(backbone)
        masking = MethodType(_mask_spans, backbone)
        backbone._mask_hidden_states = masking  # type: ignore[assignment]

    def frames(self, backbone: Any, samples: Tensor) -> Tensor:
        """(B,) samples to (B,) frames of about 20 ms."""
        return backbone._get_feat_extract_output_lengths(samples).long()

    def inputs(
        self, wavs: Tensor, samples: Tensor | None, blank: bool = False
    ) -> dict[str, Tensor | None]:
        """(B, S) waveforms and (B,) valid samples, or None where all are, to the model's arguments."""
        if self.normalise and not blank:
            wavs = normalise_waveforms(wavs, samples)
        mask = None if samples is None else frame_mask(samples, wavs.shape[1]).long()
        return {"input_values": wavs, "attention_mask": mask}

    def read_out(self, hidden: Tensor) -> Tensor:
        """The frames as they are."""
        return hidden


def _mask_spans(
    self: Any,
    hidden_states: Tensor,
    mask_time_indices: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Replace ``_mask_hidden_states``, which draws masks on the host: the masking of full fine-tuning.

    Spans of frames become one learnt vector, spans of channels 0. Shapes: `hidden_states` (B, T, d),
    `attention_mask` (B, T).
    """
    config = self.config
    if not (self.training and getattr(config, "apply_spec_augment", True)):
        return hidden_states
    clips, frames, channels = hidden_states.shape
    if config.mask_time_prob > 0:
        lengths = hidden_states.new_full((clips,), frames)
        lengths = lengths if attention_mask is None else attention_mask.sum(-1)
        masked = drawn_spans(
            lengths,
            frames,
            config.mask_time_prob,
            config.mask_time_length,
            config.mask_time_min_masks,
        )
        vector = self.masked_spec_embed.to(hidden_states.dtype)
        hidden_states = torch.where(masked[..., None], vector, hidden_states)
    if config.mask_feature_prob > 0:
        masked = drawn_spans(
            hidden_states.new_full((clips,), channels),
            channels,
            config.mask_feature_prob,
            config.mask_feature_length,
            config.mask_feature_min_masks,
        )
        hidden_states = hidden_states.masked_fill(masked[:, None], 0.0)
    return hidden_states


def drawn_spans(lengths: Tensor, size: int, share: float, span: int, fewest: int) -> Tensor:
    """Which positions masks cover, as transformers' ``_compute_mask_indices`` draws them (wav2vec 2.0, 3.1).

    Of each clip about `share` of its valid positions, but for overlaps, in spans that begin at different
    positions; `fewest` spans at least, if they fit. Shapes: `lengths` (B,); returns (B, size).
    """
    starts = size - span + 1
    if starts < 1:
        return torch.zeros(len(lengths), size, dtype=torch.bool, device=lengths.device)
    rounding = torch.rand((), device=lengths.device)
    spans = (share * lengths / span + rounding).floor().clamp(min=fewest, max=size // span)
    spans = torch.minimum(spans, (lengths - span + 1).clamp(min=0))
    place = torch.arange(starts, device=lengths.device)
    drawn = torch.rand(len(lengths), starts, device=lengths.device)
    drawn = drawn.masked_fill(place > (lengths - span)[:, None], 2.0)
    first = (drawn.argsort(1).argsort(1) < spans[:, None]).float()
    # A position is masked if a span begins at most so many before it.
    return F.max_pool1d(F.pad(first, (span - 1, span - 1))[:, None], span, 1)[:, 0] > 0


def waveforms_of(
    config: PretrainedConfig, preprocessor: Mapping[str, Any], settings: Mapping[str, Any]
) -> Waveforms:
    """The frontend as the checkpoint's preprocessor has it."""
    return Waveforms(
        preprocessor.get("sampling_rate", 16000), preprocessor.get("do_normalize", True)
    )


LAYOUT = Layout(
    layers="encoder.layers",
    outer_norm="encoder.layer_norm",
    attention="attention",
    before_attention="layer_norm",
    ffn=("feed_forward", "feed_forward"),
    before_ffn="final_layer_norm",
    dense=(
        *(f"attention.{name}_proj" for name in ("q", "k", "v", "out")),
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
    ),
    front_end=("feature_extractor",),
)

REGULARISERS = (
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "feat_proj_dropout",
    "final_dropout",
)

MASKED = Masked("feature_projection", hop=0.02)


def _blank_convolutions(backbone: Any, wavs: Tensor) -> Tensor:
    """(B, S) to (B, 1, T)."""
    frames = backbone._get_feat_extract_output_lengths(torch.tensor(wavs.shape[1]))
    return wavs.new_zeros(len(wavs), 1, int(frames))


def _blank_projection(backbone: Any, features: Tensor) -> Tensor:
    """(B, T, C) to (B, T, d)."""
    return features.new_zeros(*features.shape[:2], backbone.config.hidden_size)


BLANKS = {
    "feature_extractor": _blank_convolutions,
    "feature_projection": lambda backbone, x: (_blank_projection(backbone, x), x),
    "encoder.pos_conv_embed": lambda backbone, hidden: hidden.new_zeros(()),
}

LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}

WAV2VEC2 = Family(
    layout=LAYOUT,
    frontend=waveforms_of,
    regularisers=REGULARISERS,
    masked=MASKED,
    blanks=BLANKS,
    shapes={
        "wav2vec2-base": {},
        "wav2vec2-large-lv60": {"conv_bias": True, **LARGE},
        "wav2vec2-xls-r-300m": {"conv_bias": True, **LARGE},
    },
)
HUBERT = Family(
    layout=LAYOUT,
    frontend=waveforms_of,
    regularisers=REGULARISERS,
    masked=MASKED,
    blanks={**BLANKS, "feature_projection": _blank_projection},
    shapes={"hubert-base": {}, "hubert-large": {"conv_bias": True, **LARGE}},
)
