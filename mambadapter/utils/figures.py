"""Figures as files."""

from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.errors import UserError
from mambadapter.utils.files import whole_file


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole or not at all; the file's name says the format.

    Raises
    ------
    UserError
        If that is none of pictures.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".") or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{path}: '.{kind}' is no format of pictures; take .png, .pdf or .svg.")
    with whole_file(path) as partial:
        figure.savefig(partial, format=kind)
    return path
