"""Synthesise the pretraining corpus: speech in many languages with the time of every phone, and sounds."""

import json
import logging
import multiprocessing
from dataclasses import asdict, dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from espeak import SILENCE, Espeak, Utterance
from languages import LANGUAGES, write_text
from scipy.signal import resample
from sounds import KINDS, SAMPLE_RATE, make_sound

from mambadapter.errors import UserError
from mambadapter.utils.files import write_json

logger = logging.getLogger(__name__)

SPEECH = "speech"

# Of eSpeak NG's voice variants those that differ clearly; an empty one is the language's own voice.
# `rob` is left out: it crashes version 1.51.
_VARIANTS = (
    "  m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 croak whisper whisperf Andy Annie "
    "Alicia Denis Diogo Hugo Jacky Lee Marco Mario Michael Mike adam anika antonio aunty belinda benjamin "
    "boris caleb david ed edward grandma grandpa iven john linda max michel miguel norbert pablo paul "
    "pedro quincy robert sandro shelby steph travis victor zac"
).split(" ")

_LONGEST_SECONDS = 5.0
_VALIDATION = 25  # one clip in so many


@dataclass(frozen=True)
class Shard:
    """The clips of one language or one kind of sound: what one process makes.

    Attributes
    ----------
    kind : str
        `SPEECH` or a key of `KINDS`.
    language : str
        For speech, a key of `LANGUAGES`; else empty.
    clips : int
        How many.
    seed : list of int
        Of everything in it.
    """

    kind: str
    language: str
    clips: int
    seed: list[int]

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{SPEECH}/{self.language}" if self.language else f"sounds/{self.kind}"


def prepare_box(
    data_folder: str | Path,
    utterances: int = 600,
    sounds: int = 150,
    seed: int = 1986,
    processes: int = 2,
) -> dict[str, Path]:
    """Write the corpus and its manifests; a killed run goes on where it was, nothing is made twice.

    The same numbers and seed give the same files to the bit, with one version of eSpeak NG and of numpy.

    Parameters
    ----------
    data_folder : str or Path
        Where the corpus goes: ``speech/<language>/``, ``sounds/<kind>/`` and the manifests. About 0.1 MB a
        clip.
    utterances : int
        For each of the languages.
    sounds : int
        For each kind of sound.
    seed : int
        Of everything.
    processes : int
        At once.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train`` and ``valid``.

    Raises
    ------
    UserError
        If eSpeak NG is not installed, or the folder holds a corpus made with other numbers.
    """
    root = Path(data_folder).expanduser()
    shards = plan(utterances, sounds, seed)
    missing = [shard for shard in shards if not _is_done(root, shard)]
    if missing:
        logger.info("Synthesising %d of %d parts in %s", len(missing), len(shards), root)
        _make_all(root, missing, processes)
    return _write_manifests(root, shards)


def plan(utterances: int, sounds: int, seed: int) -> list[Shard]:
    """The parts of the corpus; arguments as for `prepare_box`."""
    speech = [
        Shard(SPEECH, language, utterances, [seed, 0, index])
        for index, language in enumerate(LANGUAGES)
    ]
    return speech + [Shard(kind, "", sounds, [seed, 1, index]) for index, kind in enumerate(KINDS)]


def _is_done(root: Path, shard: Shard) -> bool:
    index = root / shard.name / "shard.json"
    if not index.is_file():
        return False
    made = json.loads(index.read_text(encoding="utf-8"))["shard"]
    if made != asdict(shard):
        raise UserError(
            f"{index.parent} was made with other numbers ({made}); give another data_folder, or delete it."
        )
    return True


