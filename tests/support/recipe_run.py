"""Recipes as a user starts them, and what their preparation wrote."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import soundfile as sf

from support import warm

RECIPES = Path(__file__).parents[2] / "recipes"


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(manifests, split):
    return json.loads(manifests[split].read_text())


def names(manifests):
    return {split: set(read(manifests, split)) for split in manifests}


def write_noise(path, rate, seed, seconds=0.4):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate))
    sf.write(path, samples, rate, subtype="PCM_16")


def run(recipe, *arguments, launch=("train.py",), hparams="hparams/train.yaml", processes=1):
    """Run a recipe; `launch` may begin with `warm.TWO_PROCESSES`."""
    given = [*launch, hparams, *arguments, "--noprogressbar"]
    return warm.run(given, cwd=RECIPES / recipe, processes=processes)
