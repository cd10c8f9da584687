"""Words of a CTC path with their times, and the segments that they make."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from mambadapter.text.vocabulary import UNKNOWN, Vocabulary

# Frames of silence between words that end a segment, and frames that a segment has at most: 0.5 and 10 s.
_PAUSE, _LONGEST = 25, 500


class Timed(NamedTuple):
    """A text, its first frame and the frame behind its last."""

    start: int
    end: int
    text: str


def words(vocabulary: Vocabulary, path: Iterable[int]) -> Iterator[Timed]:
    """The words of a path, which may be a stream; with spaces between them they are its text.

    Example
    -------
    >>> vocabulary = Vocabulary(("<blank>", "<unk>", " ", "a", "b"))
    >>> [tuple(one) for one in words(vocabulary, [0, 3, 3, 0, 3, 2, 4])]
    [(1, 5, 'aa'), (6, 7, 'b')]
    """
    place, start, end, text = 0, 0, 0, ""
    silent = (vocabulary.blank, vocabulary.tokens.index(UNKNOWN))
    for index, run in groupby(path):
        after = place + sum(1 for _ in run)
        if vocabulary.tokens[index] == " ":
            if text:
                yield Timed(start, end, text)
            text = ""
        elif index not in silent:
            start, end = start if text else place, after
            text += vocabulary.tokens[index]
        place = after
    if text:
        yield Timed(start, end, text)


def segments(found: Iterable[Timed]) -> Iterator[Timed]:
    """Put words together that follow each other without a long pause.

    Example
    -------
    >>> [tuple(one) for one in segments([Timed(1, 5, "aa"), Timed(6, 7, "b"), Timed(38, 40, "b")])]
    [(1, 7, 'aa b'), (38, 40, 'b')]
    """
    part: list[Timed] = []
    for word in found:
        if part and (word.start - part[-1].end >= _PAUSE or word.end - part[0].start > _LONGEST):
            yield _joined(part)
            part = []
        part.append(word)
    if part:
        yield _joined(part)


def _joined(part: list[Timed]) -> Timed:
    return Timed(part[0].start, part[-1].end, " ".join(word.text for word in part))
