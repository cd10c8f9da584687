"""`mambadapter transcribe`: recognise speech in audio files with a trained adapter."""

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "transcribe", help="write down what is said in audio files, with a trained adapter"
    )
    parser.add_argument("package", help="a run's output folder, or the `adapter` folder in it")
    parser.add_argument("audio", nargs="+", help="audio files")
    parser.add_argument("--encoder", help="where the frozen encoder is now, if it has moved")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the text of each file."""
    from transformers.utils import logging

    from mambadapter.inference import recogniser

    logging.disable_progress_bar()
    transcriber = recogniser(arguments.package, arguments.encoder)
    for path in arguments.audio:
        print(f"{path}: {transcriber.transcribe(path)}")
