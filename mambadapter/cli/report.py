"""`mambadapter report`: tables, tests and pictures of results."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from mambadapter.cli import only
from mambadapter.cli.files import user_path
from mambadapter.errors import UserError

_REPORTS = Path("results/report")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("report", help="tables, tests and pictures of results")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="source",
        type=lambda text: Path(user_path(text)),
        help="a sweep's output, any folder with results, or a .jsonl file of them; several make one table, "
        "a row a task, and ranks of the methods",
    )
    parser.add_argument(
        "--output",
        type=lambda text: Path(user_path(text)),
        help="where it goes (default report in that folder; of files results/report, of one a folder in it)",
    )
    parser.add_argument(
        "--metric", help="such as accuracy, mAP, wer or cer (default what the results have)"
    )
    parser.add_argument(
        "--sweep",
        type=lambda text: Path(user_path(text)),
        help="the sweep's file, which names what is missing, and variants of a method",
    )
    parser.add_argument(
        "--against",
        metavar="METHOD",
        help="test this method against each other one, and not all against all",
    )
    only.add(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the report, and print its table."""
    from mambadapter.experiments.sweep_file import read_sweep
    from mambadapter.report.page import write_report
    from mambadapter.report.sources import check_sources

    sources, wanted = arguments.sources, dict(arguments.only)
    check_sources(sources)
    if len(sources) > 1:
        page = _overview(arguments, wanted)
    else:
        (source,) = sources
        sweep = None if arguments.sweep is None else read_sweep(arguments.sweep)
        # A file's report has its name, so that the next one does not replace it.
        beside = source / "report" if source.is_dir() else _REPORTS / source.stem
        output = arguments.output or beside
        page = write_report(source, output, arguments.metric, sweep, arguments.against, wanted)
    print((page.parent / "table.md").read_text(encoding="utf-8"))
    print(f"Wrote {page}, and beside it the tables and pictures as files.")


def _overview(arguments: argparse.Namespace, wanted: Mapping[str, str]) -> Path:
    from mambadapter.report.collect import collect
    from mambadapter.report.overview import write_overview
    from mambadapter.report.sources import results_by_name

    if arguments.sweep or arguments.against:
        raise UserError("--sweep and --against are for one source; give one.")
    collections = {}
    for name, paths in results_by_name(arguments.sources).items():
        try:
            collections[name] = collect(paths, arguments.metric, wanted)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return write_overview(collections, arguments.output or _REPORTS)
