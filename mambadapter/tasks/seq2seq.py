"""Recognition by a whole Whisper: adapt its encoder, its decoder or both, on a language's tokens."""

from collections.abc import Sequence

from speechbrain.utils.seed import seed_everything

from mambadapter.budget.search import fit_to_budget
from mambadapter.config import Experiment, recipe_main
from mambadapter.config.schema import SEQ2SEQ, contract
from mambadapter.data.audio import channel_number
from mambadapter.data.batching import batches_by_length
from mambadapter.data.manifests import main_first, text_datasets
from mambadapter.encoders.speech_to_text import check_language, load_speech_to_text, parts
from mambadapter.experiments.run import run
from mambadapter.inference import save_whisper_package
from mambadapter.report.recognition import write_worst_clips
from mambadapter.training.result import write_result
from mambadapter.training.seq2seq import Seq2SeqBrain


@recipe_main
def main(argv: Sequence[str]) -> None:
    """Train once, or at several learning rates."""
    run(argv, contract(SEQ2SEQ), train)


def train(experiment: Experiment, test: bool) -> None:
    """Prepare, build, train, test, and write down what came out; as in `mambadapter.tasks.classification`."""
    hparams = experiment.hparams
    language, adapt = hparams["language"], hparams["adapt"]
    method = fit_to_budget(
        hparams["method"],
        hparams["source"],
        adapter_budget=hparams["adapter_budget"],
        count_norms=hparams["adapter_budget_norms"],
        parts=parts(adapt),
    )
    channel = channel_number(hparams["audio_channel"])
    manifests = main_first(hparams["prepare"])

    seed_everything(hparams["seed"], verbose=False)
    whisper = load_speech_to_text(hparams["source"], language["code"], method, adapt)
    check_language(language["code"], whisper.tokenizer)
    datasets = text_datasets(
        manifests, whisper.encoder.sample_rate, whisper.encode, channel=channel
    )

    brain = Seq2SeqBrain(
        whisper,
        language["rules"],
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
    save_whisper_package(
        experiment.folder / "adapter",
        whisper,
        hparams["source"],
        method,
        language=language["code"],
        rules=language["rules"],
        adapt=adapt,
        longest_text=hparams["longest_text"],
        audio_channel=channel,
    )
    write_result(brain, experiment, method)
