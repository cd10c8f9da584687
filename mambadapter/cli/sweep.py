"""`mambadapter sweep`: run what a sweep file plans."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mambadapter.cli import only
from mambadapter.cli.files import user_path
from mambadapter.errors import UserError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "sweep", help="run what a sweep file plans, and go on where it stopped"
    )
    parser.add_argument(
        "file",
        type=lambda text: Path(user_path(text)),
        help="a YAML such as hparams/sweeps/small.yaml",
    )
    parser.add_argument(
        "--jobs", type=int, help="runs at once (default what the GPUs allow, or one)"
    )
    only.add(parser)
    parser.add_argument("--dry_run", action="store_true", help="only say what would run")
    parser.add_argument(
        "--launcher",
        default="here",
        help="here (processes of this machine), slurm, or submitit's local and debug (default here)",
    )
    parser.add_argument(
        "--launcher_options",
        nargs="+",
        default=[],
        metavar="key=value",
        help="for submitit, such as slurm_partition=gpu timeout_min=240",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the sweep; an error if a run failed."""
    from mambadapter.experiments.sweep import run_sweep
    from mambadapter.experiments.sweep_file import read_sweep
    from mambadapter.experiments.trials import FAILED, SWEEP_LOG

    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError("--jobs: give at least 1.")
    counts = run_sweep(
        read_sweep(arguments.file).part(dict(arguments.only)),
        jobs=arguments.jobs,
        launcher=arguments.launcher,
        dry_run=arguments.dry_run,
        options=_options(arguments.launcher_options),
    )
    if counts[FAILED]:
        raise UserError(
            f"{counts[FAILED]} runs failed; {SWEEP_LOG} in each one's folder says why. Mend it, and start "
            "the sweep again: only what is not done will run."
        )


def _options(pairs: Sequence[str]) -> dict[str, str | int]:
    from mambadapter.utils.values import parse_value

    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise UserError(f"'{pair}' is no option of the form key=value.")
        options[key] = parse_value(value)
    return options
