"""`mambadapter budget`: count what methods train, or size them for budgets."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mambadapter.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from mambadapter.methods.base import Method


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "budget",
        help="count what methods train, or size them for budgets",
        description=run.__doc__,
    )
    parser.add_argument(
        "--encoder",
        default="wav2vec2-base",
        help="a name in hparams/encoders.yaml, or a folder (default wav2vec2-base)",
    )
    parser.add_argument(
        "--adapter",
        help="a name in hparams/adapters.yaml (default mambadapter; all of them with --budgets)",
    )
    parser.add_argument(
        "--budgets", nargs="+", type=int, metavar="N", help="print the size closest to each"
    )
    parser.add_argument(
        "--without_norms", action="store_true", help="leave the LayerNorms out of the budgets"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="setting=value",
        help="for instance placement=houlsby rank=24",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Count the parameters of a method on an encoder; or, with --budgets, print for every method the size
    whose count comes closest to each budget.
    """
    from mambadapter.budget.count import counter

    if arguments.budgets:
        _print_budgets(arguments)
        return
    method = _method(arguments.adapter or "mambadapter", arguments.settings)
    print(f"{arguments.encoder}: {method}")
    print(counter(arguments.encoder)(method))


def _print_budgets(arguments: argparse.Namespace) -> None:
    from mambadapter.budget.count import counter
    from mambadapter.budget.search import closest
    from mambadapter.methods import MENU

    if min(arguments.budgets) < 1:
        raise UserError("--budgets: give whole numbers of at least 1.")
    names = [arguments.adapter] if arguments.adapter else list(MENU)
    methods = {name: _method(name, arguments.settings, len(names) > 1) for name in names}
    count, with_norms = counter(arguments.encoder), not arguments.without_norms
    counted = "with the LayerNorms that learn" if with_norms else "without LayerNorms"
    print(f"{arguments.encoder}: trained parameters, head left out, {counted}")
    print("| method | budget | size | count | gap, % | LayerNorms that learn |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name, method in methods.items():
        fits = [closest(method, count, budget, with_norms) for budget in arguments.budgets]
        for fit in fits if method.size else fits[:1]:  # of one size only: once
            budget, gap = (f"{fit.budget:,}", f"{100 * fit.gap:+.1f}") if method.size else ("", "")
            norms = count(fit.method).layer_norm
            print(f"| {name} | {budget} | {fit.size} | {fit.count:,} | {gap} | {norms:,} |")


def _method(name: str, pairs: Sequence[str], lenient: bool = False) -> "Method":
    """A method of the menu with some settings changed; lenient: only those that it has."""
    from dataclasses import fields, replace

    from mambadapter.methods import MENU
    from mambadapter.utils.values import parse_value

    if name not in MENU:
        raise UserError(f"--adapter: '{name}' is not on the menu; {did_you_mean(name, MENU)}.")
    method = MENU[name]
    known = [field.name for field in fields(method)]
    anywhere = {field.name for other in MENU.values() for field in fields(other)}
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if lenient and separator and key in anywhere - set(known):
            continue
        if not separator or key not in known:
            raise UserError(
                f"'{pair}' is no setting of {name} of the form setting=value; {did_you_mean(key, known)}."
            )
        settings[key] = parse_value(value)
    return replace(method, **settings)
