"""The `mambadapter` command: predict, transcribe, budget, sweep, report, doctor."""

import argparse
import json
import logging
import platform
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from mambadapter import __version__
from mambadapter.budget.count import ARCHITECTURES, build_on_meta, count_parameters, encoder_shape
from mambadapter.budget.search import closest
from mambadapter.config.overrides import parse_value
from mambadapter.encoders.shape import EncoderShape
from mambadapter.errors import UserError, did_you_mean, user_error
from mambadapter.experiments.launchers import LAUNCHERS
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep
from mambadapter.experiments.trials import FAILED, SWEEP_LOG
from mambadapter.inference import Classifier, recogniser
from mambadapter.methods import MENU
from mambadapter.report.page import write_report
from mambadapter.ssm import backend_report
from mambadapter.utils.versions import package_versions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; user errors become one line on stderr and exit status 2."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    transformers.utils.logging.disable_progress_bar()
    try:
        arguments.run(arguments)
    except Exception as error:
        told = user_error(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mambadapter", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    predict = commands.add_parser("predict", help="classify audio files with a trained adapter")
    predict.add_argument("package", help="the `adapter` folder in a run's output folder")
    predict.add_argument("audio", nargs="+", help="audio files")
    predict.add_argument("--encoder", help="where the frozen encoder is now, if it has moved")
    predict.add_argument("--top", type=int, default=3, help="classes to show (default 3)")
    predict.set_defaults(run=_predict)

    transcribe = commands.add_parser(
        "transcribe", help="write down what is said in audio files, with a trained adapter"
    )
    transcribe.add_argument("package", help="a run's output folder, or the `adapter` folder in it")
    transcribe.add_argument("audio", nargs="+", help="audio files")
    transcribe.add_argument("--encoder", help="where the frozen encoder is now, if it has moved")
    transcribe.set_defaults(run=_transcribe)

    budget = commands.add_parser(
        "budget",
        help="count what methods train, or size them for budgets",
        description=_budget.__doc__,
    )
    budget.add_argument(
        "--encoder",
        default="wav2vec2-base",
        help=f"box, {', '.join(ARCHITECTURES)}, or a folder (default wav2vec2-base)",
    )
    budget.add_argument(
        "--adapter",
        help=f"{', '.join(MENU)} (default mambadapter; all of them with --budgets)",
    )
    budget.add_argument(
        "--budgets", nargs="+", type=int, metavar="N", help="print the size closest to each"
    )
    budget.add_argument(
        "--without_norms", action="store_true", help="leave the LayerNorms out of the budgets"
    )
    budget.add_argument(
        "settings", nargs="*", metavar="knob=value", help="for instance placement=houlsby rank=24"
    )
    budget.set_defaults(run=_budget)

    sweep = commands.add_parser(
        "sweep", help="run what a sweep file plans, and go on where it stopped"
    )
    sweep.add_argument("file", type=Path, help="a YAML such as hparams/sweeps/small.yaml")
    sweep.add_argument(
        "--jobs", type=int, help="runs at once (default what the GPUs allow, or one)"
    )
    sweep.add_argument("--dry_run", action="store_true", help="only say what would run")
    sweep.add_argument(
        "--launcher",
        default="here",
        help=f"{', '.join(LAUNCHERS)} (slurm and its stand-ins by submitit)",
    )
    sweep.add_argument(
        "--launcher_options",
        nargs="+",
        default=[],
        metavar="key=value",
        help="for submitit, such as slurm_partition=gpu timeout_min=240",
    )
    sweep.set_defaults(run=_sweep)

    report = commands.add_parser("report", help="tables, tests and pictures of a folder of results")
    report.add_argument("folder", type=Path, help="a sweep's output, or any folder with results")
    report.add_argument("--output", type=Path, help="where it goes (default FOLDER/report)")
    report.add_argument("--metric", help="accuracy, wer or cer (default what the results have)")
    report.add_argument("--sweep", type=Path, help="the sweep's file, to name what is missing")
    report.set_defaults(run=_report)

    doctor = commands.add_parser(
        "doctor", help="say what this machine has and which scan it will use"
    )
    doctor.set_defaults(run=_doctor)
    return parser


def _predict(arguments: argparse.Namespace) -> None:
    classifier = Classifier.from_package(arguments.package, arguments.encoder)
    for path in arguments.audio:
        best = classifier.predict(path, arguments.top)
        print(f"{path}: " + ", ".join(f"{label} {value:.3f}" for label, value in best))


def _transcribe(arguments: argparse.Namespace) -> None:
    transcriber = recogniser(arguments.package, arguments.encoder)
    for path in arguments.audio:
        print(f"{path}: {transcriber.transcribe(path)}")


def _budget(arguments: argparse.Namespace) -> None:
    """Count the parameters of a method on an encoder, from the modules and by its formula; or, with
    --budgets, print for every method the size whose count comes closest to each budget.
    """
    if arguments.budgets:
        _print_budgets(arguments)
        return
    method = _method(arguments.adapter or "mambadapter", arguments.settings)
    encoder = build_on_meta(arguments.encoder, method)
    shape = EncoderShape.of(encoder.backbone)
    print(f"{arguments.encoder}: {shape.layers} layers, width {shape.width}")
    print(method)
    print(count_parameters(encoder))
    print(f"{'by the formula':<22}{method.count(shape).total():>14,}")


def _print_budgets(arguments: argparse.Namespace) -> None:
    if min(arguments.budgets) < 1:
        raise UserError("--budgets: give whole numbers of at least 1.")
    names = [arguments.adapter] if arguments.adapter else list(MENU)
    methods = {name: _method(name, arguments.settings, len(names) > 1) for name in names}
    shape, with_norms = encoder_shape(arguments.encoder), not arguments.without_norms
    counted = "with the LayerNorms that learn" if with_norms else "without LayerNorms"
    print(f"{arguments.encoder}: trained parameters, head left out, {counted}")
    print("| method | budget | size | count | gap, % | LayerNorms that learn |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name, method in methods.items():
        fits = [closest(method, [shape], budget, with_norms) for budget in arguments.budgets]
        for fit in fits if method.size else fits[:1]:  # of one size only: once
            budget, gap = (f"{fit.budget:,}", f"{100 * fit.gap:+.1f}") if method.size else ("", "")
            norms = fit.method.count(shape).layer_norm
            print(f"| {name} | {budget} | {fit.size} | {fit.count:,} | {gap} | {norms:,} |")


def _method(name: str, pairs: Sequence[str], lenient: bool = False) -> Any:
    """A method of the menu with some knobs changed; lenient: only those that it has."""
    if name not in MENU:
        raise UserError(f"--adapter: '{name}' is not on the menu; {did_you_mean(name, MENU)}.")
    method = MENU[name]
    known = [field.name for field in fields(method)]
    anywhere = {field.name for other in MENU.values() for field in fields(other)}
    settings = {}
    for pair in pairs:
        knob, separator, value = pair.partition("=")
        if lenient and separator and knob in anywhere - set(known):
            continue
        if not separator or knob not in known:
            raise UserError(
                f"'{pair}' is no setting of {name} of the form knob=value; {did_you_mean(knob, known)}."
            )
        settings[knob] = parse_value(value)
    return replace(method, **settings)


def _sweep(arguments: argparse.Namespace) -> None:
    options = {}
    for pair in arguments.launcher_options:
        key, separator, value = pair.partition("=")
        if not separator:
            raise UserError(f"'{pair}' is no option of the form key=value.")
        options[key] = parse_value(value)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError("--jobs: give at least 1.")
    sweep = read_sweep(arguments.file)
    counts = run_sweep(sweep, arguments.jobs, arguments.launcher, arguments.dry_run, options)
    if counts[FAILED]:
        raise UserError(
            f"{counts[FAILED]} runs failed; {SWEEP_LOG} in each one's folder says why. Mend it, and start "
            "the sweep again: only what is not done will run."
        )


def _report(arguments: argparse.Namespace) -> None:
    if not arguments.folder.is_dir():
        raise UserError(f"There is no folder {arguments.folder}.")
    sweep = None if arguments.sweep is None else read_sweep(arguments.sweep)
    output = arguments.output or arguments.folder / "report"
    page = write_report(arguments.folder, output, arguments.metric, sweep)
    print((output / "table.md").read_text(encoding="utf-8"))
    print(f"Wrote {page}, the table as CSV, Markdown and LaTeX, and the pictures as PDF and PNG.")


def _doctor(arguments: argparse.Namespace) -> None:
    print(f"mambadapter {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package, version in package_versions().items():
        print(f"{package} {version or 'not installed'}")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    print(f"{torch.get_num_threads()} threads, GPUs: {json.dumps(gpus)}")
    for name, usable, reason in backend_report():
        print(f"scan backend {name}: {'usable' if usable else 'not usable'} ({reason})")


if __name__ == "__main__":
    sys.exit(main())
