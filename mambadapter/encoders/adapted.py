"""A frozen encoder with branches beside its sub-layers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mambadapter.encoders.frontends import Frontend, Waveforms
from mambadapter.encoders.linear import use_onednn
from mambadapter.encoders.padding import valid_samples
from mambadapter.encoders.pretrained import load_pretrained
from mambadapter.encoders.state import ForwardState
from mambadapter.encoders.sublayers import Sublayer, final_norm, sublayers, transformer_layers
from mambadapter.errors import UserError


class Method(Protocol):
    """What `mambadapter.methods` provides: where branches go and what is trained."""

    trains_backbone: bool
    starts_as_frozen: bool

    def adapt(self, encoder: "AdaptedEncoder") -> None:
        """Insert branches and say what learns."""


@dataclass
class _Insertion:
    """The forward hooks that add one branch to one module's output."""

    branch: nn.Module
    state: ForwardState
    reads: str
    entered: Tensor | None = None

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Keep what a module further up reads, where the branch is to read that."""
        self.entered = _hidden_input(args, kwargs)

    def leave(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        """Add the branch."""
        read = _hidden_input(args, kwargs) if self.entered is None else self.entered
        self.entered = None
        if not self.state.enabled:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        sources = []
        if self.reads in ("input", "both"):
            sources.append(read)
        if self.reads in ("output", "both"):
            sources.append(hidden)
        adapted = hidden + self.branch(*sources, self.state.frames).to(hidden.dtype)
        return (adapted, *output[1:]) if isinstance(output, tuple) else adapted


def _hidden_input(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


class AdaptedEncoder(nn.Module):
    """A frozen wav2vec2, HuBERT, WavLM, AST or Whisper encoder, adapted by a method.

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
    frontend : Frontend, optional
        One of `mambadapter.encoders.frontends`, which makes of waveforms what the backbone reads; default
        `Waveforms`.

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
        self, backbone: nn.Module, method: Method, frontend: Frontend | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.branches = nn.ModuleDict()
        self.frontend = frontend or Waveforms()
        self.trains_backbone = method.trains_backbone
        self.starts_as_frozen = method.starts_as_frozen
        self.state = ForwardState()
        self.frontend.attach(backbone, self.state)
        freeze(backbone)
        use_onednn(backbone)
        method.adapt(self)
        self.train(self.training)

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

    def insert(
        self,
        name: str,
        module: nn.Module,
        branch: nn.Module,
        reads: str = "input",
        entry: nn.Module | None = None,
    ) -> None:
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
        entry : nn.Module, optional
            The module whose input counts as what is read, where a sub-layer is several in a row.
        """
        self.branches[name] = branch
        insertion = _Insertion(branch, self.state, reads)
        if entry not in (None, module):
            entry.register_forward_pre_hook(insertion.enter, with_kwargs=True)
        module.register_forward_hook(insertion.leave, with_kwargs=True)

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
        self.state.samples = samples
        self.state.frames = frames if self.frontend.ragged and samples is not None else None
        mix = self.branches["layers"] if "layers" in self.branches and self.state.enabled else None
        inputs = self.frontend.inputs(wavs, samples)
        output = self.backbone(**inputs, output_hidden_states=mix is not None)
        hidden = mix(output.hidden_states) if mix is not None else output.last_hidden_state
        hidden = self.frontend.read_out(hidden)
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
