"""A whole training step of MambAdapters on wav2vec2-base: ours beside the naive one.

    python benchmarks/speed/training_step.py

Naive is what a first script does: `requires_grad_(False)`, train mode, a scan in plain PyTorch. Both run
in this process, in turn, on 4 clips of 5 s, with the same branches; the weights are random, which changes
no time.
"""

import sys

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from mambadapter.cost.memory import kept_mib
from mambadapter.cost.step import Step
from mambadapter.cost.timing import alternate, describe_machine
from mambadapter.encoders import AdaptedEncoder
from mambadapter.heads import PooledClassifier
from mambadapter.methods import MambAdapters

CLIPS, SECONDS = 4, 5
ROUNDS = 3

FAMILIES = {
    "wav2vec2-base": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm-base": (WavLMConfig, WavLMModel),
}


def step(family: str, naive: bool) -> Step:
    config_class, model_class = FAMILIES[family]
    off = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout"), 0.0)
    config = config_class(
        layerdrop=0.0,
        apply_spec_augment=naive,
        **({} if naive else {**off, "feat_proj_dropout": 0.0}),
    )
    torch.manual_seed(0)
    encoder = AdaptedEncoder(model_class(config), MambAdapters())
    if naive:
        encoder.backbone.feature_extractor._requires_grad = True
        for module in encoder.backbone.modules():
            vars(module).pop("forward", None)  # transformers' and PyTorch's own again
    head = PooledClassifier(encoder.width, 35)
    made = Step(encoder, head, CLIPS, SECONDS, lr=1e-3, backend="reference" if naive else "cpu")
    if naive:
        encoder.backbone.train()
    return made


def main() -> None:
    print(describe_machine())
    print(f"{CLIPS} clips of {SECONDS} s, MambAdapters(): Pfeiffer, rank 12")
    for family in FAMILIES:
        steps = {"naive": step(family, naive=True), "mambadapter": step(family, naive=False)}
        milliseconds = alternate(steps, ROUNDS, warmup=1, burst=3)
        kept = {name: kept_mib(one.forward, one.modules) for name, one in steps.items()}
        print(f"\n{family}\n{'':14}{'step, ms':>10}{'kept activations, MiB':>24}")
        for name in steps:
            print(f"{name:14}{milliseconds[name]:10.0f}{kept[name]:24.0f}")
        print(
            f"naive / ours: step {milliseconds['naive'] / milliseconds['mambadapter']:.2f}x "
            f"(wanted: 2.5x), kept {kept['naive'] / kept['mambadapter']:.2f}x (wanted: 4x)"
        )


if __name__ == "__main__":
    sys.exit(main())
