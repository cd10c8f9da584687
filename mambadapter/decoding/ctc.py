"""From CTC's log-probabilities to text: the best path, or SpeechBrain's prefix beam search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speechbrain.decoders import CTCPrefixBeamSearcher
from torch import Tensor

from mambadapter.errors import UserError
from mambadapter.text.vocabulary import Vocabulary
from mambadapter.validators import one_of

Searcher = Callable[[Tensor, Tensor], list[str]]


def greedy_texts(vocabulary: Vocabulary, log_probabilities: Tensor, frames: Tensor) -> list[str]:
    """The text of each clip's best path.

    Shapes: `log_probabilities` (B, T, tokens), `frames` (B,).
    """
    best = log_probabilities.argmax(-1).tolist()
    return [
        vocabulary.decode(path[:count]) for path, count in zip(best, frames.tolist(), strict=True)
    ]


def beam_searcher(vocabulary: Vocabulary, hparams: Any) -> Searcher | None:
    """Make the search that a YAML asks for."""
    one_of("decoding", hparams.decoding, ("greedy", "beam"))
    if hparams.decoding == "greedy":
        if hparams.language_model is not None:
            raise UserError("language_model is read by beam search only; add --decoding beam.")
        return None
    model = hparams.language_model
    if model is not None and not Path(model).expanduser().is_file():
        raise UserError(f"language_model: there is no file {model}.")
    try:
        searcher = CTCPrefixBeamSearcher(
            blank_index=vocabulary.blank,
            vocab_list=list(vocabulary.tokens),
            space_token=" ",
            kenlm_model_path=None if model is None else str(Path(model).expanduser()),
            beam_size=hparams.beam_size,
        )
    except ImportError as error:
        raise UserError(
            "language_model needs the packages kenlm and pygtrie; install them (pip install kenlm pygtrie), "
            "or leave the model out."
        ) from error

    def search(log_probabilities: Tensor, frames: Tensor) -> list[str]:
        lens = frames / log_probabilities.shape[1]
        found = searcher(log_probabilities.cpu(), lens.cpu())
        return [" ".join(best[0].text.replace("<unk>", "").split()) for best in found]

    return search
