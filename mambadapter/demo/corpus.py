"""A small corpus of synthetic words, in the layout of Speech Commands V2.

Each word is a string of phones: voiced ones are a pulse train through two formant resonators, the
others filtered noise. Several words are the same phones in another order, so that what is averaged
over time does not tell them apart. It is a stand-in to see a recipe run, not speech.
"""

from pathlib import Path

import numpy as np
import soundfile as sf
from scipy.signal import lfilter

SAMPLE_RATE = 16000

# Formants of voiced phones and centre of noise, in Hz.
_VOWELS = {"a": (750, 1250), "i": (300, 2300), "u": (330, 850), "e": (520, 1850), "o": (480, 950)}
_NOISES = {"s": 6200, "f": 3200}

# Words of Speech Commands, spelt in those phones; three pairs differ only in order.
WORDS = {
    "yes": "ies",
    "no": "ou",
    "up": "uo",
    "down": "aou",
    "left": "sef",
    "right": "fes",
    "go": "ai",
    "stop": "ia",
}


def write_corpus(folder: str | Path, speakers: int = 30, takes: int = 2, seed: int = 0) -> Path:
    """Write wav files, ``validation_list.txt``, ``testing_list.txt`` and a background-noise folder.

    Speakers are disjoint between the splits: one in five validates, one in five tests.
    """
    folder = Path(folder)
    generator = np.random.default_rng(seed)
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for speaker in range(speakers):
        voice = {
            "pitch": generator.uniform(90, 240),
            "tract": generator.uniform(0.88, 1.14),
            "pace": generator.uniform(0.8, 1.2),
            "noise": generator.uniform(0.002, 0.02),
        }
        held_out = {3: "validation_list.txt", 4: "testing_list.txt"}.get(speaker % 5)
        for word, phones in WORDS.items():
            for take in range(takes):
                name = f"{word}/{speaker:08x}_nohash_{take}.wav"
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                sf.write(path, _say(phones, voice, generator), SAMPLE_RATE, subtype="PCM_16")
                if held_out:
                    lists[held_out].append(name)
    for name, entries in lists.items():
        (folder / name).write_text("\n".join(entries) + "\n", encoding="utf-8")
    noise = folder / "_background_noise_"
    noise.mkdir(exist_ok=True)
    sf.write(noise / "white_noise.wav", generator.normal(0, 0.05, SAMPLE_RATE), SAMPLE_RATE)
    return folder


def write_long(corpus: Path, path: Path) -> list[str]:
    """Join the test clips, a second each, in an order of their own, and return the words of the seconds."""
    names = (corpus / "testing_list.txt").read_text(encoding="utf-8").split()
    order = np.random.default_rng(0).permutation(len(names))
    clips = [sf.read(corpus / names[place], dtype="float32")[0] for place in order]
    sf.write(path, np.concatenate(clips), SAMPLE_RATE, subtype="PCM_16")
    return [names[place].partition("/")[0] for place in order]


def _say(phones: str, voice: dict[str, float], generator: np.random.Generator) -> np.ndarray:
    """One word within a second of faint noise, at a random place."""
    sounds = [_phone(phone, voice, generator) for phone in phones]
    word = np.concatenate(sounds)[: SAMPLE_RATE - 800]
    clip = generator.normal(0, voice["noise"], SAMPLE_RATE)
    start = generator.integers(0, SAMPLE_RATE - len(word))
    clip[start : start + len(word)] += word * generator.uniform(0.3, 0.8) / np.abs(word).max()
    return np.clip(clip, -1, 1).astype(np.float32)


def _phone(phone: str, voice: dict[str, float], generator: np.random.Generator) -> np.ndarray:
    length = int(SAMPLE_RATE * 0.2 * voice["pace"] * generator.uniform(0.85, 1.15))
    if phone in _NOISES:
        sound = _resonate(generator.normal(0, 1, length), _NOISES[phone] * voice["tract"], 900)
    else:
        pitch = voice["pitch"] * generator.uniform(0.94, 1.06) * np.linspace(1.05, 0.95, length)
        pulses = np.diff(np.floor(np.cumsum(pitch / SAMPLE_RATE)), prepend=0.0)
        sound = pulses
        for formant in _VOWELS[phone]:
            sound = _resonate(sound, formant * voice["tract"] * generator.uniform(0.96, 1.04), 90)
    return np.hanning(length) ** 0.5 * sound / (np.std(sound) + 1e-9)


def _resonate(sound: np.ndarray, centre: float, bandwidth: float) -> np.ndarray:
    """A second-order resonator."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    angle = 2 * np.pi * min(centre, 0.47 * SAMPLE_RATE) / SAMPLE_RATE
    return lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], sound)
