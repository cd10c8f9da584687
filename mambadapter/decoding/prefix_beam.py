"""SpeechBrain's prefix beam search, on recordings of any length."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from speechbrain.decoders import CTCPrefixBeamSearcher
from speechbrain.decoders.ctc import CTCBeam
from torch import Tensor

from mambadapter.decoding.timed import Pauses, Timed
from mambadapter.errors import UserError, first_line
from mambadapter.text.vocabulary import UNKNOWN, WORD_START, Vocabulary

# Frames after which words that all texts of a beam begin with are given out: 1 s.
_STEP = 50
# Words that texts of a beam may differ in, the latest; it keeps those that agree with the best on the others.
_UNSETTLED = 50


class PrefixBeamSearch:
    """Prefix beam search (Hannun et al. 2014, arXiv 1408.2873) with an n-gram model of words.

    Words come out once all texts of the beam agree on them. No more is held than is open, and it changes
    nothing: what the texts have in common does not tell them apart.

    Parameters
    ----------
    vocabulary : Vocabulary
        What scores are of.
    beam_size : int
        Texts that are kept.
    language_model : str, optional
        A file, ``.arpa`` or KenLM's.
    lm_weight, word_score : float
        As of `mambadapter.decoding.ctc.Decoding`.

    Raises
    ------
    UserError
        If the model cannot be read.

    Example
    -------
    >>> import torch
    >>> vocabulary = Vocabulary(("<blank>", "<unk>", " ", "a", "b"))
    >>> scores = 9 * torch.nn.functional.one_hot(torch.tensor([3, 0, 3, 2, 4]), 5).float()
    >>> search = PrefixBeamSearch(vocabulary, beam_size=4)
    >>> [word.text for word in search.words([search.reads(scores)])]
    ['aa', 'b']
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        beam_size: int,
        language_model: str | None = None,
        lm_weight: float = 0.5,
        word_score: float = 1.5,
    ) -> None:
        self._vocabulary = vocabulary
        self._search = _searcher(
            language_model,
            blank_index=vocabulary.blank,
            vocab_list=list(vocabulary.tokens),
            space_token=" ",
            alpha=lm_weight,
            beta=word_score,
            beam_size=beam_size,
        )
        # Words of history that pruning, or the model, looks at.
        self._history = 1 if self._search.lm is None else max(1, self._search.lm.order - 1)

    def reads(self, scores: Tensor) -> Tensor:
        """Log-probabilities."""
        return scores.float().log_softmax(-1).cpu()

    def words(self, pieces: Iterable[Tensor]) -> Iterator[Timed]:
        """The words of pieces of (T, tokens) log-probabilities."""
        search = self._search
        start = None if search.lm is None else search.lm.get_start_state()
        scores: dict[tuple[str, bool], Any] = {("", False): (0.0, start)}
        beams, place, pauses = [_nothing()], 0, Pauses(self._vocabulary)
        for piece in pieces:
            for step in self._spaced(piece, pauses).split(_STEP):
                beams = search.partial_decoding(step.numpy(), len(step), beams, scores, {}, place)
                place += len(step)
                settled, beams, scores = self._settle(beams, scores)
                yield from settled
        for beam in beams:
            if (
                not beam.partial_word
            ):  # else the model would be asked for a last word without letters
                scores[(beam.full_text, True)] = scores.get((beam.full_text, False))
        best, *_ = search.finalize_decoding(beams, scores, {}, is_end=True)
        yield from _timed(best.full_text.split(), best.text_frames)

    @staticmethod
    def _spaced(piece: Tensor, pauses: Pauses) -> Tensor:
        """With a certain space in each pause."""
        places = list(pauses.frames(piece.argmax(-1).tolist()))
        if places:
            piece = piece.clone()
            piece[places] = -torch.inf
            piece[places, pauses.space] = 0.0
        return piece

    def _settle(
        self, beams: list[CTCBeam], scores: dict[tuple[str, bool], Any]
    ) -> tuple[list[Timed], list[CTCBeam], dict[tuple[str, bool], Any]]:
        """Take off the words that no text can change any more, and forget scores of texts that are gone."""
        best = beams[0].full_text.split()
        agreed = best[: max(0, len(best) - _UNSETTLED)]
        beams = [beam for beam in beams if beam.full_text.split()[: len(agreed)] == agreed]
        count = max(0, _agreed([beam.full_text.split() for beam in beams]) - self._history)
        settled = list(_timed(best[:count], beams[0].text_frames[:count]))
        kept = {}
        for beam in beams:
            score = scores.get((beam.full_text, False))
            beam.text = _without(beam.text, count)
            beam.full_text = _without(beam.full_text, count)
            beam.text_frames = beam.text_frames[count:]
            kept[(beam.full_text, False)] = score
        return settled, beams, kept


