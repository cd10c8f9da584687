"""What every epoch came to, also those before a run was resumed."""

import json
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)


@register_checkpoint_hooks
class History:
    """A SpeechBrain recoverable that keeps one record an epoch.

    Attributes
    ----------
    epochs : list[dict[str, Any]]
        ``epoch``, ``lr``, and the metrics of ``train`` and ``valid``.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []

    def add(
        self, epoch: int | None, lr: float, train: dict[str, float], valid: dict[str, float]
    ) -> None:
        """Note an epoch down."""
        self.epochs.append({"epoch": epoch, "lr": lr, "train": train, "valid": valid})

    @mark_as_saver
    def save(self, path: Path) -> None:
        """Write the epochs so far."""
        Path(path).write_text(json.dumps(self.epochs), encoding="utf-8")

    @mark_as_loader
    def load(self, path: Path, end_of_epoch: bool) -> None:
        """Read them back, unless more is known: the best checkpoint, read for testing, is an older one."""
        written = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(written, list) or not all(isinstance(epoch, dict) for epoch in written):
            raise ValueError(f"{path} holds no epochs")
        self.epochs = max(written, self.epochs, key=len)
