"""A training step to be timed."""

from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig

from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.families import encoder_of, frontend_of
from mambadapter.heads import PooledClassifier
from mambadapter.methods.base import Method
from mambadapter.ssm import set_backend

_CLASSES = 35


class Step:
    """An encoder and a head with their optimiser, and noise to learn; calling it trains one step.

    With tokens the head is a decoder that writes them, without it tells the clips apart.
    """

    def __init__(
        self,
        encoder: AdaptedEncoder,
        head: nn.Module,
        clips: int,
        seconds: float,
        tokens: int = 0,
        lr: float = 1e-4,
        backend: str = "auto",
        half: bool = False,
    ) -> None:
        self.modules = encoder.train(), head.train()
        self.learning = [p for m in self.modules for p in m.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, lr=lr, fused=True)  # as recipes make it
        self.device = device = next(encoder.parameters()).device
        self.wavs = torch.randn(clips, round(seconds * 16000), device=device)
        written = torch.randint(5, 1000, (clips, tokens), device=device)
        self.written = [written] if tokens else []
        self.labels = written if tokens else torch.arange(clips, device=device)
        self.backend, self.half = backend, half

    def on(self, clips: int) -> "Step":
        """The same step on the first of its clips."""
        part = copy(self)
        part.wavs, part.labels = self.wavs[:clips], self.labels[:clips]
        part.written = [tokens[:clips] for tokens in self.written]
        return part

    def forward(self) -> Tensor:
        """The loss."""
        encoder, head = self.modules
        set_backend(self.backend)
        with torch.autocast(self.wavs.device.type, torch.bfloat16, enabled=self.half):
            logits = head(*encoder(self.wavs), *self.written)
        return F.cross_entropy(logits.float().flatten(0, -2), self.labels.flatten())

    def backward(self) -> None:
        """The gradients."""
        self.optimiser.zero_grad()
        self.forward().backward()

    def __call__(self) -> None:
        self.backward()
        self.optimiser.step()


def random_step(
    config: PretrainedConfig,
    method: Method,
    clips: int,
    seconds: float,
    device: str = "cpu",
    bf16: bool = False,
) -> Step:
    """A step of an adapted encoder of this shape, whose random weights change no time."""
    torch.manual_seed(0)
    model = encoder_of(AutoModel.from_config(config, dtype=torch.float32))
    encoder = AdaptedEncoder(model, method, frontend_of(config)).to(device)
    head = PooledClassifier(encoder.width, _CLASSES).to(device)
    return Step(encoder, head, clips, seconds, half=bf16)