class _Searcher(CTCPrefixBeamSearcher):
    """SpeechBrain's; a doubled letter is in the word that the language model is asked for, too.

    Beams of pieces are told apart by their pieces: SpeechBrain looks for one that begins a word under a text
    that none has, so that it would be there once for every frame.
    """

    space_index = -1  # of pieces, which have none

    def _get_new_beam(
        self,
        frame_index: int,
        new_prefix: str,
        new_token: str,
        new_token_index: int,
        beams: list[CTCBeam],
        p: float,
        previous_beam: CTCBeam,
    ) -> CTCBeam:
        known = len(beams)
        begins = self.is_spm and new_token.startswith(WORD_START)
        if self.is_spm:
            # A mark that no piece has within it stands between those of a word.
            written = " " + new_token[1:] if begins else WORD_START + new_token
            new_prefix = previous_beam.text + written
        beam = super()._get_new_beam(
            frame_index, new_prefix, new_token, new_token_index, beams, p, previous_beam
        )
        doubled = new_token_index == previous_beam.last_token_index != self.space_index
        if len(beams) > known and doubled and not begins:
            beam.partial_word += new_token
        return beam


def _searcher(language_model: str | None, **settings: Any) -> _Searcher:
    if language_model is None:
        return _Searcher(**settings)
    path = Path(language_model).expanduser()
    if not path.is_file():
        raise UserError(
            f"language_model: there is no file {language_model}. Say where it is, or do without (none)."
        )
    try:
        searcher = _Searcher(kenlm_model_path=str(path), **settings)
    except ImportError as error:
        raise UserError(
            "language_model needs the packages kenlm and pygtrie; install them (pip install kenlm pygtrie), "
            "or leave the model out."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"language_model: {language_model} cannot be read as an n-gram model, .arpa or KenLM's "
            f"({first_line(error)})."
        ) from error
    if path.suffix != ".arpa":
        # Which words begin with some letters only an .arpa tells; without it each word would cost as an
        # unknown one does until its last letter.
        searcher.lm.score_partial_token = lambda letters: 0.0
    return searcher


def _agreed(texts: Sequence[list[str]]) -> int:
    """How many words all texts begin with."""
    first, last = min(texts), max(texts)  # in the order of a lexicon the farthest apart
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    )


def _nothing() -> CTCBeam:
    """The beam before the first frame."""
    return CTCBeam(
        text="",
        full_text="",
        next_word="",
        partial_word="",
        last_token=None,
        last_token_index=None,
        text_frames=[],
        partial_frames=(-1, -1),
        score=0.0,
        score_ctc=0.0,
        p_b=0.0,
    )


def _timed(found: list[str], frames: list[tuple[int, int]]) -> Iterator[Timed]:
    for word, (start, end) in zip(found, frames, strict=True):
        if text := word.replace(UNKNOWN, ""):
            yield Timed(start, end, text)


def _without(text: str, count: int) -> str:
    """A text without its first words; a space at its end stays."""
    return text.split(None, count)[count] if count else text
