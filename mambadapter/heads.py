"""What turns an encoder's frames into a prediction."""

import torch
from torch import Tensor, nn

from mambadapter.encoders.padding import frame_mask
from mambadapter.errors import UserError


class PooledClassifier(nn.Module):
    """Mean over a clip's valid frames, then one linear layer (arXiv 2606.15638, section 3).

    Parameters
    ----------
    width : int
        Channels of the frames, d.
    classes : int
        Number of classes.

    Raises
    ------
    UserError
        If there are fewer than two classes.

    Example
    -------
    >>> head = PooledClassifier(width=16, classes=3)
    >>> head(torch.randn(2, 50, 16), torch.tensor([50, 20])).shape
    torch.Size([2, 3])
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise UserError(
                f"{classes} class leaves nothing to classify; give data with at least two."
            )
        self.linear = nn.Linear(width, classes)

    def forward(self, hidden: Tensor, frames: Tensor) -> Tensor:
        """Classify a batch.

        Parameters
        ----------
        hidden : Tensor
            (B, T, d).
        frames : Tensor
            (B,) valid frames.

        Returns
        -------
        Tensor
            (B, classes) logits.
        """
        valid = frame_mask(frames, hidden.shape[1])[..., None]
        # `where` and not a product: whatever stands in the padding, even inf, must not come through.
        total = torch.where(valid, hidden, 0.0).sum(1)
        return self.linear(total / frames[:, None].to(hidden.dtype))
