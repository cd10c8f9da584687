"""What of an encoder no training changes, computed once for each clip: all that lies below what learns."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torchaudio
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from mambadapter.encoders.families import family_of, layout_of
from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.encoders.stack import hidden_input
from mambadapter.encoders.sublayers import final_norm, is_pre_norm, outer_norm, transformer_layers
from mambadapter.utils.files import source_digest
from mambadapter.utils.tensor_store import TensorStore

if TYPE_CHECKING:
    from mambadapter.encoders.adapted import AdaptedEncoder

# Where what is frozen ends: in front of the Transformer layer of this index, in front of the final LayerNorm,
# or nowhere, where only a mix of all layers' outputs learns.
End = int | str
FINAL_NORM, ALL = "final_norm", "all"

# Whose code computes them.
_SOURCES, _LIBRARIES = Path(__file__).parent, (torch, torchaudio, transformers)

# Of a configuration, what decides nothing.
_NAMES = ("_name_or_path", "transformers_version", "architectures")


class _Reached(Exception):
    """Ends a forward pass where what is frozen ends."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class FrozenPart:
    """An encoder in two halves: what is frozen, and what stands on it.

    Parameters
    ----------
    encoder : AdaptedEncoder
        Adapted, and on its device.
    ends : int or str
        Where what is frozen ends, from `frozen_until`.

    Attributes
    ----------
    injects : bool
        A forward pass is under way that need not compute what is frozen.
    """

    def __init__(self, encoder: "AdaptedEncoder", ends: End) -> None:
        self.encoder, self.ends = encoder, ends
        self._capturing = self.injects = False
        self._clips: Sequence[Tensor] | Tensor | None = None
        self.fingerprint = _fingerprint(encoder, ends)
        if ends != ALL:
            # In front of other hooks, such as those of prompts.
            _entry(encoder.backbone, ends).register_forward_pre_hook(
                self._enter, with_kwargs=True, prepend=True
            )
        if isinstance(ends, int):
            for path, blank in family_of(encoder.backbone.config).blanks.items():
                _Skippable.replace(encoder.backbone.get_submodule(path), self, blank)

    @torch.no_grad()
    def below(self, wavs: Tensor, samples: Tensor | None) -> tuple[Tensor, ...]:
        """(B, S) waveforms and (B,) valid samples to (B, T, d), of one place or of all L + 1 layers.

        As the layers are written, also where they are compiled, whose sums are rounded otherwise: what is
        kept is then the same for every run, and a layer can be left by an exception.
        """
        self._capturing = True
        try:
            inputs = self.encoder.frontend.inputs(wavs, samples)
            with torch.compiler.set_stance("force_eager"):
                output = self.encoder.backbone(**inputs, output_hidden_states=self.ends == ALL)
        except _Reached as reached:
            return (reached.hidden,)
        finally:
            self._capturing = False
        return output.hidden_states

    def above(self, below: tuple[Tensor, ...], wavs: Tensor, samples: Tensor | None) -> Tensor:
        """What `below` made of the batch to (B, T, d), as `AdaptedStack.run` of the waveforms."""
        if self.ends == ALL:
            return self.encoder.branches["layers"](below)
        return self.above_clips(below[0], wavs, samples)

    def above_clips(
        self, clips: Sequence[Tensor] | Tensor, wavs: Tensor, samples: Tensor | None
    ) -> Tensor:
        """Of each clip (T, d), or (L + 1, T, d) of all layers, to (B, T, d)."""
        if isinstance(self.ends, int):
            self._clips, self.injects = clips, True
            try:
                with _layers(self.encoder.backbone, lambda layers: layers[self.ends :]):
                    return self.encoder.run(
                        **self.encoder.frontend.inputs(wavs, samples, blank=True)
                    )
            finally:
                self.injects = False
                again = getattr(self.encoder.layers[0], "gradient_checkpointing", False)
                # Then the backward enters the first layer once more.
                if not (again and self.encoder.training and torch.is_grad_enabled()):
                    self._clips = None
        padded = _padded(clips, max(clip.shape[-2] for clip in clips))
        if self.ends == FINAL_NORM:
            return final_norm(self.encoder.backbone)(padded)
        return self.encoder.branches["layers"](padded.unbind(1))

    def _enter(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        hidden = hidden_input(args, kwargs)
        if self._capturing:
            raise _Reached(hidden)
        if self._clips is None:
            return None
        hidden = _padded(self._clips, hidden.shape[1])
        return (
            ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})
        )


