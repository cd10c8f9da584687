"""The characters that a recogniser can write."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLANK, UNKNOWN = "<blank>", "<unk>"


@dataclass(frozen=True)
class Vocabulary:
    """CTC's outputs: the blank, one for characters never seen in training, and the characters.

    Attributes
    ----------
    tokens : tuple[str, ...]
        By index; the blank is 0, the unknown 1.
    """

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocabulary":
        """Collect the characters of the training texts, in the order of their code points."""
        return cls((BLANK, UNKNOWN, *sorted(set().union(*texts))))

    @property
    def blank(self) -> int:
        """Index of CTC's blank."""
        return 0

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Indices of a text's characters; 1 for those that training never saw."""
        index = {token: number for number, token in enumerate(self.tokens)}
        return [index.get(character, 1) for character in text]

    def decode(self, indices: Sequence[int]) -> str:
        """The text of a CTC path: repeats merged, blanks and unknowns left out, words trimmed."""
        text = "".join(
            self.tokens[index]
            for place, index in enumerate(indices)
            if index > 1 and (place == 0 or index != indices[place - 1])
        )
        return " ".join(text.split())
