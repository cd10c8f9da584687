"""Clips of one label, or of several: adapt a frozen encoder and train a classifier on its pooled frames."""

from collections.abc import Sequence
from typing import Any

from speechbrain.utils.seed import seed_everything

from mambadapter.budget.search import fit_to_budget
from mambadapter.config import Experiment, recipe_main
from mambadapter.config.schema import CLASSIFICATION, contract
from mambadapter.data.audio import channel_number
from mambadapter.data.balance import balanced_sampler, balanced_weights, positive_weights
from mambadapter.data.batching import batches_by_length
from mambadapter.data.manifests import classification_datasets, has_several_labels, main_first
from mambadapter.data.unknown import unknown_dataset
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.experiments.run import run
from mambadapter.heads import PooledClassifier
from mambadapter.inference import save_package
from mambadapter.training.classification import ClassificationBrain
from mambadapter.training.multilabel import MultilabelBrain
from mambadapter.training.result import write_result


@recipe_main
def main(argv: Sequence[str]) -> None:
    """Train once, or on every fold, or at several learning rates."""
    run(argv, contract(CLASSIFICATION), train)


def train(experiment: Experiment, test: bool) -> None:
    """Prepare, build, train, calibrate, test, and write down what came out."""
    hparams = experiment.hparams
    method = fit_to_budget(
        hparams["method"],
        hparams["source"],
        adapter_budget=hparams["adapter_budget"],
        count_norms=hparams["adapter_budget_norms"],
    )
    channel = channel_number(hparams["audio_channel"])
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    encoder = AdaptedEncoder.from_pretrained(hparams["source"], method)
    datasets, labels = classification_datasets(
        manifests,
        encoder.sample_rate,
        shots_per_class=hparams["shots_per_class"],
        seed=hparams["seed"],
        channel=channel,
    )
    several, unknown = has_several_labels(datasets["train"]), None
    if hparams["unknown_folder"] is not None:
        if several:
            raise UserError(
                "unknown_folder: of several labels each has a threshold of its own, chosen without it; "
                "leave it out."
            )
        unknown = unknown_dataset(
            hparams["unknown_folder"],
            datasets,
            encoder.sample_rate,
            channel,
            skip_unusable=hparams.get("skip_unusable_audio", False),
        )
    modules = {"encoder": encoder, "head": PooledClassifier(encoder.width, len(labels))}

    weights = None
    if hparams["class_weights"] == "balanced":
        weights = (positive_weights if several else balanced_weights)(datasets["train"], labels)
    brain = (MultilabelBrain if several else ClassificationBrain)(
        modules=modules,
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=experiment.run_opts,
        checkpointer=hparams["checkpointer"],
        labels=labels,
        class_weights=weights,
    )
    loader, seconds = hparams["loader_options"], hparams["batch_seconds"]
    training: dict[str, Any] = {**loader, "shuffle": True}
    if hparams["sampler"] == "balanced":
        if seconds:
            raise UserError(
                "batch_seconds and sampler: balanced do not go together; leave out one."
            )
        brain.train_sampler = balanced_sampler(datasets["train"], hparams["seed"])
        training = {**loader, "sampler": brain.train_sampler}
    if seconds:
        clips = {"train": datasets["train"]}
        longest = max(clip["duration"] for clip in datasets["train"].data.values())
        options = {name: value for name, value in loader.items() if name != "batch_size"}
        training = batches_by_length(clips, seconds, longest, options)["train"]
        brain.train_sampler = training["batch_sampler"]
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=training,
        valid_loader_kwargs=loader,
    )
    brain.restore_best()
    brain.calibrate(datasets["valid"], unknown, loader)
    if test:
        brain.evaluate(datasets["test"], test_loader_kwargs=loader)
    save_package(
        experiment.folder / "adapter",
        modules,
        hparams["source"],
        method,
        labels,
        audio_channel=channel,
        **brain.package,
    )
    write_result(brain, experiment, method)
