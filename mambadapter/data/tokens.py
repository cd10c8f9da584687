"""The tokens of a recogniser by CTC, from the training transcripts alone."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from mambadapter.errors import UserError
from mambadapter.text.pieces import Pieces, train_pieces
from mambadapter.text.vocabulary import CHAR, TOKEN_TYPES
from mambadapter.utils.files import whole_file
from mambadapter.validators import one_of

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Tokens:
    """What a YAML asks for.

    Attributes
    ----------
    token_type : {"char", "unigram", "bpe"}
        Characters, or pieces that SentencePiece learns.
    vocab_size : int or None
        How many pieces; None: characters.
    model : Path or None
        Where SentencePiece's model is kept, so that a run that goes on has the same pieces; None: nowhere.

    Raises
    ------
    UserError
        If the two do not go together.

    Example
    -------
    >>> Tokens("unigram", 500).has_pieces
    True
    """

    token_type: str = CHAR
    vocab_size: int | None = None
    model: Path | None = None

    def __post_init__(self) -> None:
        one_of("token_type", self.token_type, TOKEN_TYPES)
        if self.has_pieces and self.vocab_size is None:
            raise UserError(
                f"token_type: {self.token_type} needs to know how many pieces; add --vocab_size 500."
            )
        if not self.has_pieces and self.vocab_size is not None:
            raise UserError(
                "vocab_size is of pieces; add --token_type unigram, or bpe, or leave it out."
            )

    @property
    def has_pieces(self) -> bool:
        """Whether SentencePiece learns them."""
        return self.token_type != CHAR

    def pieces(self, texts: Collection[str]) -> Pieces:
        """Learn pieces from texts, or read what was learnt from them before."""
        assert self.vocab_size is not None
        if self.model is None or not self.model.is_file():
            model = train_pieces(texts, self.token_type, self.vocab_size)
            if self.model is not None:
                with whole_file(self.model) as partial:
                    partial.write_bytes(model)
            return Pieces(model, self.token_type)
        try:
            return Pieces(self.model.read_bytes(), self.token_type)
        except RuntimeError as error:
            raise UserError(
                f"{self.model} is no whole model; delete it, it is made again."
            ) from error
