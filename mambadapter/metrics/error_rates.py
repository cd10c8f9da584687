"""Word and character error rates, their intervals and their alignments, by SpeechBrain's metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from speechbrain.utils.metric_stats import ErrorRateStats

_RESAMPLES = 2000


class ErrorRates:
    """Collects what was recognised and what was said."""

    def __init__(self) -> None:
        self._by_name = {"wer": ErrorRateStats(), "cer": ErrorRateStats()}

    def append(self, ids: Sequence[str], texts: Sequence[str], spoken: Sequence[str]) -> None:
        """Add clips by their names: what was recognised, and what is right."""
        words, characters = self._by_name["wer"], self._by_name["cer"]
        words.append(ids, [t.split() for t in texts], [t.split() for t in spoken])
        characters.append(ids, [list(t) for t in texts], [list(t) for t in spoken])

    def metrics(self) -> dict[str, float]:
        """Error rates as fractions, with 95 % intervals by bootstrap over utterances."""
        metrics: dict[str, float] = {}
        for name, stats in self._by_name.items():
            rate, low, high = error_rate(stats)
            metrics |= {name: rate, f"{name}_low": low, f"{name}_high": high}
        return {**metrics, "utterances": len(self._by_name["wer"].ids)}

    def scores(self, name: str) -> dict[str, dict[str, Any]]:
        """SpeechBrain's details of each clip, by its name: of ``wer`` or ``cer`` edits and alignment."""
        return {score["key"]: score for score in self._by_name[name].scores}

    def write(self, folder: str | Path) -> None:
        """Write the alignments to ``wer_test.txt`` and ``cer_test.txt``."""
        for name, stats in self._by_name.items():
            with (Path(folder) / f"{name}_test.txt").open("w", encoding="utf-8") as file:
                stats.write_stats(file)


def error_rate(stats: ErrorRateStats) -> tuple[float, float, float]:
    """Errors per reference word (or character), and the 95 % interval by bootstrap over utterances."""
    errors = np.array([score["num_edits"] for score in stats.scores], dtype=float)
    lengths = np.array([score["num_ref_tokens"] for score in stats.scores], dtype=float)
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(errors), size=(_RESAMPLES, len(errors)))
    totals = np.maximum(lengths[drawn].sum(1), 1)
    low, high = np.quantile(errors[drawn].sum(1) / totals, [0.025, 0.975])
    return float(errors.sum() / max(lengths.sum(), 1)), float(low), float(high)
