"""What turns an encoder's frames into a prediction: of a clip's class, or of characters."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mambadapter.errors import UserError
from mambadapter.utils.masks import frame_mask


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


class CTCHead(nn.Module):
    """A linear layer on every frame, by choice after one bidirectional LSTM.

    Parameters
    ----------
    width : int
        Channels of the frames, d.
    tokens : int
        Outputs, CTC's blank among them.
    lstm : int
        Units of the LSTM in each direction; 0 for none.

    Example
    -------
    >>> head = CTCHead(width=16, tokens=30, lstm=8)
    >>> head(torch.randn(2, 50, 16), torch.tensor([50, 20])).shape
    torch.Size([2, 50, 30])
    """

    def __init__(self, width: int, tokens: int, lstm: int = 0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, lstm, batch_first=True, bidirectional=True) if lstm else None
        self.linear = nn.Linear(2 * lstm or width, tokens)

    def forward(self, hidden: Tensor, frames: Tensor) -> Tensor:
        """Score the tokens of every frame.

        Parameters
        ----------
        hidden : Tensor
            (B, T, d).
        frames : Tensor
            (B,) valid frames.

        Returns
        -------
        Tensor
            (B, T, tokens) logits.
        """
        if self.lstm is not None:
            # Packed, so that the backward direction starts at a clip's end and not in its padding.
            packed = pack_padded_sequence(
                hidden, frames.cpu(), batch_first=True, enforce_sorted=False
            )
            hidden, _ = pad_packed_sequence(
                self.lstm(packed)[0], batch_first=True, total_length=hidden.shape[1]
            )
        return self.linear(hidden)
