"""Pieces of words, learnt from texts by SentencePiece (Kudo and Richardson 2018, arXiv 1808.06226)."""

import io
import re
from collections.abc import Iterable

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from mambadapter.errors import UserError
from mambadapter.text.vocabulary import BLANK, Vocabulary

_LONGEST = (
    2**20
)  # bytes of a text; of longer ones, by default of 4192, SentencePiece would learn nothing


def train_pieces(texts: Iterable[str], token_type: str, vocab_size: int) -> bytes:
    """Learn pieces; the same ones from the same texts.

    Parameters
    ----------
    texts : Iterable[str]
        Those of the training, as they are written: nothing of them is normalised.
    token_type : {"unigram", "bpe"}
        A unigram language model (Kudo 2018, arXiv 1804.10959), or byte-pair encoding (Sennrich et al. 2016,
        arXiv 1508.07909).
    vocab_size : int
        How many pieces, the one for what is unknown among them.

    Returns
    -------
    bytes
        SentencePiece's model.

    Raises
    ------
    UserError
        If the texts have fewer pieces, or more characters.

    Example
    -------
    >>> pieces = Pieces(train_pieces(["one two", "two one two"], "bpe", 10))
    >>> pieces.vocabulary.decode(pieces.encode("two one"))
    'two one'
    """
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter([*texts]),
            model_writer=model,
            model_type=token_type,
            vocab_size=vocab_size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=_LONGEST,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,  # sums of several come in no fixed order
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _refused(vocab_size, str(error)) from error
    return model.getvalue()


def _refused(vocab_size: int, said: str) -> UserError:
    if most := re.search(r"too high .*<= (\d+)", said):
        return UserError(
            f"vocab_size={vocab_size}: the training texts give no more than {most[1]} pieces; "
            f"--vocab_size {most[1]}, or fewer."
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", said):
        return UserError(
            f"vocab_size={vocab_size}: every character of the training texts is a piece, and with the "
            f"unknown one they are {least[1]}; --vocab_size {least[1]}, or more."
        )
    return UserError(f"vocab_size={vocab_size}: SentencePiece refuses the training texts ({said}).")


class Pieces:
    """What SentencePiece has learnt.

    Parameters
    ----------
    model : bytes
        Of `train_pieces`.
    token_type : {"unigram", "bpe"}
        Which of them.

    Attributes
    ----------
    vocabulary : Vocabulary
        CTC's blank and the pieces, of which the first is the unknown one.
    """

    def __init__(self, model: bytes, token_type: str = "unigram") -> None:
        self._processor = SentencePieceProcessor(model_proto=model)
        pieces = map(self._processor.id_to_piece, range(len(self._processor)))
        self.vocabulary = Vocabulary((BLANK, *pieces), token_type)

    def encode(self, text: str) -> list[int]:
        """The indices, in the vocabulary, of the likeliest pieces that make a text."""
        return [1 + piece for piece in self._processor.encode(text)]
