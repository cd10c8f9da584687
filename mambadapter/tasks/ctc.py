"""Recognition by CTC: adapt a frozen encoder and train a layer that scores tokens on each frame."""

from collections.abc import Sequence

from speechbrain.utils.seed import seed_everything

from mambadapter.budget.search import fit_to_budget
from mambadapter.config import Experiment, recipe_main
from mambadapter.config.schema import CTC, contract
from mambadapter.data.audio import channel_number
from mambadapter.data.batching import batches_by_length
from mambadapter.data.manifests import main_first, transcription_datasets
from mambadapter.data.tokens import Tokens
from mambadapter.decoding.ctc import Decoding
from mambadapter.encoders import AdaptedEncoder
from mambadapter.experiments.run import run
from mambadapter.heads import CTCHead
from mambadapter.inference.package import TRANSCRIPTION, save_package
from mambadapter.report.recognition import write_worst_clips
from mambadapter.training.ctc import CTCBrain
from mambadapter.training.result import write_result


@recipe_main
def main(argv: Sequence[str]) -> None:
    """Train once, or at several learning rates."""
    run(argv, contract(CTC), train)


def train(experiment: Experiment, test: bool) -> None:
    """Prepare, build, train, test, and write down what came out; as in `mambadapter.tasks.classification`."""
    hparams = experiment.hparams
    method = fit_to_budget(
        hparams["method"],
        hparams["source"],
        adapter_budget=hparams["adapter_budget"],
        count_norms=hparams["adapter_budget_norms"],
    )
    channel = channel_number(hparams["audio_channel"])
    tokens = Tokens(
        hparams["token_type"], hparams["vocab_size"], experiment.folder / "sentencepiece.model"
    )
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    encoder = AdaptedEncoder.from_pretrained(hparams["source"], method)
    datasets, vocabulary = transcription_datasets(
        manifests, encoder.sample_rate, encoder.frames, channel=channel, tokens=tokens
    )
    head = CTCHead(encoder.width, len(vocabulary), lstm=hparams["head_lstm"])
    modules = {"encoder": encoder, "head": head}

    brain = CTCBrain(
        vocabulary,
        modules=modules,
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=experiment.run_opts,
        checkpointer=hparams["checkpointer"],
    )
    loaders = batches_by_length(
        datasets,
        seconds=hparams["batch_seconds"],
        longest=hparams["longest_seconds"],
        options=hparams["loader_options"],
    )
    brain.train_sampler = loaders["train"]["batch_sampler"]
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=loaders["train"],
        valid_loader_kwargs=loaders["valid"],
    )
    brain.restore_best()
    if test:
        brain.evaluate(datasets["test"], test_loader_kwargs=loaders["test"])
        write_worst_clips(experiment.folder, brain.rates, datasets["test"].data)
    save_package(
        experiment.folder / "adapter",
        modules,
        hparams["source"],
        method,
        labels=vocabulary.tokens,
        token_type=vocabulary.token_type,
        task=TRANSCRIPTION,
        audio_channel=channel,
        decoding=Decoding.of(brain.hparams),
        longest_clip=max(clip["duration"] for clip in datasets["train"].data.values()),
    )
    write_result(brain, experiment, method)
