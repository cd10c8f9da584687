"""`mambadapter try`: a page in the browser for trained adapters."""

import argparse
import signal
import sys

from mambadapter.cli.files import user_path
from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "try", help="try trained adapters in the browser, with a microphone or files"
    )
    parser.add_argument(
        "packages",
        type=user_path,
        nargs="+",
        metavar="PACKAGE",
        help="a run's output folder, the `adapter` folder in it, or a package's name on the hub",
    )
    parser.add_argument(
        "--port", type=int, help="of this machine (default the first free from 7860)"
    )
    parser.add_argument(
        "--encoder", type=user_path, help="where the frozen encoder is now, if it has moved"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or mps (default auto)")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, bf16 or, on a GPU, fp16 (default fp32)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Load them, and serve the page until it is interrupted."""
    if arguments.port is not None and not 0 < arguments.port < 2**16:
        raise UserError("--port: give 1 to 65535.")
    from transformers.utils import logging

    from mambadapter.inference.browser import check_gradio, serving
    from mambadapter.inference.page import Packages

    check_gradio()  # before a model is loaded for nothing
    for ending in (signal.SIGTERM, signal.SIGHUP):  # recordings are deleted then, too
        signal.signal(ending, lambda *_: sys.exit())
    logging.disable_progress_bar()
    packages = Packages(
        arguments.packages, arguments.device, arguments.precision, arguments.encoder
    )
    with serving(packages, arguments.port) as page:
        print(f"Open {page.local_url} in a browser; Ctrl+C ends it.", flush=True)
        page.block_thread()
