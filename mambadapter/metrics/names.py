"""What papers report of a test."""

from collections.abc import Mapping

# Whether more is better. Of several that a run has, the first selects, is reported and shown.
HEADLINES = {"accuracy": True, "mAP": True, "wer": False, "cer": False}


def headline(metrics: Mapping[str, object]) -> str | None:
    """The name of the metric that stands for the others; None where there is none of them.

    Example
    -------
    >>> headline({"loss": 1.0, "cer": 0.1, "wer": 0.3})
    'wer'
    """
    return next((name for name in HEADLINES if name in metrics), None)
