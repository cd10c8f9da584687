"""A frozen encoder with branches beside its sub-layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mambadapter.encoders.linear import use_onednn
from mambadapter.encoders.padding import (
    frame_mask,
    make_length_aware,
    normalise_waveforms,
    valid_samples,
)
from mambadapter.encoders.pretrained import load_pretrained
from mambadapter.encoders.state import ForwardState
from mambadapter.encoders.sublayers import (
    WAVEFORM_FAMILIES,
    Sublayer,
    final_norm,
    sublayers,
    transformer_layers,
)
from mambadapter.encoders.wavlm_attention import use_fused_attention
from mambadapter.errors import UserError


class Method(Protocol):
    """What `mambadapter.methods` provides: where branches go and what is trained."""

    trains_backbone: bool
    starts_as_frozen: bool

    def adapt(self, encoder: "AdaptedEncoder") -> None:
        """Insert branches and say what learns."""


@dataclass(frozen=True)
class _Insertion:
    """The forward hook that adds one branch to one module's output."""

    branch: nn.Module
    state: ForwardState
    reads: str

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        if not self.state.enabled:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        sources = []
        if self.reads in ("input", "both"):
            sources.append(_hidden_input(args, kwargs))
        if self.reads in ("output", "both"):
            sources.append(hidden)
        adapted = hidden + self.branch(*sources, self.state.frames).to(hidden.dtype)
        return (adapted, *output[1:]) if isinstance(output, tuple) else adapted


def _hidden_input(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


class AdaptedEncoder(nn.Module):
    """A frozen wav2vec2, HuBERT or WavLM encoder, adapted by a method.

    Nothing in the backbone learns, drops out or is masked unless the method asks for it; the frozen
    part below the first branch builds no graph. Branches are hooked beside the sub-layers, so the
    backbone's parameter names stay those of its checkpoint. A clip's output does not depend on the
    padding of its batch.

    Parameters
    ----------
    backbone : PreTrainedModel
        The transformers encoder; it is changed in place.
    method : Method
        One of `mambadapter.methods`.
    sample_rate : int
        Hz, of the waveforms it reads.
    normalise : bool
        Scale each clip to zero mean and unit variance first.

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
        self, backbone: nn.Module, method: Method, sample_rate: int = 16000, normalise: bool = True
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.branches = nn.ModuleDict()
        self.sample_rate = sample_rate
        self.normalise = normalise
        self.trains_backbone = method.trains_backbone
        self.starts_as_frozen = method.starts_as_frozen
        self.state = ForwardState()
        freeze(backbone)
        if backbone.config.model_type in WAVEFORM_FAMILIES:
            make_length_aware(backbone, self.state)
            use_fused_attention(backbone)
        use_onednn(backbone)
        method.adapt(self)
        self.train(self.training)

    @classmethod
    def from_pretrained(cls, source: str, method: Method) -> "AdaptedEncoder":
        """Load an encoder by hub name or local folder and adapt it.

        Parameters
        ----------
        source : str
            Hub name such as ``microsoft/wavlm-base-plus``, or a folder.
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
        return cls(loaded.backbone, method, loaded.sample_rate, loaded.normalise)

    @property
    def width(self) -> int:
        """Channels of the output, d."""
        return self.backbone.config.hidden_size

    @property
    def sublayers(self) -> list[Sublayer]:
        """Where branches may go, bottom to top."""
        return sublayers(self.backbone)

    @property
    def layers(self) -> nn.ModuleList:
        """The Transformer layers, bottom to top."""
        return transformer_layers(self.backbone)

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The LayerNorm whose output this encoder returns."""
        return final_norm(self.backbone)

    def insert(self, name: str, module: nn.Module, branch: nn.Module, reads: str = "input") -> None:
        """Add a branch to the output of one of the backbone's modules.

        Parameters
        ----------
        name : str
            The branch's own, unique in the encoder.
        module : nn.Module
            What it adapts, such as a `Sublayer`'s module.
        branch : nn.Module
            Called as ``branch(hidden, frames)``: hidden (B, T, channels), frames (B,) valid frames or
            None; returns what is added to the module's output.
        reads : str
            ``input``: hidden is what the module reads. ``output``: what it emits. ``both``: the branch is
            called as ``branch(read, emitted, frames)``.
        """
        self.branches[name] = branch
        module.register_forward_hook(_Insertion(branch, self.state, reads), with_kwargs=True)

    def read_all_layers(self, mix: nn.Module) -> None:
        """Return a mix of all layers instead of the last one's output.

        Parameters
        ----------
        mix : nn.Module
            Maps a sequence of L + 1 tensors (B, T, d), what enters the first layer and what each emits,
            to (B, T, d).
        """
        self.branches["layers"] = mix

    @contextmanager
    def branches_off(self) -> Iterator[None]:
        """Compute what the encoder computes without its branches."""
        self.state.enabled = False
        try:
            yield
        finally:
            self.state.enabled = True

    def train(self, mode: bool = True) -> "AdaptedEncoder":
        """Switch the branches' mode; a frozen backbone always stays in evaluation mode."""
        super().train(mode)
        if not self.trains_backbone:
            self.backbone.eval()
        return self

    def frames(self, samples: Tensor) -> Tensor:
        """How many encoder frames so many waveform samples make.

        Parameters
        ----------
        samples : Tensor
            (B,) samples.

        Returns
        -------
        Tensor
            (B,) frames, int64.
        """
        return self.backbone._get_feat_extract_output_lengths(samples).long()

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode a batch of waveforms.

        Parameters
        ----------
        wavs : Tensor
            (B, S) waveforms at `sample_rate`, padded on the right.
        wav_lens : Tensor, optional
            (B,) lengths as fractions of S, as SpeechBrain gives them; default all 1.

        Returns
        -------
        hidden : Tensor
            (B, T, d) last hidden states.
        frames : Tensor
            (B,) how many of the T are valid.

        Raises
        ------
        UserError
            If a clip is too short to make one frame.
        """
        samples = valid_samples(wavs, wav_lens)
        lengths = torch.full(wavs.shape[:1], wavs.shape[1], device=wavs.device)
        frames = self.frames(lengths if samples is None else samples)
        if int(frames.min()) < 1:
            raise UserError(
                "A clip is shorter than one encoder frame (25 ms); leave such clips out of the manifest."
            )
        if self.normalise:
            wavs = normalise_waveforms(wavs, samples)
        mask = None if samples is None else frame_mask(samples, wavs.shape[1]).long()
        self.state.samples = samples
        self.state.frames = None if samples is None else frames
        mix = self.branches["layers"] if "layers" in self.branches and self.state.enabled else None
        output = self.backbone(wavs, attention_mask=mask, output_hidden_states=mix is not None)
        hidden = mix(output.hidden_states) if mix is not None else output.last_hidden_state
        return hidden, frames


def freeze(backbone: nn.Module) -> None:
    """Stop all learning in a transformers encoder, its convolutional front end included.

    ``requires_grad_(False)`` is not enough: transformers' feature extractor keeps a flag of its own
    that makes the waveform require gradient in train mode, which pulls the whole front end into the
    graph.
    """
    backbone.requires_grad_(False)
    extractor = getattr(backbone, "feature_extractor", None)
    if extractor is not None:
        extractor._freeze_parameters()
