"""A few training clips of each class, for learning from little."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from mambadapter.errors import UserError

logger = logging.getLogger(__name__)


def draw_shots(
    entries: Mapping[str, Mapping[str, Any]], shots_per_class: int, seed: int
) -> dict[str, Mapping[str, Any]]:
    """Keep so many clips of each class.

    The draw depends on the seed and the names of a class's clips alone, not on their order or on other
    classes, and a smaller one is part of a larger one.
    """
    names = defaultdict(list)
    for name, entry in sorted(entries.items(), key=lambda item: item[0]):
        names[entry["label"]].append(name)
    label, fewest = min(names.items(), key=lambda item: len(item[1]))
    if len(fewest) < shots_per_class:
        raise UserError(
            f"shots_per_class: class '{label}' has {len(fewest)} training clips; "
            f"give at most {len(fewest)}."
        )
    drawn = set()
    for label, clips in names.items():
        generator = np.random.default_rng([seed, *label.encode()])
        drawn.update(generator.permutation(clips)[:shots_per_class].tolist())
    logger.info("Few-shot: %d training clips, %d of each class", len(drawn), shots_per_class)
    return {name: entry for name, entry in entries.items() if name in drawn}
