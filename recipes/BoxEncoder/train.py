"""Pretrain the encoder in the box, from scratch, on audio that this recipe synthesises.

apt-get install espeak-ng
python train.py hparams/train.yaml --data_folder /data/box
"""

import sys

from box_checkpoint import save_box
from pretraining import (
    CONTRACT,
    KIND_NAMES,
    PretrainingBrain,
    PretrainingHead,
    pretraining_datasets,
)
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain.utils.seed import seed_everything
from transformers import Wav2Vec2Model

from mambadapter.config import load_experiment, recipe_main, start_experiment
from mambadapter.data.manifests import main_first
from mambadapter.encoders import AdaptedEncoder
from mambadapter.methods import FullFinetuning
from mambadapter.results import write_result


@recipe_main
def main(argv: list[str]) -> None:
    """Synthesise, build, pretrain, and write the checkpoint."""
    experiment = load_experiment(argv, CONTRACT)
    hparams = experiment.hparams
    start_experiment(experiment)
    datasets, phones = pretraining_datasets(main_first(hparams["prepare"]))

    seed_everything(hparams["seed"], verbose=False)
    backbone = Wav2Vec2Model(hparams["architecture"])
    encoder = AdaptedEncoder(backbone, FullFinetuning(train_cnn=True))
    head = PretrainingHead(encoder.width, len(phones), len(KIND_NAMES))
    brain = PretrainingBrain(
        {"encoder": encoder, "head": head},
        hparams["opt_class"],
        hparams,
        experiment.run_opts,
        hparams["checkpointer"],
    )
    samplers = {
        split: DynamicBatchSampler(
            dataset,
            hparams["batch_seconds"],
            bucket_boundaries=[0.25 * k for k in range(2, 22)],
            shuffle=split == "train",
        )
        for split, dataset in datasets.items()
    }
    brain.train_sampler = samplers["train"]
    loaders = {
        split: {"batch_sampler": sampler, "collate_fn": PaddedBatch, **hparams["loader_options"]}
        for split, sampler in samplers.items()
    }
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=loaders["train"],
        valid_loader_kwargs=loaders["valid"],
    )
    brain.evaluate(datasets["valid"], test_loader_kwargs=loaders["valid"])
    save_box(backbone, experiment.folder / "encoder")
    write_result(brain, experiment)


if __name__ == "__main__":
    main(sys.argv[1:])