class FrozenFeatures:
    """Computes what is frozen clip by clip, so that no batch changes a bit of it, and keeps it on disk.

    Parameters
    ----------
    encoder : AdaptedEncoder
        Adapted, and on its device.
    ends : int or str
        Where what is frozen ends, from `frozen_until`.
    folder : Path
        In which a folder ``frozen_features`` holds those of all encoders.
    limit : float
        Bytes of that; 0 keeps none.

    Attributes
    ----------
    computed, read : int
        Clips so far.
    """

    def __init__(self, encoder: "AdaptedEncoder", ends: End, folder: Path, limit: float) -> None:
        self.ends, self.part = ends, FrozenPart(encoder, ends)
        self.computed = self.read = 0
        # One of its own, for what is in it is removed when it is full.
        self._folder, self._limit = folder / "frozen_features", limit
        self._stores: dict[str, TensorStore] = {}

    def hidden(self, wavs: Tensor, samples: Tensor | None) -> Tensor:
        """(B, S) waveforms and (B,) valid samples to (B, T, d), as `AdaptedStack.run` of them."""
        encoder = self.part.encoder
        if self.ends == ALL and not encoder.state.enabled:
            return encoder.run(**encoder.frontend.inputs(wavs, samples))
        return self.part.above_clips(self._features(wavs, samples), wavs, samples)

    @torch.no_grad()
    def _features(self, wavs: Tensor, samples: Tensor | None) -> list[Tensor]:
        lengths = [wavs.shape[1]] * len(wavs) if samples is None else samples.tolist()
        store = self._store(wavs)
        clips = []
        for wav, length in zip(wavs, lengths, strict=True):
            valid = wav[:length].cpu().contiguous().view(torch.uint8).numpy()
            key = hashlib.blake2b(valid.data, digest_size=16).hexdigest()
            features = None if store is None else store.read(key)
            if features is None:
                features = self._compute(wav[None, :length])
                self.computed += 1
                if store is not None:
                    store.write(key, features.cpu())
            else:
                self.read += 1
            clips.append(features.to(wavs.device))
        return clips

    def _compute(self, wav: Tensor) -> Tensor:
        """Of one clip: (T, d), or (L + 1, T, d) of all layers."""
        state = self.part.encoder.state
        before = state.samples, state.lengths
        state.samples = state.lengths = None
        try:
            below = self.part.below(wav, None)
            return torch.cat(below) if self.ends == ALL else below[0][0].clone()
        finally:
            state.samples, state.lengths = before

    def _store(self, wavs: Tensor) -> TensorStore | None:
        """Of the numbers that are computed just now: those of another precision or processor are others."""
        if not self._limit:
            return None
        device = wavs.device.type
        auto = torch.is_autocast_enabled(device) and str(torch.get_autocast_dtype(device))
        threads = torch.get_num_threads() if device == "cpu" else 0
        processor = (
            torch.backends.cpu.get_cpu_capability()
            if device == "cpu"
            else torch.cuda.get_device_name(wavs.device)
        )
        products = torch.get_float32_matmul_precision()
        said = f"{self.part.fingerprint} {wavs.dtype} {auto} {products} {processor} {threads}"
        group = hashlib.sha256(said.encode()).hexdigest()[:32]
        if group not in self._stores:
            self._stores[group] = TensorStore(self._folder, group, self._limit)
        return self._stores[group]


class _Skippable:
    """The forward of a module that emits zeros while its numbers are not needed."""

    def __init__(self, module: nn.Module, part: FrozenPart, blank: Any) -> None:
        self.compute, self.part, self.blank = module.forward, part, blank

    @classmethod
    def replace(cls, module: nn.Module, part: FrozenPart, blank: Any) -> None:
        module.forward = cls(module, part, blank)  # of this one module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.part.injects:
            return self.blank(self.part.encoder.backbone, *args)
        return self.compute(*args, **kwargs)


