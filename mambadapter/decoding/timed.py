"""Words of a CTC path with their times, and the segments that they make."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from mambadapter.text.vocabulary import Vocabulary

# Frames of silence between words that end a segment, and frames that a segment has at most: 0.5 and 10 s.
_PAUSE, _LONGEST = 25, 500
# Frames of silence that end an utterance, and that stay around it: 0.7 and 0.2 s. One that is too long ends
# at a pause, too, where a word ends anyway.
_REST, _MARGIN = 35, 10


class Timed(NamedTuple):
    """A text, its first frame and the frame behind its last."""

    start: int
    end: int
    text: str


class Pauses:
    """Finds, piece by piece, the frames at which silence has lasted long enough to end a word.

    A recogniser that is trained on single sentences need not write a space between two of them. Pieces have
    no spaces: the first of a sentence begins a word.

    Example
    -------
    >>> pauses = Pauses(Vocabulary(("<blank>", "<unk>", " ", "a")))
    >>> list(pauses.frames([3, 0, 0])), list(pauses.frames([0] * 40)), list(pauses.frames([3] * 40))
    ([], [22], [])
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.space = vocabulary.tokens.index(" ") if " " in vocabulary.tokens else None
        self._silent = (vocabulary.blank, self.space)
        self._length = 0

    def frames(self, path: Sequence[int]) -> Iterator[int]:
        """Those of the next piece of the best path; none where words have no spaces."""
        for place, token in enumerate(path):
            self._length = self._length + 1 if token in self._silent else 0
            if self._length == _PAUSE and self.space is not None:
                yield place


def words(vocabulary: Vocabulary, path: Iterable[int]) -> Iterator[Timed]:
    """The words of a path, which may be a stream; with spaces between them they are its text.

    Pieces of SentencePiece make words, too.

    Example
    -------
    >>> vocabulary = Vocabulary(("<blank>", "<unk>", " ", "a", "b"))
    >>> [tuple(one) for one in words(vocabulary, [0, 3, 3, 0, 3, 2, 4])]
    [(1, 5, 'aa'), (6, 7, 'b')]
    """
    place, start, end, text = 0, 0, 0, ""
    for index, run in groupby(path):
        after = place + sum(1 for _ in run)
        ends, written = vocabulary.spelled(index)
        if ends:
            if text:
                yield Timed(start, end, text)
            text = ""
        if written:
            start, end = start if text else place, after
            text += written
        place = after
    if text:
        yield Timed(start, end, text)


def letters(vocabulary: Vocabulary, path: Iterable[int]) -> Iterator[Timed]:
    """Where a path, which may be a stream, is not silent, whether words have spaces or not.

    Example
    -------
    >>> vocabulary = Vocabulary(("<blank>", "<unk>", " ", "a", "b"))
    >>> [tuple(one) for one in letters(vocabulary, [0, 3, 3, 0, 3, 2, 4])]
    [(1, 3, 'a'), (4, 5, 'a'), (6, 7, 'b')]
    """
    place = 0
    for index, run in groupby(path):
        after, (_, written) = place + sum(1 for _ in run), vocabulary.spelled(index)
        if written:
            yield Timed(place, after, written)
        place = after


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


def utterances(found: Iterable[Timed], longest: int) -> Iterator[tuple[int, int]]:
    """First frame and frame behind the last of what is said without a long rest, with a little silence.

    What has more than `longest` frames is cut where it is silent for longest, if that is a pause at least.

    Example
    -------
    >>> said = [Timed(5, 20, "aa"), Timed(46, 60, "b"), Timed(95, 99, "b")]
    >>> list(utterances(said, 500)), list(utterances(said, 50))
    ([(0, 70), (85, 109)], [(0, 30), (36, 70), (85, 109)])
    """
    part: list[Timed] = []
    before = _MARGIN
    for word in found:
        if part and (rest := word.start - part[-1].end) >= _REST:
            after = min(_MARGIN, rest // 2)
            yield from _cut(part, longest, before, after)
            part, before = [], after
        part.append(word)
    if part:
        yield from _cut(part, longest, before, _MARGIN)


def _cut(part: list[Timed], longest: int, before: int, after: int) -> Iterator[tuple[int, int]]:
    """The spans of words, with so much silence before and after them."""
    rests = [two.start - one.end for one, two in pairwise(part)]
    widest = max(rests, default=0)
    if part[-1].end - part[0].start <= longest or widest < _PAUSE:
        yield max(0, part[0].start - before), part[-1].end + after
        return
    place, margin = rests.index(widest) + 1, min(_MARGIN, widest // 2)
    yield from _cut(part[:place], longest, before, margin)
    yield from _cut(part[place:], longest, margin, after)


def _joined(part: list[Timed]) -> Timed:
    return Timed(part[0].start, part[-1].end, " ".join(word.text for word in part))
