"""Pretrain the encoder in the box, from scratch, on audio that this recipe synthesises.

apt-get install espeak-ng
python train.py hparams/train.yaml --data_folder /data/box
"""

import sys

import pretraining as task
from box_checkpoint import save_box
from speechbrain.utils.seed import seed_everything
from transformers import Wav2Vec2Model

from mambadapter.config import load_experiment, recipe_main, start_experiment
from mambadapter.data.batching import batches_by_length
from mambadapter.data.manifests import main_first
from mambadapter.encoders import AdaptedEncoder
from mambadapter.methods.full_finetuning import FullFinetuning
from mambadapter.training.result import write_result


@recipe_main
def main(argv: list[str]) -> None:
    """Synthesise, build, pretrain, and write the checkpoint."""
    experiment = load_experiment(argv, task.CONTRACT)
    hparams = experiment.hparams
    start_experiment(experiment)
    manifests = main_first(hparams["prepare"])
    datasets, phones = task.pretraining_datasets(manifests, hparams["phone_objective"])

    seed_everything(hparams["seed"], verbose=False)
    backbone = Wav2Vec2Model(hparams["architecture"])
    method = FullFinetuning(train_cnn=True)
    encoder = AdaptedEncoder(backbone, method)
    head = task.PretrainingHead(encoder.width, len(phones), len(task.KIND_NAMES))
    brain = task.PretrainingBrain(
        {"encoder": encoder, "head": head},
        hparams["opt_class"],
        hparams,
        experiment.run_opts,
        hparams["checkpointer"],
    )
    loaders = batches_by_length(datasets, hparams["batch_seconds"], 5.5, hparams["loader_options"])
    brain.train_sampler = loaders["train"]["batch_sampler"]
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=loaders["train"],
        valid_loader_kwargs=loaders["valid"],
    )
    brain.evaluate(datasets["valid"], test_loader_kwargs=loaders["valid"])
    save_box(backbone, experiment.folder / "encoder")
    write_result(brain, experiment, method)


if __name__ == "__main__":
    main(sys.argv[1:])