def _make_all(root: Path, shards: list[Shard], processes: int) -> None:
    """Make every part in a process of its own: what eSpeak NG says depends on what it said before.

    Forked, since a fresh one would spend its time importing what it does not need. Not by a pool, which
    waits for ever for a process that crashed.
    """
    context = multiprocessing.get_context("fork")
    waiting = list(reversed(shards))
    running: dict[Any, tuple[Any, Shard]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            shard = waiting.pop()
            process = context.Process(target=_make_shard, args=(root, shard))
            process.start()
            running[process.sentinel] = process, shard
        for sentinel in connection.wait(list(running)):
            process, shard = running.pop(sentinel)
            process.join()
            if process.exitcode:
                for other, _ in running.values():
                    other.terminate()
                raise UserError(
                    f"Synthesising {shard.name} failed (exit status {process.exitcode}); what is done "
                    "is kept. Start it again; if it fails again, update espeak-ng."
                )
            logger.info("Made %s", shard.name)


def _make_shard(root: Path, shard: Shard) -> None:
    generator = np.random.default_rng(shard.seed)
    folder = root / shard.name
    folder.mkdir(parents=True, exist_ok=True)
    espeak = Espeak(int(generator.integers(2**31))) if shard.language else None
    entries = {}
    for number in range(shard.clips):
        if espeak:
            wav, phones = _speak(espeak, shard.language, generator)
        else:
            wav, phones = make_sound(shard.kind, _sound_length(generator), generator), []
        name = f"{shard.name}/{number:05d}"
        sf.write(root / f"{name}.flac", wav, SAMPLE_RATE, subtype="PCM_16")
        entries[name] = {
            "duration": round(len(wav) / SAMPLE_RATE, 4),
            "kind": shard.kind,
            "phones": phones,
        }
    write_json(folder / "shard.json", {"shard": asdict(shard), "clips": entries})


def _sound_length(generator: np.random.Generator) -> int:
    return int(SAMPLE_RATE * generator.uniform(0.6, 4.0))


def _speak(
    espeak: Espeak, language: str, generator: np.random.Generator
) -> tuple[np.ndarray, list[list]]:
    """A random text in a random voice: (S,) float32 and its phones as [first sample, letter]."""
    while True:
        # Read at another rate than it was made at, a voice gets another vocal tract, and its pace back.
        tract = float(np.exp(generator.uniform(np.log(0.84), np.log(1.2))))
        variant = generator.choice(_VARIANTS)
        said = espeak.say(
            write_text(language, generator),
            f"{language}+{variant}" if variant else language,
            rate=int(generator.uniform(110, 250) / tract),
            pitch=int(generator.integers(15, 90)),
            pitch_range=int(generator.integers(20, 90)),
        )
        wav, phones = _trim(said, espeak.sample_rate, generator)
        scale = SAMPLE_RATE / (espeak.sample_rate * tract)
        length = round(len(wav) * scale)
        spoken = any(letter != SILENCE for _, letter in phones)
        if spoken and length <= _LONGEST_SECONDS * SAMPLE_RATE:
            break
    wav = resample(wav, length)
    wav = 0.7 * wav / (np.abs(wav).max() + 1e-9)
    return wav.astype(np.float32), [[round(start * scale), letter] for start, letter in phones]


def _trim(
    said: Utterance, rate: int, generator: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Leave a short random silence before the first phone and after the last."""
    spoken = [index for index, (_, letter) in enumerate(said.phones) if letter != SILENCE]
    if not spoken:
        return said.wav, []
    first, last = said.phones[spoken[0]][0], spoken[-1]
    end = said.phones[last + 1][0] if last + 1 < len(said.phones) else len(said.wav)
    lead = int(rate * generator.uniform(0.0, 0.15))
    tail = int(rate * generator.uniform(0.0, 0.25))
    wav = np.concatenate([np.zeros(lead), said.wav[first:end], np.zeros(tail)])
    phones = [(start - first + lead, letter) for start, letter in said.phones[spoken[0] : last + 1]]
    return wav, [(0, SILENCE), *phones, (lead + end - first, SILENCE)]


def _write_manifests(root: Path, shards: list[Shard]) -> dict[str, Path]:
    splits: dict[str, dict[str, Any]] = {"train": {}, "valid": {}}
    for shard in shards:
        index = json.loads((root / shard.name / "shard.json").read_text(encoding="utf-8"))
        for number, (name, entry) in enumerate(index["clips"].items()):
            split = "valid" if number % _VALIDATION == 0 else "train"
            splits[split][name] = {"wav": str((root / f"{name}.flac").resolve()), **entry}
    return {split: write_json(root / f"{split}.json", entries) for split, entries in splits.items()}
