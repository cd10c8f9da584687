"""Adapt a frozen speech encoder to the 35 words of Speech Commands V2.

python train.py hparams/train.yaml --data_folder /path/to/speech_commands_v0.02
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from speechbrain.utils.seed import seed_everything

from mambadapter.budget.search import fit_to_budget
from mambadapter.config import Experiment, recipe_main
from mambadapter.data.manifests import classification_datasets, main_first
from mambadapter.encoders import AdaptedEncoder
from mambadapter.experiments.run import run
from mambadapter.heads import PooledClassifier
from mambadapter.inference import save_package
from mambadapter.training.classification import CONTRACT, ClassificationBrain
from mambadapter.training.result import write_result


@recipe_main
def main(argv: list[str]) -> None:
    """Train once, or on every fold, or at several learning rates."""
    run(argv, CONTRACT, train)


def train(experiment: Experiment, test: bool) -> None:
    """Prepare, build, train, test, and write down what came out."""
    hparams = experiment.hparams
    budget = hparams["adapter_budget"], hparams["adapter_budget_norms"]
    method = fit_to_budget(hparams["method"], hparams["source"], *budget)
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    encoder = AdaptedEncoder.from_pretrained(hparams["source"], method)
    few = hparams["shots_per_class"], hparams["seed"]
    datasets, labels = classification_datasets(manifests, encoder.sample_rate, *few)
    modules = {"encoder": encoder, "head": PooledClassifier(encoder.width, len(labels))}

    options = hparams["opt_class"], hparams, experiment.run_opts, hparams["checkpointer"]
    brain = ClassificationBrain(modules, *options)
    loader = hparams["loader_options"]
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs={**loader, "shuffle": True},
        valid_loader_kwargs=loader,
    )
    brain.restore_best()
    if test:
        brain.evaluate(datasets["test"], test_loader_kwargs=loader)
    save_package(experiment.folder / "adapter", modules, hparams["source"], method, labels)
    write_result(brain, experiment, method)


if __name__ == "__main__":
    main(sys.argv[1:])
