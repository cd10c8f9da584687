"""From CTC's scores to words with times: the best path, or a beam with an n-gram model of words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from mambadapter.decoding.prefix_beam import PrefixBeamSearch
from mambadapter.decoding.timed import Pauses, Timed, words
from mambadapter.errors import UserError
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.validators import check_types, one_of, positive_integer

NO_MODEL = "none"
_MODEL_NEEDS_BEAM = "language_model is read by beam search only"


@dataclass(frozen=True)
class Decoding:
    """How texts are found.

    Attributes
    ----------
    beam_size : int
        Texts that beam search keeps; 1: the best path, greedily.
    language_model : str or None
        For beam search: an n-gram model of words, ``.arpa`` or KenLM's ``.bin``.
    lm_weight : float
        What its log-probabilities are multiplied with.
    word_score : float
        What each word adds beside them, in nats; it makes up for a model that prefers few words. Without a
        model neither does anything.

    Example
    -------
    >>> Decoding().greedy, Decoding(beam_size=50).greedy
    (True, False)
    """

    beam_size: int = 1
    language_model: str | None = None
    lm_weight: float = 0.5
    word_score: float = 1.5

    def __post_init__(self) -> None:
        positive_integer("beam", self.beam_size)
        check_types(self)
        if self.lm_weight < 0:
            raise UserError(
                f"lm_weight={self.lm_weight} is impossible: give a number of at least 0."
            )
        if self.language_model is not None and not isinstance(self.language_model, str):
            raise UserError(f"language_model={self.language_model!r} is no path.")
        if self.greedy and self.language_model is not None:
            raise UserError(f"{_MODEL_NEEDS_BEAM}; give a beam of 2 or more too, such as 50.")

    @property
    def greedy(self) -> bool:
        """The likeliest token of every frame, and no search."""
        return self.beam_size == 1

    def changed(
        self,
        beam: int | None = None,
        language_model: str | Path | None = None,
        lm_weight: float | None = None,
        word_score: float | None = None,
    ) -> "Decoding":
        """With what is not None in its place; ``none`` is no model, which a beam of 1 has either.

        Example
        -------
        >>> Decoding(50, "words.arpa").changed(beam=1)
        Decoding(beam_size=1, language_model=None, lm_weight=0.5, word_score=1.5)
        """
        if language_model is None:
            model = None if beam == 1 else self.language_model
        else:
            model = None if language_model == NO_MODEL else str(language_model)
        changed = Decoding(
            beam_size=self.beam_size if beam is None else beam,
            language_model=model,
            lm_weight=self.lm_weight if lm_weight is None else lm_weight,
            word_score=self.word_score if word_score is None else word_score,
        )
        if model is None and (lm_weight is not None or word_score is not None):
            raise UserError(
                "lm_weight and word_score are of a language model; give one too, --language_model FILE."
            )
        return changed

    @classmethod
    def of(cls, hparams: Any) -> "Decoding":
        """What a YAML asks for."""
        one_of("decoding", hparams.decoding, ("greedy", "beam"))
        greedy, model = hparams.decoding == "greedy", hparams.language_model
        if greedy and model is not None:
            raise UserError(f"{_MODEL_NEEDS_BEAM}; add --decoding beam.")
        return cls(
            beam_size=1 if greedy else hparams.beam_size,
            # A file must be found again from wherever a package is used.
            language_model=None if model is None else str(Path(model).expanduser().resolve()),
            lm_weight=hparams.lm_weight,
            word_score=hparams.word_score,
        )


class Decoder(Protocol):
    """What finds words, of a clip at once or piece by piece."""

    def reads(self, scores: Tensor) -> Tensor:
        """What it takes of (..., tokens) scores, on the CPU."""
        ...

    def words(self, pieces: Iterable[Tensor]) -> Iterator[Timed]:
        """The words of a recording, given as pieces of what `reads` returned, in time's order."""
        ...


class BestPath:
    """The likeliest token of every frame."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def reads(self, scores: Tensor) -> Tensor:
        """The tokens."""
        return scores.argmax(-1).cpu()

    def words(self, pieces: Iterable[Tensor]) -> Iterator[Timed]:
        """The words of pieces of (T,) tokens."""
        return words(self._vocabulary, self._path(pieces))

    def _path(self, pieces: Iterable[Tensor]) -> Iterator[int]:
        pauses = Pauses(self._vocabulary)
        for piece in pieces:
            path = piece.tolist()
            for place in pauses.frames(path):
                path[place] = pauses.space
            yield from path


@lru_cache(maxsize=4)  # a language model may be large, and is read from disk
def decoder_of(vocabulary: Vocabulary, decoding: Decoding) -> Decoder:
    """Make the decoder that settings ask for."""
    if decoding.greedy:
        return BestPath(vocabulary)
    return PrefixBeamSearch(
        vocabulary,
        decoding.beam_size,
        decoding.language_model,
        decoding.lm_weight,
        decoding.word_score,
    )


def texts(decoder: Decoder, scores: Tensor, frames: Tensor) -> list[str]:
    """The text of each clip.

    Shapes: `scores` (B, T, tokens), `frames` (B,).
    """
    clips = zip(decoder.reads(scores), frames.tolist(), strict=True)
    return [" ".join(word.text for word in decoder.words([clip[:n]])) for clip, n in clips]


def greedy_texts(vocabulary: Vocabulary, scores: Tensor, frames: Tensor) -> list[str]:
    """The text of each clip's best path; shapes as of `texts`."""
    return texts(BestPath(vocabulary), scores, frames)
