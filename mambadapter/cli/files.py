"""What commands that read audio files have in common: their arguments, and an answer for each file."""

import argparse
import os
import sys
from collections.abc import Callable

from mambadapter.errors import UserError, user_error
from mambadapter.utils.files import shown


def user_path(text: str) -> str:
    """A path on a command line; not every shell expands its ``~``."""
    return os.path.expanduser(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a package and its audio files are told by."""
    parser.add_argument(
        "package", type=user_path, help="a run's output folder, or the `adapter` folder in it"
    )
    parser.add_argument("audio", type=user_path, nargs="+", help="audio files")
    parser.add_argument(
        "--encoder", type=user_path, help="where the frozen encoder is now, if it has moved"
    )
    parser.add_argument(
        "--channel",
        type=int,
        help="the one to take of several, from 1 (default as in training)",
    )
    parser.add_argument(
        "--read_cut", action="store_true", help="read files that were cut short as far as they go"
    )


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse a channel that no file has."""
    if arguments.channel is not None and arguments.channel < 1:
        raise UserError("--channel: give at least 1, the first.")


def answer_each(paths: list[str], answer: Callable[[str], str]) -> int:
    """Print an answer for each file that has one; name the others, and end with 1 if there are any."""
    failed = 0
    for path in paths:
        try:
            print(f"{shown(path)}: {answer(path)}", flush=True)
        except Exception as error:
            told = user_error(error)
            if told is None:
                raise
            failed += 1
            print(f"error: {told}", file=sys.stderr)
    return 1 if failed else 0
