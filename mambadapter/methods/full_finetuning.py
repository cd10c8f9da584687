"""Full fine-tuning: every weight of the Transformer learns."""

from dataclasses import dataclass
from typing import ClassVar

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import front_end, never_trained
from mambadapter.methods.base import Method, register


@register
@dataclass(frozen=True)
class FullFinetuning(Method):
    """Every weight of the Transformer learns, with the checkpoint's own dropout and time masking.

    Parameters
    ----------
    train_cnn : bool
        Train the convolutional front end too; usually it is left frozen (wav2vec 2.0, section 4.3).
    """

    train_cnn: bool = False

    trains_backbone: ClassVar[bool] = True

    def adapt(self, encoder: AdaptedStack) -> None:
        """Set the backbone free."""
        backbone = encoder.backbone
        backbone.requires_grad_(True)
        for part in front_end(backbone):
            part.requires_grad_(self.train_cnn)
            # transformers' own flag, see `encoders.stack.freeze`.
            part._requires_grad = self.train_cnn  # type: ignore[assignment]  # torch: takes modules only
        for parameter in never_trained(backbone):
            parameter.requires_grad_(False)
