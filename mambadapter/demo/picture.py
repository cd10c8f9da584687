"""The demo's picture: accuracy against what each method trains."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw_picture(results: Mapping[str, Mapping[str, Any]], chance: float, path: Path) -> Path:
    """Draw test accuracy with its interval against the parameters that learn, the head left out."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    counts = [result["parameters"]["adapted"] for result in results.values()]
    # The same colour only with another marker.
    styles = [f"C{number % 10}{marker}" for marker in "os^" for number in range(10)]
    for (name, result), count, style in zip(results.items(), counts, styles, strict=False):
        test = result["metrics"]["test"]
        low, middle, high = (
            100 * test[key] for key in ("accuracy_low", "accuracy", "accuracy_high")
        )
        interval = [[middle - low], [high - middle]]
        axes.errorbar(count, middle, interval, fmt=style, capsize=4, label=name)
    axes.axhline(100 * chance, color="grey", linestyle=":", linewidth=1)
    axes.annotate(
        "chance",
        (1, 100 * chance),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        color="grey",
    )
    axes.set(
        xscale="log",
        xlim=(min(counts) / 2, max(counts) * 2),
        ylim=(0, 105),
        xlabel="Trained parameters, the head left out",
        ylabel="Test accuracy, % (95 % interval)",
    )
    axes.grid(alpha=0.3)
    # Beside the axes, where names cannot lie on one another however many there are.
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=150)
    return path
