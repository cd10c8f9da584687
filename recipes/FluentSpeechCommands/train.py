"""Adapt a frozen speech encoder to the 31 intents of Fluent Speech Commands.

python train.py hparams/train.yaml --data_folder /path/to/fluent_speech_commands_dataset
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from speechbrain.utils.seed import seed_everything

from mambadapter.brains.classification import CONTRACT, ClassificationBrain
from mambadapter.config import load_experiment, recipe_main, start_experiment
from mambadapter.data.manifests import classification_datasets, main_first
from mambadapter.encoders import AdaptedEncoder
from mambadapter.heads import PooledClassifier
from mambadapter.inference import save_package
from mambadapter.results import write_result


@recipe_main
def main(argv: list[str]) -> None:
    """Prepare, build, train, test, and write down what came out."""
    experiment = load_experiment(argv, CONTRACT)
    hparams = experiment.hparams
    start_experiment(experiment)
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    encoder = AdaptedEncoder.from_pretrained(hparams["source"], hparams["method"])
    datasets, labels = classification_datasets(manifests, encoder.sample_rate)
    modules = {"encoder": encoder, "head": PooledClassifier(encoder.width, len(labels))}

    brain = ClassificationBrain(
        modules, hparams["opt_class"], hparams, experiment.run_opts, hparams["checkpointer"]
    )
    loader = hparams["loader_options"]
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs={**loader, "shuffle": True},
        valid_loader_kwargs=loader,
    )
    brain.evaluate(datasets["test"], test_loader_kwargs=loader)

    package = experiment.folder / "adapter"
    save_package(package, modules, hparams["source"], hparams["method"], labels)
    write_result(brain, experiment)


if __name__ == "__main__":
    main(sys.argv[1:])
