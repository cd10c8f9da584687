"""One frozen checkpoint in memory, and any number of adapted models that share its weights."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.families import encoder_of, frontend_of
from mambadapter.encoders.frontend import Frontend
from mambadapter.encoders.frozen_features import FrozenPart, frozen_until
from mambadapter.encoders.loading import folder_or_hub, read_checkpoint, read_preprocessor
from mambadapter.encoders.speech_to_text import (
    SpeechToText,
    WholeWhisper,
    adapt_whisper,
    read_tokenizer,
)
from mambadapter.encoders.stack import Method


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
        self._preprocessor = read_preprocessor(folder_or_hub(source))
        self._tokenizer = read_tokenizer(source) if whole else None
        self.whole, self._features = whole, SharedFeatures()

    def encoder(self, method: Method, settings: Mapping[str, Any]) -> AdaptedEncoder:
        """Adapt the encoder; `settings` are those of its frontend."""
        model = self._copy()
        base = getattr(model, model.base_model_prefix, model) if self.whole else model
        adapted = AdaptedEncoder(encoder_of(base), method, self._frontend(settings))
        self._own_what_learns(adapted)
        return adapted

    def whisper(
        self, language: str, method: Method, adapt: str, settings: Mapping[str, Any]
    ) -> SpeechToText:
        """Adapt the whole of a Whisper, as `load_speech_to_text`."""
        frontend = self._frontend(settings)
        whisper = adapt_whisper(self._copy(), frontend, self._tokenizer, language, method, adapt)
        self._own_what_learns(nn.ModuleList([whisper.encoder, whisper.decoder]))
        return whisper

    def share_features(self, encoder: AdaptedEncoder) -> None:
        """From now on let models of this checkpoint compute once what none of them changes."""
        self._features.attach(encoder)

    def forget_features(self) -> None:
        """Free what was computed of the last batch."""
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
