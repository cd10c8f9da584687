"""A training run of a few seconds, used by the tests and, as a script, by their child processes.

python tiny_run.py ENCODER OUTPUT RUN [RUN ...]      (or under torchrun), a run being a seed or "sgd"
"""

import functools
import io
import sys
from pathlib import Path

import pytest
import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.train_logger import FileTrainLogger

from mambadapter.config import recipe_main
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.trained import trained_tensors
from mambadapter.heads import PooledClassifier
from mambadapter.methods import MambAdapters
from mambadapter.training.checkpoints import WholeCheckpointer
from mambadapter.training.classification import ClassificationBrain

OPTIMISATION = (
    "weight_decay", "warmup", "least_warmup", "schedule", "max_grad_norm", "head_lr", "norm_lr_scale", "scan_lr_scale",
    "parameter_groups",
)  # fmt: skip

# No change of training clips.
UNCHANGED = {
    "waveform_augmentation": False, "noise_folder": None, "noise_snr_low": 0, "noise_snr_high": 15,
    "reverberation_folder": None, "spec_augment": False,
}  # fmt: skip


@sb.utils.data_pipeline.takes("label_index", "seed")
@sb.utils.data_pipeline.provides("signal")
def tone(label, seed):
    """A rising, a falling or a steady tone, in noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.linspace(0, 1, 4000 + 160 * (seed % 10))
    sweep = (time, 1 - time, torch.full_like(time, 0.5))[label]
    phase = torch.cumsum(300 + 2000 * sweep, 0) * 2 * torch.pi / 16000
    return torch.sin(phase) + 0.05 * torch.randn(len(time), generator=generator)


def dataset(clips, offset):
    data = {str(i): {"label_index": i % 3, "seed": i} for i in range(offset, offset + clips)}
    return DynamicItemDataset(data, [tone], ["id", "signal", "label_index"])


def optimisation(lr, head_lr=None):
    """The settings of every Brain's optimiser, as `hparams/tasks/common.yaml` gives a recipe's."""
    common = YAML().load(Path(__file__).parents[2] / "hparams/tasks/common.yaml")
    stream = io.StringIO()
    chosen = {"lr": lr, "scan_lr_scale": 1.0}  # of a menu
    YAML().dump({"chosen": chosen, "lr": lr, **{key: common[key] for key in OPTIMISATION}}, stream)
    return load_hyperpyyaml(stream.getvalue(), {"head_lr": head_lr} if head_lr else None)


def build(
    encoder_folder, output, seed=1, method=None, lr=0.005, run_opts=None, brain=ClassificationBrain,
    labels=(), class_weights=None, **hparams,
):  # fmt: skip
    """Seed, build, and return a Brain ready to fit."""
    sb.utils.seed.seed_everything(seed, verbose=False)
    method = method or MambAdapters(rank=4, d_state=4, placement="houlsby")
    encoder = AdaptedEncoder.from_pretrained(encoder_folder, method)
    modules = {"encoder": encoder, "head": PooledClassifier(encoder.width, 3)}
    counter = EpochCounter(hparams.get("number_of_epochs", 3))
    settings = {
        "seed": seed,
        "number_of_epochs": 3,
        "train_logger": FileTrainLogger(f"{output}/train_log.txt"),
        "tensorboard": False,
        "compile": "off",
        "cache_gb": 1,
        "cache_folder": None,
        "output_folder": str(output),
        "proof_of_life": True,
        **UNCHANGED,
        **optimisation(lr),
        **hparams,
    }
    built = brain(
        modules,
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.98)),
        settings,
        {"device": "cpu", "noprogressbar": True, **(run_opts or {})},
        WholeCheckpointer(f"{output}/save", {"counter": counter}),
        labels=labels,
        class_weights=class_weights,
    )
    return built, counter, modules


def fit(brain, counter, clips=24):
    brain.fit(
        counter,
        dataset(clips, 0),
        dataset(9, 1000),
        train_loader_kwargs={"batch_size": 4, "shuffle": True},
        valid_loader_kwargs={"batch_size": 4},
    )


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


def fit_and_be_killed(brain, counter, steps, **options):
    """`fit`, but stopped after so many optimiser steps, as by Ctrl-C."""
    step = brain.optimizers_step

    def stopping():
        step()
        if brain.optimizer_step == steps:
            raise KeyboardInterrupt

    brain.optimizers_step = stopping
    with pytest.raises(KeyboardInterrupt):
        fit(brain, counter, **options)


def train(encoder_folder, output, seed=1, **kwargs):
    """Fit, calibrate and test; return metrics and copies of what was trained."""
    brain, counter, modules = build(encoder_folder, output, seed, **kwargs)
    fit(brain, counter)
    brain.restore_best()
    brain.calibrate(dataset(9, 1000), loader={"batch_size": 4})
    brain.evaluate(dataset(12, 2000), test_loader_kwargs={"batch_size": 4})
    metrics = {**brain.metrics, "calibration": brain.details["calibration"]}
    return metrics, {n: t.detach().clone() for n, t in trained_tensors(modules).items()}


def by_sgd(encoder_folder, output, batch_size, run_opts=None):
    """Clips in their order, whose gradients are summed and never divided by their size."""
    # By this SpeechBrain lets several processes read clips in their order, too.
    options = {"run_opts": run_opts, "sorting": "none"}
    brain, counter, modules = build(encoder_folder, output, **options)
    brain.opt_class = functools.partial(torch.optim.SGD, lr=0.1)
    brain.fit(
        counter,
        dataset(28, 0),
        dataset(9, 1000),
        train_loader_kwargs={"batch_size": batch_size},
        valid_loader_kwargs={"batch_size": 4},
    )
    weights = {n: t.detach().clone() for n, t in trained_tensors(modules).items()}
    losses = [epoch["train"]["loss"] for epoch in brain.history.epochs]
    return {"losses": losses, "weights": weights}, brain.optimizer_step


@recipe_main
def main(folder, output, *seeds):
    run_opts = {"distributed_backend": "gloo"}
    sb.utils.distributed.ddp_init_group(run_opts)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    for seed in seeds:
        if seed == "sgd":
            found, _ = by_sgd(folder, f"{output}/sgd", 4, run_opts)
            torch.save(found, f"{output}/sgd/rank{rank}.pt")
            continue
        metrics, weights = train(folder, f"{output}/seed{seed}", int(seed), run_opts=run_opts)
        torch.save({"metrics": metrics, "weights": weights}, f"{output}/seed{seed}/rank{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
