"""A package of any task, loaded to be written elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.encoders.loading import folder_or_hub
from mambadapter.heads import CTCHead, PooledClassifier
from mambadapter.inference.package import (
    CLASSIFICATION,
    SEQ2SEQ,
    encoder_source,
    load_package,
    open_package,
)
from mambadapter.inference.transcribers import load_whisper_package


@dataclass(frozen=True)
class Loaded:
    """What a package holds, not folded.

    Attributes
    ----------
    card : dict[str, Any]
        Its ``adapter.json``.
    source : str
        The frozen encoder's folder, or hub name.
    encoder : AdaptedEncoder
        The encoder.
    head : PooledClassifier, CTCHead or AdaptedDecoder
        What stands on it.
    tokenizer : Any
        A Whisper's own.
    """

    card: dict[str, Any]
    source: str
    encoder: AdaptedEncoder
    head: PooledClassifier | CTCHead | AdaptedDecoder
    tokenizer: Any = None

    @classmethod
    def of(cls, package: str | Path, source: str | None) -> "Loaded":
        """Load a package; arguments and errors as of `mambadapter.inference.Classifier.from_package`."""
        _, card = open_package(package)
        where = folder_or_hub(encoder_source(card, source)["source"])
        if card["task"] == SEQ2SEQ:
            whisper, _, card = load_whisper_package(package, source)
            return cls(card, where, whisper.encoder, whisper.decoder, whisper.tokenizer)
        encoder, head, card = load_package(package, source, card["task"], _head)
        return cls(card, where, encoder, head)

    @property
    def family(self) -> str:
        """The encoder's, by transformers' name."""
        return self.encoder.backbone.config.model_type

    @property
    def method(self) -> str:
        """The method's name."""
        return self.card["method"]["name"]

    def fold(self) -> None:
        """Fold what can be folded."""
        self.encoder.fold()
        if isinstance(self.head, AdaptedDecoder):
            self.head.fold()


def _head(width: int, card: Any) -> PooledClassifier | CTCHead:
    if card["task"] == CLASSIFICATION:
        return PooledClassifier(width, len(card["labels"]))
    return CTCHead(width, len(card["labels"]), card["lstm"])
