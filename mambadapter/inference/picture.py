"""A timeline as a picture."""

from pathlib import Path

from matplotlib.figure import Figure

from mambadapter.inference.results import Timeline
from mambadapter.utils.figures import save_figure


def timeline_figure(timeline: Timeline, title: bool = True) -> Figure:
    """Draw a row a class, a bar a segment, fainter where it is less sure."""
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
    if title:
        axes.set_title(timeline.source)
    return figure


def draw_timeline(timeline: Timeline, path: str | Path) -> Path:
    """Write a timeline's figure; the file's name says the format."""
    return save_figure(timeline_figure(timeline), path)
