"""The `mambadapter` command; a file a subcommand, which imports what is heavy once it runs."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from mambadapter import __version__
from mambadapter.cli import (
    bench,
    budget,
    doctor,
    export,
    inspect,
    predict,
    push,
    report,
    sweep,
    transcribe,
    try_page,
)
from mambadapter.errors import user_error

_COMMANDS = (
    inspect,
    predict,
    transcribe,
    try_page,
    export,
    push,
    budget,
    bench,
    sweep,
    report,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; user errors become one line on stderr, and exit status 2 or, of one file, 1."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read the answers has gone, and Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        shown = user_error(error)
        if shown is None:
            raise
        print(f"error: {shown}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line's parser, all subcommands in it."""
    root = argparse.ArgumentParser(
        prog="mambadapter",
        description="Parameter-efficient transfer learning for speech and audio.",
    )
    root.add_argument("--version", action="version", version=__version__)
    commands = root.add_subparsers(required=True, metavar="command")
    for command in _COMMANDS:
        command.add(commands)
    return root
