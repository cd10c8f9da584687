"""`mambadapter predict`: classify audio files with a trained adapter."""

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("predict", help="classify audio files with a trained adapter")
    parser.add_argument("package", help="the `adapter` folder in a run's output folder")
    parser.add_argument("audio", nargs="+", help="audio files")
    parser.add_argument("--encoder", help="where the frozen encoder is now, if it has moved")
    parser.add_argument("--top", type=int, default=3, help="classes to show (default 3)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the likeliest classes of each file."""
    from transformers.utils import logging

    from mambadapter.inference import Classifier

    logging.disable_progress_bar()
    classifier = Classifier.from_package(arguments.package, arguments.encoder)
    for path in arguments.audio:
        best = classifier.predict(path, arguments.top)
        print(f"{path}: " + ", ".join(f"{label} {value:.3f}" for label, value in best))
