"""The `mambadapter` command: predict, budget, doctor."""

import argparse
import json
import logging
import platform
import sys
from collections.abc import Sequence
from dataclasses import fields

import torch
import transformers

from mambadapter import __version__
from mambadapter.budget import (
    ARCHITECTURES,
    architecture_config,
    build_on_meta,
    count_parameters,
    mambadapter_count,
)
from mambadapter.config.overrides import parse_value
from mambadapter.errors import UserError, did_you_mean
from mambadapter.inference import Classifier
from mambadapter.methods import MambAdapters
from mambadapter.ssm import backend_report
from mambadapter.versions import package_versions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; user errors become one line on stderr and exit status 2."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    transformers.utils.logging.disable_progress_bar()
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
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

    budget = commands.add_parser(
        "budget", help="count what a MambAdapter setting trains", description=_budget.__doc__
    )
    budget.add_argument(
        "--encoder",
        default="wav2vec2-base",
        help=f"box, {', '.join(ARCHITECTURES)}, or a folder (default wav2vec2-base)",
    )
    budget.add_argument(
        "settings", nargs="*", metavar="knob=value", help="for instance placement=houlsby rank=24"
    )
    budget.set_defaults(run=_budget)

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


def _budget(arguments: argparse.Namespace) -> None:
    """Count the parameters of a MambAdapter on an encoder: from the modules, and by the formula."""
    method = MambAdapters(**_settings(arguments.settings))
    encoder = build_on_meta(arguments.encoder, method)
    config = architecture_config(arguments.encoder)
    print(f"{arguments.encoder}: {config.num_hidden_layers} layers, width {config.hidden_size}")
    print(method)
    print(count_parameters(encoder))
    formula = mambadapter_count(config.hidden_size, config.num_hidden_layers, method)
    print(f"{'by the formula':<22}{formula:>14,}")


def _settings(pairs: Sequence[str]) -> dict[str, object]:
    known = [field.name for field in fields(MambAdapters)]
    settings = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or name not in known:
            raise UserError(
                f"'{pair}' is no setting of the form knob=value; {did_you_mean(name, known)}."
            )
        settings[name] = parse_value(value)
    return settings


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
