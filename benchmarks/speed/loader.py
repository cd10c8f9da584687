"""Clips per second that processes read from disk, beside those that a training step takes.

    python benchmarks/speed/loader.py [FOLDER] [--clips N] [--workers 0 1 2 4] [--json]

The loader is the one that a recipe makes, batches of 8, of the audio in a folder, or of clips that this
writes: 1 to 5 s of noise, 16 kHz wav and flac and 44.1 kHz stereo mp3. The step is a MambAdapter's over the
encoder in the box, of batches of their mean length. Wall time; of a loader from its first batch on.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from output import Output, add_json
from speechbrain.dataio.dataloader import make_dataloader

from mambadapter.cost.step import Step
from mambadapter.cost.timing import alternate
from mambadapter.data.audio import audio_pipeline, inspect_clips
from mambadapter.data.clips import ClipDataset, Clips
from mambadapter.data.manifests import manifest_entry
from mambadapter.data.own.folders import audio_files
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.bundled import BOX
from mambadapter.heads import PooledClassifier
from mambadapter.methods import MENU

BATCH, CLASSES = 8, 35
FORMS = {"wav": (16000, 1), "flac": (16000, 1), "mp3": (44100, 2)}  # rate and channels


def write_clips(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for number in range(count):
        for form, (rate, channels) in FORMS.items():
            samples = random.normal(0, 0.1, (round(random.uniform(1, 5) * rate), channels))
            path = folder / form / f"{number}.{form}"
            path.parent.mkdir(exist_ok=True)
            sf.write(path, samples.clip(-1, 1), rate)


def dataset(paths: list[Path], rate: int) -> ClipDataset:
    clips, _ = inspect_clips(paths, rate)
    entries = ((str(clip.path), manifest_entry(clip, "any")) for clip in clips)
    return ClipDataset(Clips(entries), [audio_pipeline(rate, segments=True)], ["id", "signal"])


def clips_per_second(clips: ClipDataset, workers: int) -> float:
    batches = iter(make_dataloader(clips, batch_size=BATCH, num_workers=workers, shuffle=True))
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch.id) for batch in batches)
    return count / (time.perf_counter() - start)


def step_clips_per_second(encoder: AdaptedEncoder, seconds: float, rounds: int) -> float:
    torch.manual_seed(0)
    head = PooledClassifier(encoder.width, CLASSES)
    step = Step(encoder, head, BATCH, seconds, lr=1e-3)
    return 1000 * BATCH / alternate({"step": step}, rounds, warmup=1)["step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--clips", type=int, default=400, help="of each form that is written")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    add_json(parser)
    given = parser.parse_args()
    output = Output(given.json, clips=given.clips, batch=BATCH, workers=given.workers)
    encoder = AdaptedEncoder.from_pretrained(BOX, MENU["mambadapter"])
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        if given.folder is None:
            write_clips(folder, given.clips)
        by_form: dict[str, list[Path]] = {}
        for path in audio_files(folder):
            by_form.setdefault(path.suffix[1:].lower(), []).append(path)
        output.say(f"\n{'clips/s with workers':24}" + "".join(f"{n:8}" for n in given.workers))
        lengths = []
        for form, paths in by_form.items():
            clips = dataset(paths, encoder.sample_rate)
            lengths += [entry["duration"] for entry in clips.data.values()]
            rates = {str(n): clips_per_second(clips, n) for n in given.workers}
            output.keep("loader", form, **rates)
            output.say(f"{form:24}" + "".join(f"{rate:8.0f}" for rate in rates.values()))
    eaten = step_clips_per_second(encoder, float(np.mean(lengths)), given.rounds)
    output.keep("step", clips_per_second=eaten, seconds=float(np.mean(lengths)))
    output.say(f"{f'a step takes, of {np.mean(lengths):.1f} s':24}{eaten:8.0f}")
    output.close()


if __name__ == "__main__":
    sys.exit(main())
