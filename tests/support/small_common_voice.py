"""A release like Common Voice's, of noise: two letters of the alphabet a word."""

import csv

import numpy as np
import soundfile as sf

COLUMNS = "client_id path sentence up_votes down_votes age gender accents locale segment".split()
WORDS = {
    "kab": ["yiwen", "sin", "kraḍ", "kuẓ", "sḍis-d"],
    "ckb": ["یەک", "دوو", "سێ", "چوار", "پێنج"],
    "ab": ["акы", "ҩба", "хԥа", "жәба", "быжьба"],
}


def sentences(language, count, seed):
    """Different ones, of two to four words."""
    generator = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        words = generator.choice(WORDS[language], generator.integers(2, 5))
        found[" ".join(words).capitalize() + "."] = None
    return list(found)


def write_table(path, rows, columns=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        print(*columns, sep="\t", file=file)
        for row in rows:
            print(*(row.get(name, "") for name in columns), sep="\t", file=file)


def read_table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def write_small_release(corpus, language="kab", train=12, scored=4, seconds=1.2):
    """mp3 at 48 kHz, as published."""
    folder = corpus / language
    (folder / "clips").mkdir(parents=True)
    texts = iter(sentences(language, train + 2 * scored, seed=0))
    generator = np.random.default_rng(1)
    number = 0
    for table, count in (("train", train), ("dev", scored), ("test", scored)):
        rows = []
        for index in range(count):
            name = f"common_voice_{language}_{number:08d}.mp3"
            noise = generator.normal(0, 0.1, int(48000 * (seconds + 0.05 * index)))
            sf.write(folder / "clips" / name, noise, 48000, format="MP3")
            rows.append(
                {
                    "client_id": f"{table}{index % 3}",
                    "path": name,
                    "sentence": next(texts),
                    "locale": language,
                }
            )
            number += 1
        write_table(folder / f"{table}.tsv", rows)
    return corpus
