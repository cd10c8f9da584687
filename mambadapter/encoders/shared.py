"""One frozen checkpoint in memory, and any number of adapted models that share its weights."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from types import MethodType
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.families import encoder_of, frontend_of
from mambadapter.encoders.frontend import Frontend
from mambadapter.encoders.frozen_features import FrozenPart, changed_modules, frozen_until
from mambadapter.encoders.linear import compute_faster
from mambadapter.encoders.loading import folder_or_hub, read_checkpoint, read_preprocessor
from mambadapter.encoders.speech_to_text import (
    SpeechToText,
    WholeWhisper,
    adapt_whisper,
    read_tokenizer,
)
from mambadapter.encoders.stack import Method

# What settings of modules are.
_PLAIN = (int, float, str, tuple, list, set)


class SharedCheckpoint:
    """A frozen checkpoint; models made from it hold its tensors, and own only what a method trains.

    Parameters
    ----------
    source : str
        Hub name, folder or ``mambadapter/box``.
    whole : bool
        A Whisper with its decoder; otherwise the encoder alone.
    device : str
        Where it is.

    Attributes
    ----------
    source : str
        As given.
    whole : bool
        As given.

    Example
    -------
    >>> from mambadapter.methods import LoRA
    >>> checkpoint = SharedCheckpoint("mambadapter/box")
    >>> one, other = (checkpoint.encoder(LoRA(rank=rank), {}) for rank in (2, 4))
    >>> one.backbone.get_parameter(name := "feature_projection.projection.weight") is (
    ...     other.backbone.get_parameter(name)
    ... )
    True
    """

    def __init__(self, source: str, whole: bool = False, device: str = "cpu") -> None:
        # What regularises acts in training only, and a method may train what it needs.
        model, _, self.source = read_checkpoint(source, WholeWhisper if whole else AutoModel, True)
        kept: Any = model if whole else encoder_of(model)
        self._model = kept.requires_grad_(False).to(device)
        compute_faster(self._model)  # as in the models made from it
        self._preprocessor = read_preprocessor(folder_or_hub(source))
        self._tokenizer = read_tokenizer(source) if whole else None
        self.whole, self._features, self._lock = whole, SharedFeatures(), Lock()

    def encoder(self, method: Method, settings: Mapping[str, Any]) -> AdaptedEncoder:
        """Adapt the encoder; `settings` are those of its frontend."""
        model = self._copy()
        base = getattr(model, model.base_model_prefix, model) if self.whole else model
        adapted = AdaptedEncoder(encoder_of(base), method, self._frontend(settings))
        self._own_what_learns(adapted)
        self._share_untouched(model, adapted)
        return adapted

    def whisper(
        self, language: str, method: Method, adapt: str, settings: Mapping[str, Any]
    ) -> SpeechToText:
        """Adapt the whole of a Whisper, as `load_speech_to_text`."""
        frontend = self._frontend(settings)
        model = self._copy()
        whisper = adapt_whisper(model, frontend, self._tokenizer, language, method, adapt)
        self._own_what_learns(nn.ModuleList([whisper.encoder, whisper.decoder]))
        self._share_untouched(model, whisper.encoder)
        return whisper

    def share_features(self, encoder: AdaptedEncoder) -> None:
        """From now on let models of this checkpoint compute once what none of them changes."""
        self._features.attach(encoder)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let one thread compute at a time, since models hold their batch's lengths; then free features."""
        with self._lock:
            try:
                yield
            finally:
                self._features.start(None)

    def _copy(self) -> Any:
        """The modules anew, with the same tensors in them."""
        return copy.deepcopy(self._model, {id(p): p for p in self._model.parameters()})

    def _frontend(self, settings: Mapping[str, Any]) -> Frontend:
        return frontend_of(self._model.config, self._preprocessor, settings)

    def _own_what_learns(self, model: nn.Module) -> None:
        """Copy the checkpoint's tensors that a method trains; those that are tied stay tied."""
        shared = {id(p) for p in self._model.parameters()}
        own: dict[int, nn.Parameter] = {}
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if parameter.requires_grad and id(parameter) in shared:
                    copied = own.setdefault(id(parameter), nn.Parameter(parameter.detach().clone()))
                    setattr(module, name, copied)
        self._model.requires_grad_(False)

    def _share_untouched(self, model: nn.Module, encoder: AdaptedEncoder) -> None:
        """Put the checkpoint's own modules where the copy is alike: objects take more than small adapters.

        Not those that an encoder may hook later: the next copy would copy its hooks, and it behind them.
        """
        originals = dict(self._model.named_modules())
        own = changed_modules(encoder.backbone)
        for prefix, parent in model.named_modules():
            for name, module in parent._modules.items():
                original = originals.get(f"{prefix}.{name}" if prefix else name)
                if module is None or original is None or module in own:
                    continue
                if _alike(module, original):
                    parent._modules[name] = original


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules without others inside compute the same, with the same tensors and no hooks."""
    ours, theirs = vars(one), vars(other)
    return (
        type(one) is type(other)
        and not one._modules
        and ours.keys() == theirs.keys()
        and all(_same(value, theirs[name]) for name, value in ours.items())
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, MethodType) and isinstance(other, MethodType):  # a forward of its own
        return one.__func__ is other.__func__
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    return one is other or (isinstance(one, _PLAIN) and one == other)


class SharedFeatures:
    """What lies below the first branch of several models, computed once for each batch.

    Attributes
    ----------
    computed : int
        How often it was.
    """

    def __init__(self) -> None:
        self.computed = 0
        self._wavs: Tensor | None = None
        self._kept: dict[str, tuple[Tensor, ...]] = {}

    def attach(self, encoder: AdaptedEncoder) -> None:
        """Let an encoder take part, if something of it is frozen."""
        if encoder.features is None and (ends := frozen_until(encoder)) is not None:
            encoder.features = _Share(self, FrozenPart(encoder, ends))

    def start(self, wavs: Tensor | None) -> None:
        """Keep nothing of another batch."""
        if wavs is None or wavs is not self._wavs:
            self._wavs, self._kept = wavs, {}

    def below(self, part: FrozenPart, wavs: Tensor, samples: Tensor | None) -> tuple[Tensor, ...]:
        """What `FrozenPart.below` gives, of this batch if another model has computed it."""
        self.start(wavs)
        if part.fingerprint not in self._kept:
            self.computed += 1
            self._kept[part.fingerprint] = part.below(wavs, samples)
        return self._kept[part.fingerprint]


class _Share:
    """One model's part in `SharedFeatures`."""

    def __init__(self, features: SharedFeatures, part: FrozenPart) -> None:
        self.features, self.part = features, part

    def hidden(self, wavs: Tensor, samples: Tensor | None) -> Tensor:
        return self.part.above(self.features.below(self.part, wavs, samples), wavs, samples)