def changed_modules(backbone: PreTrainedModel) -> set[nn.Module]:
    """Those that a `FrozenPart` may give hooks, or a forward of its own."""
    blank = (backbone.get_submodule(path) for path in family_of(backbone.config).blanks)
    return {outer_norm(backbone), final_norm(backbone), *blank}


def frozen_until(encoder: "AdaptedEncoder") -> End | None:
    """Where what training does not change ends; None if nothing of the encoder stays as it is."""
    backbone = encoder.backbone
    learning = {name for name, p in backbone.named_parameters() if p.requires_grad}
    of_final_norm = {id(p) for p in final_norm(backbone).parameters()}
    only_final_norm = all(id(backbone.get_parameter(name)) in of_final_norm for name in learning)
    if encoder.trains_backbone:
        return None
    if not encoder.branches and only_final_norm:
        return FINAL_NORM
    if set(encoder.branches) == {"layers"} and not learning:
        return ALL
    # Prompts and prefixes adapt no module, but all layers.
    known = len(encoder.branches) == len(encoder.adapted) and encoder.family.layers_alike
    for layer in reversed(range(len(encoder.layers) if known else 1)):
        inside = _above(backbone, layer)
        above = {part for name, part in backbone.named_modules() if f"{name}.".startswith(inside)}
        if all(name.startswith(inside) for name in learning) and above.issuperset(encoder.adapted):
            return layer
    return None


def _entry(backbone: PreTrainedModel, ends: End) -> nn.Module:
    """The module that reads what is frozen."""
    if ends == FINAL_NORM:
        return final_norm(backbone)
    if ends == 0 and not is_pre_norm(backbone):
        return outer_norm(backbone)
    return transformer_layers(backbone)[int(ends)]


@contextmanager
def _layers(
    backbone: PreTrainedModel, chosen: Callable[[nn.ModuleList], Iterable[nn.Module]]
) -> Iterator[None]:
    """Let the backbone run with other Transformer layers than its own."""
    path, _, name = layout_of(backbone).layers.rpartition(".")
    holder, layers = backbone.get_submodule(path), transformer_layers(backbone)
    setattr(holder, name, nn.ModuleList(chosen(layers)))
    try:
        yield
    finally:
        setattr(holder, name, layers)


def _fingerprint(encoder: "AdaptedEncoder", ends: End) -> str:
    """Of all that decides the features: code, machine, configuration, frontend, the parameters below."""
    import llvmlite.binding  # which takes a while

    config = {k: v for k, v in encoder.backbone.config.to_dict().items() if k not in _NAMES}
    code = [source_digest(_SOURCES), *(library.__version__ for library in _LIBRARIES)]
    code.append(llvmlite.binding.get_host_cpu_name())
    said = json.dumps([ends, code, config, repr(encoder.frontend)], sort_keys=True, default=str)
    above = _above(encoder.backbone, ends) if isinstance(ends, int) else ()
    weights = frozen_fingerprint(encoder.backbone, lambda name: not name.startswith(above))
    return hashlib.sha256((said + weights).encode()).hexdigest()


def _above(backbone: PreTrainedModel, layer: int) -> tuple[str, ...]:
    """How the names of parameters begin that lie above the front of a Transformer layer."""
    layout = layout_of(backbone)
    layers = range(layer, len(transformer_layers(backbone)))
    norm = (f"{layout.outer_norm}.",) if layer == 0 or is_pre_norm(backbone) else ()
    return *(f"{layout.layers}.{index}." for index in layers), *norm


def _padded(clips: Sequence[Tensor] | Tensor, frames: int) -> Tensor:
    """Clips of (..., T, d), of T each its own, as one batch of so many frames; a batch as it is."""
    if isinstance(clips, Tensor):
        return clips.clone()
    first = clips[0]
    batch = first.new_zeros(len(clips), *first.shape[:-2], frames, first.shape[-1])
    for row, clip in zip(batch, clips, strict=True):
        row[..., : clip.shape[-2], :] = clip
    return batch
