"""A package of any task, loaded to be written elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.encoders.loading import folder_or_hub
from mambadapter.heads import CTCHead, PooledClassifier
from mambadapter.inference.model import read_package
from mambadapter.inference.package import open_package


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
        """Load a package; arguments and errors as of `mambadapter.load_adapter`."""
        folder, card = open_package(package)
        reader, checkpoint = read_package(folder, card, source)
        encoder, head = cast(Any, reader.modules)
        tokenizer = getattr(getattr(reader, "whisper", None), "tokenizer", None)
        return cls(card, folder_or_hub(checkpoint.source), encoder, head, tokenizer)

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
