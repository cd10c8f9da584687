"""Adapt a frozen Whisper to Abkhaz: cross-entropy on its tokens, on Common Voice.

python train_seq2seq.py hparams/seq2seq.yaml --data_folder /path/to/cv-corpus-13.0-2023-03-09
python train_seq2seq.py hparams/seq2seq.yaml --data_folder ... --adapter lora --adapt both
torchrun --nproc_per_node 2 train_seq2seq.py hparams/seq2seq.yaml --data_folder ...
"""

import sys

from speechbrain.utils.seed import seed_everything

from mambadapter.budget.search import fit_to_budget
from mambadapter.config import Experiment, recipe_main
from mambadapter.data.batching import batches_by_length
from mambadapter.data.manifests import main_first, text_datasets
from mambadapter.encoders.speech_to_text import load_speech_to_text, parts
from mambadapter.experiments.run import run
from mambadapter.inference import save_writer
from mambadapter.training.result import write_result
from mambadapter.training.seq2seq import CONTRACT, Seq2SeqBrain


@recipe_main
def main(argv: list[str]) -> None:
    """Train once, or at several learning rates."""
    run(argv, CONTRACT, train)


def train(experiment: Experiment, test: bool) -> None:
    """Prepare, build, train, test, and write down what came out."""
    hparams = experiment.hparams
    language, adapt = hparams["language"], hparams["adapt"]
    budget = hparams["adapter_budget"], hparams["adapter_budget_norms"]
    method = fit_to_budget(hparams["method"], hparams["source"], *budget, parts(adapt))
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    whisper = load_speech_to_text(hparams["source"], language["code"], method, adapt)
    datasets = text_datasets(manifests, whisper.encoder.sample_rate, whisper.encode)

    options = hparams["opt_class"], hparams, experiment.run_opts, hparams["checkpointer"]
    brain = Seq2SeqBrain(whisper, language["rules"], *options)
    lengths = hparams["batch_seconds"], hparams["longest_seconds"], hparams["loader_options"]
    loaders = batches_by_length(datasets, *lengths)
    brain.train_sampler = loaders["train"]["batch_sampler"]
    loading = {f"{split}_loader_kwargs": loaders[split] for split in ("train", "valid")}
    brain.fit(hparams["epoch_counter"], datasets["train"], datasets["valid"], **loading)
    brain.restore_best()
    if test:
        brain.evaluate(datasets["test"], test_loader_kwargs=loaders["test"])
    save_writer(experiment, whisper, method)
    write_result(brain, experiment, method)


if __name__ == "__main__":
    main(sys.argv[1:])
