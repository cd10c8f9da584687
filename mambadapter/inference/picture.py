"""A timeline as a picture."""

from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.errors import UserError
from mambadapter.inference.results import Timeline
from mambadapter.utils.files import whole_file


def draw_timeline(timeline: Timeline, path: str | Path) -> Path:
    """Draw a row a class, a bar a segment, fainter where it is less sure; the file's name says the format."""
    path = Path(path)
    labels = list(dict.fromkeys(one.text for one in timeline.segments))
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for one in timeline.segments:
        place = (labels.index(one.text) - 0.4, 0.8)
        axes.broken_barh(
            [(one.start, one.end - one.start)], place, color="C0", alpha=one.probability
        )
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.set_title(timeline.source)
    kind = path.suffix.removeprefix(".") or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{path}: '.{kind}' is no format of pictures; take .png, .pdf or .svg.")
    with whole_file(path) as partial:
        figure.savefig(partial, format=kind)
    return path
