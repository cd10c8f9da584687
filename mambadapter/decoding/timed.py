"""Words of a CTC path with their times."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from mambadapter.text.vocabulary import Vocabulary

# Frames of silence between words that end a segment, and frames that a segment has at most: 0.5 and 10 s.
_PAUSE, _LONGEST = 25, 500


def segments(vocabulary: Vocabulary, path: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """First frame, frame behind the last, and text of each part of a path.

    Parts are words that follow each other without a long pause; with spaces between them, their texts are
    that of the whole path.

    Example
    -------
    >>> vocabulary = Vocabulary(("<blank>", "<unk>", " ", "a", "b"))
    >>> list(segments(vocabulary, [0, 3, 3, 0, 3, 2, 4] + [0] * 30 + [2, 4, 4]))
    [(1, 7, 'aa b'), (38, 40, 'b')]
    """
    found: list[tuple[int, int]] = []
    for start, end in _words(vocabulary, path):
        if found and (start - found[-1][1] >= _PAUSE or end - found[0][0] > _LONGEST):
            yield found[0][0], found[-1][1], _text(vocabulary, path, found)
            found = []
        found.append((start, end))
    if found:
        yield found[0][0], found[-1][1], _text(vocabulary, path, found)


def _words(vocabulary: Vocabulary, path: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First frame and frame behind the last of each word."""
    place, word = 0, None
    for index, run in groupby(path):
        end = place + len(list(run))
        token = vocabulary.tokens[index]
        if token == " " and word is not None:
            yield word
            word = None
        elif index > 1 and token != " ":
            word = (place if word is None else word[0], end)
        place = end
    if word is not None:
        yield word


def _text(vocabulary: Vocabulary, path: Sequence[int], words: Sequence[tuple[int, int]]) -> str:
    return " ".join(vocabulary.decode(path[start:end]) for start, end in words)
