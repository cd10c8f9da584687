"""Choosing one entry of a menu; recipes call these through ``!applyref:``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mambadapter.errors import UserError, did_you_mean


def choose_method(menu: Mapping[str, Any], name: str) -> Any:
    """Return the entry of ``adapters.yaml`` that a recipe names.

    Parameters
    ----------
    menu : Mapping[str, Any]
        Entries by name.
    name : str
        The recipe's ``adapter``.

    Returns
    -------
    Any
        The entry.

    Raises
    ------
    UserError
        If there is no such entry.

    Example
    -------
    >>> choose_method({"linear_probe": {"lr": 0.005}}, "linear_probe")
    {'lr': 0.005}
    """
    if name not in menu:
        raise UserError(f"adapter: '{name}' is not on the menu; {did_you_mean(name, menu)}.")
    return menu[name]


def choose_source(menu: Mapping[str, Any], name: str) -> str | dict[str, Any]:
    """Return where an encoder comes from: the menu's entry, or a folder given in place of a name.

    Parameters
    ----------
    menu : Mapping[str, Any]
        The entries of ``encoders.yaml``.
    name : str
        The recipe's ``encoder``.

    Returns
    -------
    str or dict[str, Any]
        Hub name or folder; the whole entry where it has settings besides.

    Raises
    ------
    UserError
        If it is neither on the menu nor a folder.

    Example
    -------
    >>> choose_source({"wavlm-large": {"source": "microsoft/wavlm-large"}}, "wavlm-large")
    'microsoft/wavlm-large'
    """
    if name in menu:
        entry = menu[name]
        return dict(entry) if entry.keys() - {"source"} else entry["source"]
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    raise UserError(
        f"encoder: '{name}' is neither on the menu nor a folder; {did_you_mean(name, menu)}."
    )
