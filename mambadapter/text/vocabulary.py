"""What a recogniser can write: characters, or pieces of words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

BLANK, UNKNOWN = "<blank>", "<unk>"

# Characters, and SentencePiece's two kinds of pieces; SpeechBrain's names.
CHAR, UNIGRAM, BPE = TOKEN_TYPES = ("char", "unigram", "bpe")

WORD_START = "\u2581"  # SentencePiece's mark, with which a piece begins that begins a word


@dataclass(frozen=True)
class Vocabulary:
    """CTC's outputs: the blank, one for what was never seen in training, and characters or pieces.

    Attributes
    ----------
    tokens : tuple[str, ...]
        By index; the blank is 0, the unknown 1.
    token_type : {"char", "unigram", "bpe"}
        What they are.
    """

    tokens: tuple[str, ...]
    token_type: str = CHAR

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocabulary":
        """Collect the characters of the training texts, in the order of their code points."""
        return cls((BLANK, UNKNOWN, *sorted(set().union(*texts))))

    @property
    def blank(self) -> int:
        """Index of CTC's blank."""
        return 0

    @property
    def has_pieces(self) -> bool:
        """Whether words begin with a mark, instead of a space between them."""
        return self.token_type != CHAR

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Indices of a text's characters; 1 for those that training never saw."""
        index = {token: number for number, token in enumerate(self.tokens)}
        return [index.get(character, 1) for character in text]

    def spelled(self, index: int) -> tuple[bool, str]:
        """Whether a token ends the word before it, and the letters that it writes then.

        Example
        -------
        >>> pieces = Vocabulary(("<blank>", "<unk>", "\u2581th", "e"), "unigram")
        >>> [pieces.spelled(index) for index in range(4)]
        [(False, ''), (False, ''), (True, 'th'), (False, 'e')]
        """
        token = self.tokens[index]
        if index < 2:
            return False, ""
        if self.has_pieces:
            return token.startswith(WORD_START), token.removeprefix(WORD_START)
        return (True, "") if token == " " else (False, token)

    def decode(self, indices: Sequence[int]) -> str:
        """The text of a CTC path: repeats merged, blanks and unknowns left out, words trimmed."""
        spelled = (self.spelled(index) for index, _ in groupby(indices))
        return " ".join("".join(" " * ends + letters for ends, letters in spelled).split())
