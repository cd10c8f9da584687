"""A tiny corpus of one's own: tones of two classes by five speakers, and words to say of them."""

import csv

import numpy as np
import soundfile as sf

SPEAKERS = ("ann", "bob", "cem", "dov", "eve")
CLASSES = ("high", "low")


def write_tone(path, hertz=440, seconds=0.3, rate=16000, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
    sf.write(path, 0.3 * np.sin(2 * np.pi * hertz * time) + noise, rate, subtype="PCM_16")
    return path


def write_clips(folder, takes=2):
    """A file for each speaker, class and take, named ``high/ann_0.wav``; returns their rows."""
    rows = []
    for label in CLASSES:
        for number, speaker in enumerate(SPEAKERS):
            for take in range(takes):
                name = f"{label}/{speaker}_{take}.wav"
                seed = 100 * number + 10 * take + CLASSES.index(label)
                write_tone(folder / name, 1500 if label == "high" else 300, seed=seed)
                said = "ah oh" if label == "high" else "oh ah oh"
                rows.append({"path": name, "label": label, "speaker": speaker, "text": said})
    return rows


def write_csv(path, rows, columns=("path", "label", "speaker"), **form):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", **form)
        writer.writeheader()
        writer.writerows(rows)
    return path
