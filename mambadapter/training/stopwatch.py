"""How long a run has taken, all its starts together."""

import time
from pathlib import Path

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)


@register_checkpoint_hooks
class Stopwatch:
    """A SpeechBrain recoverable that goes on counting when a run is resumed.

    Only what is recovered first counts as time before: the best checkpoint, which is recovered for
    testing, is older than the run.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._before: float | None = None

    @property
    def seconds(self) -> float:
        """Since the run first started, the time between its starts left out."""
        return (self._before or 0.0) + time.monotonic() - self._started

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write the time so far."""
        self._before = self._before or 0.0
        Path(path).write_text(f"{self.seconds:.3f}\n", encoding="utf-8")

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Go on from the time that was written."""
        if self._before is None:
            self._before = float(Path(path).read_text(encoding="utf-8"))
