"""Preparation of a language of Common Voice, and an epoch on it with and without dynamic batching.

    python benchmarks/speed/recognition_throughput.py /data/cv-corpus-13.0-2023-03-09 --language kab

The encoder is the one in the box, with MambAdapters. Without dynamic batching, batches are of the clips as
they come, as many in each as in a dynamic batch on average. Both train in this process, in turn.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from hyperpyyaml import load_hyperpyyaml
from output import Output, add_json
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader

from mambadapter.config import recipe_main
from mambadapter.cost.timing import alternate
from mambadapter.data.batching import batches_by_length
from mambadapter.data.corpora.common_voice import prepare_common_voice
from mambadapter.data.manifests import transcription_datasets
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.bundled import BOX
from mambadapter.heads import CTCHead
from mambadapter.methods import MambAdapters

RECIPES = Path(__file__).resolve().parents[2] / "recipes/CommonVoice"
HOURS = {"train": 10, "valid": 1, "test": 1}
LONGEST = 10.0
ROUNDS = 3


def preparation(release: Path, language: str, folder: Path, output: Output) -> dict[str, Path]:
    """Prepare twice, the second time for another run, and print how long each took."""
    rules = load_hyperpyyaml((RECIPES / language / "hparams/language.yaml").read_text())["rules"]
    for name, number in (("first run", 1), ("next run, lengths remembered", 2)):
        start = time.perf_counter()
        manifests = prepare_common_voice(
            release, folder / f"manifests{number}", folder, language, rules, HOURS, LONGEST
        )
        seconds = time.perf_counter() - start
        output.keep("preparation", name, seconds=seconds)
        output.say(f"preparation, {name}: {seconds:.2f} s")
    return manifests


def epoch(
    encoder: AdaptedEncoder, head: CTCHead, batches: Callable[[], SaveableDataLoader]
) -> dict[str, float]:
    """Train on every batch once; clips and seconds of audio, padding included."""
    learning = [p for m in (encoder, head) for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-4)
    total = {"batches": 0.0, "clips": 0.0, "seconds": 0.0, "padded": 0.0}
    for batch in batches():
        wavs, wav_lens = batch.signal
        tokens, token_lens = batch.tokens
        hidden, frames = encoder(wavs, wav_lens)
        scores = head(hidden, frames).log_softmax(-1).transpose(0, 1)
        lengths = (token_lens * tokens.shape[1]).round().long()
        optimiser.zero_grad()
        F.ctc_loss(scores, tokens, frames, lengths, zero_infinity=True).backward()
        optimiser.step()
        total["batches"] += 1
        total["clips"] += len(wavs)
        total["seconds"] += float(wav_lens.sum()) * wavs.shape[1] / encoder.sample_rate
        total["padded"] += wavs.numel() / encoder.sample_rate
    return total


@recipe_main
def main() -> None:
    """Measure, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("release", type=Path)
    parser.add_argument("--language", default="kab")
    parser.add_argument("--batch_seconds", type=float, default=60)
    add_json(parser)
    arguments = parser.parse_args()
    output = Output(
        arguments.json, language=arguments.language, batch_seconds=arguments.batch_seconds
    )
    with tempfile.TemporaryDirectory() as folder:
        manifests = preparation(arguments.release, arguments.language, Path(folder), output)
        encoder = AdaptedEncoder.from_pretrained(BOX, MambAdapters()).train()
        datasets, vocabulary = transcription_datasets(manifests, encoder.sample_rate)
    head = CTCHead(encoder.width, len(vocabulary))
    loader = batches_by_length(datasets, arguments.batch_seconds, LONGEST, {})["train"]
    train = datasets["train"]
    size = round(len(train) / len(loader["batch_sampler"]))

    def fixed() -> SaveableDataLoader:
        order = random.Random(0).sample(range(len(train)), len(train))
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        return SaveableDataLoader(train, batch_sampler=batches, collate_fn=PaddedBatch)

    ways = {"as they come": fixed, "dynamic": lambda: SaveableDataLoader(train, **loader)}
    totals: dict[str, dict[str, float]] = {}

    def measured(name: str, batches: Callable[[], SaveableDataLoader]) -> None:
        totals[name] = epoch(encoder, head, batches)

    epochs = {name: partial(measured, name, batches) for name, batches in ways.items()}
    seconds = {name: ms / 1e3 for name, ms in alternate(epochs, ROUNDS, warmup=1).items()}
    output.say("\n| batches | number | clips in each | padding, % | epoch, s | clips a second |")
    output.say("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, total in totals.items():
        clips, padding = total["clips"], 100 * (1 - total["seconds"] / total["padded"])
        output.keep(
            "epoch", name, seconds=seconds[name], padding_percent=padding, clips_per_s=clips / seconds[name],
        )  # fmt: skip
        output.say(
            f"| {name} | {total['batches']:.0f} | {clips / total['batches']:.1f} | {padding:.1f} "
            f"| {seconds[name]:.1f} | {clips / seconds[name]:.1f} |"
        )
    ratio = seconds["as they come"] / seconds["dynamic"]
    output.keep("epoch", over_dynamic=ratio)
    output.say(f"\nas they come / dynamic: {ratio:.2f}")
    output.close()


if __name__ == "__main__":
    sys.exit(main())
