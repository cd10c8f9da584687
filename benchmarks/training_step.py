"""A whole training step of MambAdapters on wav2vec2-base: ours beside the naive one.

    python benchmarks/training_step.py

Naive is what a first script does: `requires_grad_(False)`, train mode, a scan in plain PyTorch. Both run
in this process, in turn, on 4 clips of 5 s, with the same branches; the weights are random, which changes
no time.
"""

import sys

import torch
from memory import kept_mib
from timing import alternate, describe_machine
from transformers import Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from mambadapter.encoders import AdaptedEncoder
from mambadapter.heads import PooledClassifier
from mambadapter.methods import MambAdapters
from mambadapter.ssm import set_backend

CLIPS, SECONDS = 4, 5
ROUNDS = 3

FAMILIES = {
    "wav2vec2-base": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm-base": (WavLMConfig, WavLMModel),
}


class Step:
    """One model with its optimiser; calling it trains one step."""

    def __init__(self, family: str, naive: bool) -> None:
        config_class, model_class = FAMILIES[family]
        self.naive = naive
        off = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout"), 0.0)
        config = config_class(
            layerdrop=0.0,
            apply_spec_augment=naive,
            **({} if naive else {**off, "feat_proj_dropout": 0.0}),
        )
        torch.manual_seed(0)
        self.encoder = AdaptedEncoder(model_class(config), MambAdapters())
        if naive:
            self.encoder.backbone.feature_extractor._requires_grad = True
            for module in self.encoder.backbone.modules():
                vars(module).pop("forward", None)  # transformers' and PyTorch's own again
        self.head = PooledClassifier(self.encoder.width, 35)
        self.encoder.train()
        if naive:
            self.encoder.backbone.train()
        learning = [p for m in (self.encoder, self.head) for p in m.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(learning, lr=1e-3)
        self.wavs = torch.randn(CLIPS, SECONDS * 16000)
        self.labels = torch.arange(CLIPS)

    def forward(self) -> torch.Tensor:
        set_backend("reference" if self.naive else "cpu")
        logits = self.head(*self.encoder(self.wavs))
        return torch.nn.functional.cross_entropy(logits, self.labels)

    def __call__(self) -> None:
        self.optimiser.zero_grad()
        self.forward().backward()
        self.optimiser.step()


def main() -> None:
    print(describe_machine())
    print(f"{CLIPS} clips of {SECONDS} s, MambAdapters(): Pfeiffer, rank 12")
    for family in FAMILIES:
        steps = {"naive": Step(family, naive=True), "mambadapter": Step(family, naive=False)}
        milliseconds = alternate(steps, ROUNDS, warmup=1, burst=3)
        kept = {
            name: kept_mib(step.forward, (step.encoder, step.head)) for name, step in steps.items()
        }
        print(f"\n{family}\n{'':14}{'step, ms':>10}{'kept activations, MiB':>24}")
        for name in steps:
            print(f"{name:14}{milliseconds[name]:10.0f}{kept[name]:24.0f}")
        print(
            f"naive / ours: step {milliseconds['naive'] / milliseconds['mambadapter']:.2f}x "
            f"(wanted: 2.5x), kept {kept['naive'] / kept['mambadapter']:.2f}x (wanted: 4x)"
        )


if __name__ == "__main__":
    sys.exit(main())
