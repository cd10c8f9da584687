"""What commands that read audio files have in common: their arguments, and answers in many formats."""

import argparse
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError
from mambadapter.utils.files import whole_file

_OF_ONE = ("srt", "vtt", "audacity")  # formats that have no place for a name


def user_path(text: str) -> str:
    """A path on a command line; not every shell expands its ``~``."""
    return os.path.expanduser(text)


def add_arguments(parser: argparse.ArgumentParser, *captions: str) -> None:
    """Add what packages and audio files are told by."""
    parser.add_argument(
        "words",
        type=user_path,
        nargs="*",
        metavar="PACKAGE AUDIO",
        help="a run's output folder, the `adapter` folder in it, or a package's name on the hub (none "
        "after --adapter); then audio files, folders, or patterns in quotes",
    )
    parser.add_argument(
        "--adapter",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=PACKAGE",
        help="several adapters of one encoder, all of which answer",
    )
    parser.add_argument(
        "--recursive", action="store_true", help="look into the folders of folders too"
    )
    parser.add_argument(
        "--encoder", type=user_path, help="where the frozen encoder is now, if it has moved"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, bf16 or, on a GPU, fp16 (default fp32)"
    )
    parser.add_argument(
        "--channel",
        type=int,
        help="the one to take of several, from 1 (default as in training)",
    )
    parser.add_argument(
        "--read_cut", action="store_true", help="read files that were cut short as far as they go"
    )
    parser.add_argument(
        "--format",
        default="text",
        choices=["text", "json", "jsonl", "csv", "tsv", *captions],
        help="what is written (default text)",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        help="a file to write, whole or not at all (default the terminal)",
    )


def answer(
    command: str,
    arguments: argparse.Namespace,
    write: Mapping[str, Callable],
    draw: Callable[[Any], Any] | None = None,
    **how: Any,
) -> int:
    """Write an answer for each file that has one; name the others, and end with 1 if there are any.

    `how` goes to `TrainedModel.answers`.
    """
    if arguments.channel is not None and arguments.channel < 1:
        raise UserError("--channel: give at least 1, the first.")
    if arguments.output is not None and os.path.isdir(arguments.output):
        raise UserError(f"--output: {arguments.output} is a folder; name a file in it.")
    packages, words = _packages(arguments)
    files, failed = find_audio(words, arguments.recursive)
    single = "--picture" if draw else f"--format {arguments.format}"
    if (draw or arguments.format in _OF_ONE) and (len(files) != 1 or len(packages) != 1):
        raise UserError(f"{single} is of one recording and one adapter; give one.")
    from transformers.utils import logging

    from mambadapter.inference import TrainedModel

    logging.disable_progress_bar()
    model = TrainedModel(
        arguments.device, arguments.precision, arguments.encoder, fold=len(packages) == 1
    )
    for name, package in packages.items():
        model.add_adapter(name, package)
    bad = _Named()
    for message in failed:
        bad.name(message)
    answers: Iterable[Any] = bad.without(
        model.answers(command, files, None, arguments.channel, arguments.read_cut, **how),
        len(files),
    )
    if draw:
        answers = list(answers)
        for one in answers:
            draw(*one.values())
    lines = write[arguments.format](answers)
    if arguments.output is None:
        for line in lines:
            print(line, end="", flush=True)
    else:
        with whole_file(Path(arguments.output)) as path, path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    return 1 if bad.count else 0


def find_audio(words: Iterable[str], recursive: bool) -> tuple[list[str], list[str]]:
    """The files that words on a command line stand for, and what is wrong with the words that have none.

    A word is a file, a folder, of which the audio files in the order of their names, or a pattern.
    """
    files, failed = [], []
    for word in words:
        if os.path.isdir(word):
            found = sorted(map(str, Path(word).glob("**/*" if recursive else "*")))
            found = [path for path in found if _is_audio(path)]
            if not found:
                deeper = "" if recursive else " itself; --recursive looks into its folders too"
                failed.append(f"{word}: there is no audio file in it{deeper}.")
        elif glob.has_magic(word) and not os.path.exists(word):
            found = sorted(filter(os.path.isfile, glob.glob(word, recursive=True)))
            if not found:
                failed.append(f"{word}: no file is like this.")
        else:
            found = [word]
        files += found
    return files, failed


def _is_audio(path: str) -> bool:
    from mambadapter.data.decoding import SUFFIXES

    return os.path.isfile(path) and Path(path).suffix.lower() in SUFFIXES


def _packages(arguments: argparse.Namespace) -> tuple[dict[str, str], list[str]]:
    """Packages by name, "" of a single one; and the words that stand for audio."""
    words = list(arguments.words)
    named = [word for word in arguments.adapter if "=" in word]
    # The option takes all words after it.
    words += [user_path(word) for word in arguments.adapter if "=" not in word]
    packages: dict[str, str] = {}
    for word in named:
        name, _, package = word.partition("=")
        if not name or not package or name in packages:
            raise UserError(f"--adapter: '{word}' should be NAME=PACKAGE, each name once.")
        packages[name] = user_path(package)
    if not packages:
        if not words:
            raise UserError("Give a package, and audio files behind it.")
        packages[""] = words.pop(0)
    if not words:
        raise UserError("Give audio files, folders or patterns behind the package.")
    return packages, words


class _Named:
    """Names what cannot be answered, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def name(self, message: object) -> None:
        from tqdm import tqdm

        self.count += 1
        with tqdm.external_write_mode(sys.stderr):
            print(f"error: {message}", file=sys.stderr)

    def without(self, answers: Iterable[Any], total: int) -> Iterator[Any]:
        """The answers of the good ones; on a terminal with the time that is left."""
        from tqdm import tqdm

        shows = partial(tqdm, unit="file", leave=False, disable=not sys.stderr.isatty())
        for one in shows(answers, total=total):
            if isinstance(one, UserError):
                self.name(one)
            else:
                yield one
