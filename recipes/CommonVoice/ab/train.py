"""Adapt a frozen speech encoder to Abkhaz: CTC on Common Voice.

python train.py hparams/train.yaml --data_folder /path/to/cv-corpus-13.0-2023-03-09
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from speechbrain.utils.seed import seed_everything

from mambadapter.budget.search import fit_to_budget
from mambadapter.config import Experiment, recipe_main
from mambadapter.data.batching import batches_by_length
from mambadapter.data.manifests import main_first, transcription_datasets
from mambadapter.encoders import AdaptedEncoder
from mambadapter.experiments.run import run
from mambadapter.heads import CTCHead
from mambadapter.inference import TRANSCRIPTION, save_package
from mambadapter.training.ctc import CONTRACT, CTCBrain
from mambadapter.training.result import write_result


@recipe_main
def main(argv: list[str]) -> None:
    """Train once, or at several learning rates."""
    run(argv, CONTRACT, train)


def train(experiment: Experiment, test: bool) -> None:
    """Prepare, build, train, test, and write down what came out."""
    hparams = experiment.hparams
    budget = hparams["adapter_budget"], hparams["adapter_budget_norms"]
    method = fit_to_budget(hparams["method"], hparams["source"], *budget)
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    encoder = AdaptedEncoder.from_pretrained(hparams["source"], method)
    datasets, vocabulary = transcription_datasets(manifests, encoder.sample_rate)
    head = CTCHead(encoder.width, len(vocabulary), hparams["head_lstm"])
    modules = {"encoder": encoder, "head": head}

    options = hparams["opt_class"], hparams, experiment.run_opts, hparams["checkpointer"]
    brain = CTCBrain(vocabulary, modules, *options)
    lengths = hparams["batch_seconds"], hparams["longest_seconds"], hparams["loader_options"]
    loaders = batches_by_length(datasets, *lengths)
    brain.train_sampler = loaders["train"]["batch_sampler"]
    loading = {f"{split}_loader_kwargs": loaders[split] for split in ("train", "valid")}
    brain.fit(hparams["epoch_counter"], datasets["train"], datasets["valid"], **loading)
    brain.restore_best()
    if test:
        brain.evaluate(datasets["test"], test_loader_kwargs=loaders["test"])
    package = experiment.folder / "adapter"
    save_package(package, modules, hparams["source"], method, vocabulary.tokens, TRANSCRIPTION)
    write_result(brain, experiment, method)


if __name__ == "__main__":
    main(sys.argv[1:])
