"""A training step to be timed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mambadapter.encoders import AdaptedEncoder
from mambadapter.ssm import set_backend


class Step:
    """An encoder and a head with their optimiser, and noise to learn; calling it trains one step.

    With tokens the head is a decoder that writes them, without it tells the clips apart.
    """

    def __init__(
        self,
        encoder: AdaptedEncoder,
        head: nn.Module,
        clips: int,
        seconds: int,
        tokens: int = 0,
        lr: float = 1e-4,
        backend: str = "auto",
        half: bool = False,
    ) -> None:
        self.modules = encoder.train(), head.train()
        self.learning = [p for m in self.modules for p in m.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, lr=lr)
        device = next(encoder.parameters()).device
        self.wavs = torch.randn(clips, seconds * 16000, device=device)
        written = torch.randint(5, 1000, (clips, tokens), device=device)
        self.written = [written] if tokens else []
        self.labels = written if tokens else torch.arange(clips, device=device)
        self.backend, self.half = backend, half

    def forward(self) -> Tensor:
        """The loss."""
        encoder, head = self.modules
        set_backend(self.backend)
        with torch.autocast(self.wavs.device.type, torch.bfloat16, enabled=self.half):
            logits = head(*encoder(self.wavs), *self.written)
        return F.cross_entropy(logits.float().flatten(0, -2), self.labels.flatten())

    def __call__(self) -> None:
        self.optimiser.zero_grad()
        self.forward().backward()
        self.optimiser.step()
