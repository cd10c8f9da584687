"""Frozen Transformer layers with branches beside their sub-layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from mambadapter.encoders.families import family_of, is_decoder
from mambadapter.encoders.families.family import Family
from mambadapter.encoders.linear import compute_faster
from mambadapter.encoders.prefixing import attend_by_sdpa
from mambadapter.encoders.state import ForwardState
from mambadapter.encoders.sublayers import (
    Sublayer,
    final_norm,
    sublayers,
    transformer_layers,
)


class Method(Protocol):
    """What `mambadapter.methods` provides: where branches go and what is trained."""

    @property
    def trains_backbone(self) -> bool: ...

    @property
    def starts_as_frozen(self) -> bool: ...

    def adapt(self, encoder: "AdaptedStack") -> None:
        """Insert branches and say what learns."""


@dataclass(frozen=True)
class Unadapted:
    """The method that leaves a stack frozen as it is, such as the part of a Whisper that is not adapted."""

    trains_backbone: bool = False
    starts_as_frozen: bool = True

    def adapt(self, encoder: "AdaptedStack") -> None:
        """Change nothing."""


@dataclass
class _Insertion:
    """The forward hooks that add one branch to one module's output."""

    branch: nn.Module
    state: ForwardState
    reads: str
    entered: Tensor | None = None
    hooks: list[RemovableHandle] = field(default_factory=list)

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Keep what a module further up reads, where the branch is to read that."""
        self.entered = hidden_input(args, kwargs)

    def leave(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        """Add the branch."""
        read = hidden_input(args, kwargs) if self.entered is None else self.entered
        self.entered = None
        if not self.state.enabled:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        sources = []
        if self.reads in ("input", "both"):
            sources.append(read)
        if self.reads in ("output", "both"):
            sources.append(hidden)
        adapted = hidden + self.branch(*sources, self.state.lengths).to(hidden.dtype)
        return (adapted, *output[1:]) if isinstance(output, tuple) else adapted


def hidden_input(args: tuple, kwargs: dict) -> Tensor:
    """What a module of a Transformer reads: its first argument, however it is given."""
    return args[0] if args else kwargs["hidden_states"]


class AdaptedStack(nn.Module):
    """A stack of frozen Transformer layers, and what a method adds to it.

    Nothing in the backbone learns, drops out or is masked unless the method asks for it; the frozen
    part below the first branch builds no graph. Branches are hooked beside the sub-layers, so the
    backbone's parameter names stay those of its checkpoint.
    """

    def __init__(self, backbone: PreTrainedModel, method: Method, state: ForwardState) -> None:
        super().__init__()
        self.backbone = backbone
        self.branches = nn.ModuleDict()
        self._insertions: dict[str, tuple[nn.Module, _Insertion]] = {}
        self.trains_backbone = method.trains_backbone
        self.starts_as_frozen = method.starts_as_frozen
        self.state = state
        freeze(backbone)
        compute_faster(backbone)
        attend_by_sdpa(backbone)
        method.adapt(self)
        self.train(self.training)

    @property
    def width(self) -> int:
        """Channels of the output, d."""
        return self.backbone.config.hidden_size

    @property
    def family(self) -> Family:
        """What is known of its family."""
        return family_of(self.backbone.config)

    @property
    def sublayers(self) -> list[Sublayer]:
        """Where branches may go, bottom to top."""
        return sublayers(self.backbone)

    @property
    def causal(self) -> bool:
        """Whether a position must not see those after it, as in a decoder."""
        return is_decoder(self.backbone)

    @property
    def layers(self) -> nn.ModuleList:
        """The Transformer layers, bottom to top."""
        return transformer_layers(self.backbone)

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The LayerNorm whose output this stack returns."""
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
            Called as ``branch(hidden, lengths)``: hidden (B, T, channels), lengths (B,) valid positions or
            None; returns what is added to the module's output.
        reads : str
            ``input``: hidden is what the module reads. ``output``: what it emits. ``both``: the branch is
            called as ``branch(read, emitted, lengths)``.
        entry : nn.Module, optional
            The module whose input counts as what is read, where a sub-layer is several in a row.
        """
        self.branches[name] = branch
        insertion = _Insertion(branch, self.state, reads)
        if entry not in (None, module):
            insertion.hooks.append(
                entry.register_forward_pre_hook(insertion.enter, with_kwargs=True)
            )
        insertion.hooks.append(module.register_forward_hook(insertion.leave, with_kwargs=True))
        self._insertions[name] = module, insertion

    @property
    def adapted(self) -> list[nn.Module]:
        """The modules of the backbone to whose outputs branches are added."""
        return [module for module, _ in self._insertions.values()]

    def read_all_layers(self, mix: nn.Module) -> None:
        """Return a mix of all layers instead of the last one's output."""
        self.branches["layers"] = mix

    def run(self, **inputs: Any) -> Tensor:
        """What the backbone emits for its inputs: the last layer's output, or the mix of all.

        Returns (B, T, d).
        """
        mixed = self.state.enabled and "layers" in self.branches
        output = self.backbone(**inputs, output_hidden_states=mixed)
        return self.branches["layers"](output.hidden_states) if mixed else output.last_hidden_state

    @torch.no_grad()
    def fold(self) -> None:
        """Compute the same with less, from now on and for inference alone.

        A branch that has a ``fold(module)``, of the module that it adapts, puts its fixed factors into its
        weights; if that returns true, the branch is in the module's own weights, and goes. Nothing learns any
        more, and what went cannot be switched off.
        """
        self.eval().requires_grad_(False)
        for name, (module, insertion) in list(self._insertions.items()):
            fold = getattr(insertion.branch, "fold", None)
            if fold is not None and fold(module):
                for hook in insertion.hooks:
                    hook.remove()
                del self.branches[name], self._insertions[name]

    @contextmanager
    def branches_off(self) -> Iterator[None]:
        """Compute what the encoder computes without its branches."""
        self.state.enabled = False
        try:
            yield
        finally:
            self.state.enabled = True

    def train(self, mode: bool = True) -> "AdaptedStack":
        """Switch the branches' mode; a frozen backbone always stays in evaluation mode."""
        super().train(mode)
        if not self.trains_backbone:
            self.backbone.eval()
        return self


def freeze(backbone: PreTrainedModel) -> None:
    """Stop all learning in a transformers encoder, its convolutional front end included.

    ``requires_grad_(False)`` is not enough: transformers' feature extractor keeps a flag of its own
    that makes the waveform require gradient in train mode, which pulls the whole front end into the
    graph.
    """
    backbone.requires_grad_(False)
    extractor = getattr(backbone, "feature_extractor", None)
    if extractor is not None:
        extractor._freeze_parameters()
