"""Derive the corpora of the evidence from Speech Commands and ESC-50, in layouts that the recipes read.

    python benchmarks/evidence/corpora.py /data/speech_commands_v0.02 /data/ESC-50-master /data/evidence

noisy_words/     as Speech Commands: each word in an environmental sound, at 0 to 10 dB SNR; no sound is in
                 two splits
speaker1/ to 4/  as Speech Commands: tested on all clips of a speaker of whom none is trained or validated on
first_of_two/    as Fluent Speech Commands: six words of one speaker; the label is which of two was said first

The same folders every time, from the same corpora.
"""

import argparse
import csv
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from mambadapter.data.audio import read_clip
from mambadapter.data.corpora.speech_commands import LISTS

RATE = 16000
SPEAKERS = 4  # those with the most clips
FIRST_OF_TWO = {"train": 1000, "valid": 200, "test": 400}  # clips
WORDS_A_CLIP = 6
SPLIT_OF_FOLD = {1: "train", 2: "train", 3: "train", 4: "valid", 5: "test"}  # of ESC-50's sounds


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech_commands", type=Path)
    parser.add_argument("esc50", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    if arguments.output.exists() and any(arguments.output.iterdir()):
        # What is left of other recordings would be trained on.
        raise SystemExit(
            f"error: {arguments.output} is not empty; give another folder, or delete it."
        )
    splits = read_splits(arguments.speech_commands)
    write_noisy_words(
        arguments.speech_commands, splits, arguments.esc50, arguments.output / "noisy_words"
    )
    counts = Counter(speaker_of(name) for names in splits.values() for name in names)
    for number, (speaker, _) in enumerate(counts.most_common(SPEAKERS), start=1):
        write_unheard_speaker(
            arguments.speech_commands, splits, speaker, arguments.output / f"speaker{number}"
        )
    write_first_of_two(arguments.speech_commands, splits, arguments.output / "first_of_two")


def read_splits(corpus: Path) -> dict[str, list[str]]:
    """The clips of each split, ``word/speaker_nohash_take.wav``, sorted."""
    listed = {split: (corpus / file).read_text().split() for split, file in LISTS.items()}
    elsewhere = {name for names in listed.values() for name in names}
    every = {path.relative_to(corpus).as_posix() for path in corpus.glob("[!_]*/*.wav")}
    return {split: sorted(names) for split, names in {"train": every - elsewhere, **listed}.items()}


def speaker_of(name: str) -> str:
    """Whose clip it is."""
    return Path(name).name.partition("_")[0]


def write_noisy_words(
    corpus: Path, splits: Mapping[str, Sequence[str]], esc50: Path, output: Path
) -> None:
    """Add to each word a part of a sound whose fold belongs to the word's split."""
    rng = np.random.default_rng(1)
    sounds = defaultdict(list)
    with (esc50 / "meta/esc50.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            sound = read_clip(esc50 / "audio" / row["filename"], RATE).numpy()
            if np.abs(sound).max() > 0:
                sounds[SPLIT_OF_FOLD[int(row["fold"])]].append(sound)
    for split, names in splits.items():
        for name in names:
            word = read_clip(corpus / name, RATE).numpy()
            write(output / name, in_noise(word, sounds[split], rng))
    write_lists(output, splits)


def in_noise(
    word: np.ndarray, sounds: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """A word and a part of a sound, the word 0 to 10 dB the louder."""
    power = 0.0
    while power == 0.0:  # parts of the sounds are digital silence
        sound = sounds[rng.integers(len(sounds))]
        sound = np.pad(sound, (0, max(0, len(word) - len(sound))))
        start = rng.integers(len(sound) - len(word) + 1)
        noise = sound[start : start + len(word)]
        power = float(np.square(noise).mean())
    gain = np.sqrt(np.square(word).mean() / power / 10 ** (rng.uniform(0, 10) / 10))
    mixed = word + gain * noise
    return mixed / max(1.0, np.abs(mixed).max())


def write_unheard_speaker(
    corpus: Path, splits: Mapping[str, Sequence[str]], speaker: str, output: Path
) -> None:
    """Test on one speaker, train and validate on the others' clips of these splits."""
    known = {
        split: [name for name in splits[split] if speaker_of(name) != speaker]
        for split in ("train", "valid")
    }
    unheard = sorted(
        name for names in splits.values() for name in names if speaker_of(name) == speaker
    )
    for name in (*known["train"], *known["valid"], *unheard):
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(corpus / name, target)
    write_lists(output, {**known, "test": unheard})


def write_first_of_two(corpus: Path, splits: Mapping[str, Sequence[str]], output: Path) -> None:
    """Words in a row; the label is which of the first two of the vocabulary was said first."""
    rng = random.Random(1)
    words = sorted({name.partition("/")[0] for names in splits.values() for name in names})
    pair, others = words[:2], words[2:]
    header = ["", "path", "speakerId", "transcription", "action", "object", "location"]
    for split, clips in FIRST_OF_TWO.items():
        pools: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in splits[split]:
            pools[speaker_of(name)][name.partition("/")[0]].append(name)
        speakers = sorted(s for s, pool in pools.items() if len(pool) == len(words))
        if not speakers:
            raise SystemExit(f"error: no speaker of the {split} clips in {corpus} says all words.")
        rows = []
        for number in range(clips):
            first, second = pair if number % 2 else pair[::-1]
            said = [rng.choice(others) for _ in range(WORDS_A_CLIP)]
            places = sorted(rng.sample(range(WORDS_A_CLIP), 2))
            said[places[0]], said[places[1]] = first, second
            # Two clips in a row: a speaker's have both labels as often, and tell nothing of the label.
            speaker = speakers[number // 2 % len(speakers)]
            audio = spoken(corpus, (rng.choice(pools[speaker][word]) for word in said), rng)
            path = f"wavs/speakers/{speaker}/{split}-{number:04d}.wav"
            write(output / path, audio)
            rows.append([number, path, speaker, " ".join(said), f"{first} first", "none", "none"])
        table = output / f"data/{split}_data.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])


def spoken(corpus: Path, names: Iterable[str], rng: random.Random) -> np.ndarray:
    """Clips one after the other, with short pauses."""
    pieces = []
    for name in names:
        pieces += [
            read_clip(corpus / name, RATE).numpy(),
            np.zeros(int(RATE * rng.uniform(0.04, 0.15)), np.float32),
        ]
    return np.concatenate(pieces)


def write(path: Path, audio: np.ndarray) -> None:
    """A mono wav of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, subtype="PCM_16")


def write_lists(output: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Speech Commands' lists of validation and test clips."""
    for split, file in LISTS.items():
        (output / file).write_text("".join(f"{name}\n" for name in splits[split]))


if __name__ == "__main__":
    main()
