"""BitFit: the biases learn (Ben Zaken et al. 2022, arXiv 2106.10199)."""

from dataclasses import dataclass

from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import outer_norm
from mambadapter.methods.base import Method, register


@register
@dataclass(frozen=True)
class BitFit(Method):
    """Every bias of the Transformer layers learns (Ben Zaken et al. 2022, arXiv 2106.10199).

    Those of the keys are among them, as published and as the paper counts, although a softmax over keys
    is the same whatever they are.
    """

    def adapt(self, encoder: AdaptedStack) -> None:
        """Set the biases free."""
        for module in (*encoder.layers, outer_norm(encoder.backbone)):
            for name, parameter in module.named_parameters():
                if name.rpartition(".")[2] == "bias":
                    parameter.requires_grad_(True)
