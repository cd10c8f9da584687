"""What training takes that says something of a whole clip, be it of one label or of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import speechbrain as sb
from torch import Tensor, nn

from mambadapter.training.brain import EncoderBrain


class ClipBrain(EncoderBrain):
    """An `EncoderBrain` whose head gives a clip (classes,) logits.

    The other arguments are `EncoderBrain`'s; `mambadapter.config.schema` names the keys of the YAML.

    Parameters
    ----------
    labels : Sequence[str]
        The names of the classes.
    class_weights : Tensor, optional
        (classes,), of the training loss.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *args: Any,
        labels: Sequence[str] = (),
        class_weights: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(modules, *args, **kwargs)
        self._labels = labels
        self._weights = None if class_weights is None else class_weights.to(self.device)
        self._prior.weights = None if class_weights is None else class_weights.tolist()
        self.start_augmenting()

    @property
    def package(self) -> dict[str, Any]:
        """What `mambadapter.inference.save_package` is told of the task."""
        raise NotImplementedError

    def calibrate(
        self, valid: Any, unknown: Any = None, loader: Mapping[str, Any] | None = None
    ) -> None:
        """Learn from validation data how sure the trained classifier is, where its task asks for that.

        Parameters
        ----------
        valid : DynamicItemDataset
            Validation clips.
        unknown : DynamicItemDataset, optional
            Clips of none of the classes.
        loader : Mapping[str, Any], optional
            Options of torch's DataLoader.
        """

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Tensor:
        """(B, classes) logits of a batch."""
        return self.modules.head(*self.encode(*self.heard(batch, stage)))
