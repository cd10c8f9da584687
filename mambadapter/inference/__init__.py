"""Adapter packages: a trained adapter in a small folder, and a classifier made from one.

A package holds ``adapter.safetensors`` (what was trained, KBs to MBs) and ``adapter.json`` (which
encoder, which method, which labels); the frozen encoder stays where it was.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from speechbrain.utils.distributed import if_main_process
from torch import nn

from mambadapter.data.audio import read_clip
from mambadapter.data.manifests import write_json
from mambadapter.decoding.autoregressive import write_greedily
from mambadapter.decoding.ctc import greedy_texts
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.encoders.loading import split_source
from mambadapter.encoders.speech_to_text import SpeechToText, load_speech_to_text
from mambadapter.encoders.trained import load_trained, written_tensors
from mambadapter.errors import UserError
from mambadapter.heads import CTCHead, PooledClassifier
from mambadapter.methods import method_from_dict, method_to_dict
from mambadapter.methods.base import Method
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import Vocabulary

_Head = TypeVar("_Head", bound=nn.Module)

_WEIGHTS, _CARD = "adapter.safetensors", "adapter.json"
CLASSIFICATION, TRANSCRIPTION, WRITING = "classification", "transcription", "writing"
_COMMANDS = {CLASSIFICATION: "predict", TRANSCRIPTION: "transcribe", WRITING: "transcribe"}


def save_package(
    folder: str | Path,
    modules: Mapping[str, nn.Module],
    source: str | Mapping[str, Any],
    method: Method,
    labels: Sequence[str],
    task: str = CLASSIFICATION,
) -> Path:
    """Write an adapter package; only the main process does.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.
    modules : Mapping[str, nn.Module]
        ``encoder`` and ``head``, trained.
    source : str or Mapping[str, Any]
        Hub name or folder of the frozen encoder, or a mapping with that and the settings of its frontend.
    method : Method
        The method that adapted it.
    labels : Sequence[str]
        What the head's outputs stand for, in their order: class names, or characters.
    task : str
        ``classification`` or ``transcription``.

    Returns
    -------
    Path
        The folder.
    """
    about = {"task": task, "labels": list(labels), "lstm": _lstm_units(modules["head"])}
    return _save(Path(folder), modules, source, method, about)


def save_writer(
    folder: str | Path,
    whisper: SpeechToText,
    source: str | Mapping[str, Any],
    method: Method,
    *,
    language: str,
    rules: TextRules,
    adapt: str,
    longest_text: int,
) -> Path:
    """Write an adapter package of a Whisper; only the main process does.

    Parameters
    ----------
    folder, source, method
        As in `save_package`.
    whisper : SpeechToText
        The model, trained.
    language : str
        Its code.
    rules : TextRules
        By which texts are normalised.
    adapt : str
        What the method adapts: ``encoder``, ``decoder`` or ``both``.
    longest_text : int
        Tokens that are written at most.

    Returns
    -------
    Path
        The folder.
    """
    about = {
        "task": WRITING,
        "language": language,
        "rules": {**asdict(rules), "look_alikes": dict(rules.look_alikes)},
        "adapt": adapt,
        "longest_text": longest_text,
    }
    modules = {"encoder": whisper.encoder, "head": whisper.decoder}
    return _save(Path(folder), modules, source, method, about)


def _save(
    folder: Path,
    modules: Mapping[str, nn.Module],
    source: str | Mapping[str, Any],
    method: Method,
    about: Mapping[str, Any],
) -> Path:
    if not if_main_process():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, as the card is.
    partial = folder / f"{_WEIGHTS}.partial"
    save_file(written_tensors(modules), str(partial))
    partial.replace(folder / _WEIGHTS)
    source, settings = split_source(source)
    card = {
        # A folder must be found again from wherever the package is used.
        "encoder": str(Path(source).resolve()) if Path(source).is_dir() else source,
        "encoder_settings": settings,
        "encoder_fingerprint": frozen_fingerprint(modules["encoder"].get_submodule("backbone")),
        "method": method_to_dict(method),
        **about,
    }
    write_json(folder / _CARD, card)
    return folder


@dataclass(frozen=True)
class Classifier:
    """A trained classifier for audio files.

    Attributes
    ----------
    encoder : AdaptedEncoder
        The encoder.
    head : PooledClassifier
        The head.
    labels : tuple[str, ...]
        Class names.

    Example
    -------
    >>> classifier = Classifier.from_package("results/run/adapter")  # doctest: +SKIP
    >>> classifier.predict("yes.wav")[0]  # doctest: +SKIP
    ('yes', 0.98)
    """

    encoder: AdaptedEncoder
    head: PooledClassifier
    labels: tuple[str, ...]

    @classmethod
    def from_package(cls, folder: str | Path, source: str | None = None) -> "Classifier":
        """Rebuild a classifier from a package.

        Parameters
        ----------
        folder : str or Path
            What `save_package` wrote.
        source : str, optional
            Where the frozen encoder is now, if not where it was.

        Returns
        -------
        Classifier

        Raises
        ------
        UserError
            If the folder is no package, or the encoder is not the one the adapter was trained on.
        """
        encoder, head, labels = _load(
            folder, source, CLASSIFICATION,
            lambda width, card: PooledClassifier(width, len(card["labels"])),
        )  # fmt: skip
        return cls(encoder, head, labels)

    @torch.inference_mode()
    def predict(self, path: str | Path, top: int = 3) -> list[tuple[str, float]]:
        """Classify one audio file of any rate and number of channels.

        Parameters
        ----------
        path : str or Path
            The file.
        top : int
            How many classes to return.

        Returns
        -------
        list[tuple[str, float]]
            Class names and probabilities, the likeliest first.
        """
        wav = read_clip(path, self.encoder.sample_rate)
        probabilities = self.head(*self.encoder(wav[None])).softmax(-1)[0]
        best = probabilities.topk(min(top, len(self.labels)))
        return [
            (self.labels[index], value)
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class Transcriber:
    """A trained recogniser for audio files.

    Attributes
    ----------
    encoder : AdaptedEncoder
        The encoder.
    head : CTCHead
        The head.
    vocabulary : Vocabulary
        What it writes.

    Example
    -------
    >>> transcriber = Transcriber.from_package("results/run/adapter")  # doctest: +SKIP
    >>> transcriber.transcribe("clip.mp3")  # doctest: +SKIP
    'yiwen sin'
    """

    encoder: AdaptedEncoder
    head: CTCHead
    vocabulary: Vocabulary

    @classmethod
    def from_package(cls, folder: str | Path, source: str | None = None) -> "Transcriber":
        """Rebuild a recogniser from a package; arguments and errors as for `Classifier.from_package`."""
        encoder, head, labels = _load(
            folder, source, TRANSCRIPTION,
            lambda width, card: CTCHead(width, len(card["labels"]), card["lstm"]),
        )  # fmt: skip
        return cls(encoder, head, Vocabulary(labels))

    @torch.inference_mode()
    def transcribe(self, path: str | Path) -> str:
        """Recognise one audio file of any rate, format and number of channels, by greedy decoding.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        str
            The text, by the rules of the language it was trained on.
        """
        wav = read_clip(path, self.encoder.sample_rate)
        hidden, frames = self.encoder(wav[None])
        return greedy_texts(self.vocabulary, self.head(hidden, frames), frames)[0]


@dataclass(frozen=True)
class Writer:
    """A trained Whisper for audio files.

    Attributes
    ----------
    whisper : SpeechToText
        The model.
    rules : TextRules
        By which what it writes is normalised.
    longest_text : int
        Tokens that it writes at most.

    Example
    -------
    >>> writer = Writer.from_package("results/run/adapter")  # doctest: +SKIP
    >>> writer.transcribe("clip.mp3")  # doctest: +SKIP
    'yiwen sin'
    """

    whisper: SpeechToText
    rules: TextRules
    longest_text: int

    @classmethod
    def from_package(cls, folder: str | Path, source: str | None = None) -> "Writer":
        """Rebuild a Whisper from a package; arguments and errors as for `Classifier.from_package`."""
        folder, card = _open(folder, WRITING)
        placed, method = _placed(card, source), method_from_dict(card["method"])
        whisper = load_speech_to_text(placed, card["language"], method, card["adapt"])
        modules = {"encoder": whisper.encoder, "head": whisper.decoder}
        _fill(folder, card, placed["source"], modules)
        return cls(whisper, TextRules(**card["rules"]), card["longest_text"])

    @torch.inference_mode()
    def transcribe(self, path: str | Path) -> str:
        """Recognise one audio file of any rate, format and number of channels, as a `Transcriber`."""
        encoder, decoder = self.whisper.encoder, self.whisper.decoder
        wav = read_clip(path, encoder.sample_rate)
        hidden, frames = encoder(wav[None])
        (tokens,) = write_greedily(decoder, hidden, frames, self.longest_text)
        return self.rules.normalise(self.whisper.decode(tokens)).text


def recogniser(folder: str | Path, source: str | None = None) -> Transcriber | Writer:
    """Rebuild whichever recogniser a package holds; arguments and errors as for `Classifier.from_package`."""
    _, card = _open(folder)
    kind = Writer if card["task"] == WRITING else Transcriber
    return kind.from_package(folder, source)


def _load(
    folder: str | Path,
    source: str | None,
    task: str,
    make_head: Callable[[int, Mapping[str, Any]], _Head],
) -> tuple[AdaptedEncoder, _Head, tuple[str, ...]]:
    """Rebuild what `save_package` wrote, for one task."""
    folder, card = _open(folder, task)
    placed = _placed(card, source)
    encoder = AdaptedEncoder.from_pretrained(placed, method_from_dict(card["method"]))
    head = make_head(encoder.width, card)
    _fill(folder, card, placed["source"], {"encoder": encoder, "head": head})
    return encoder, head, tuple(card["labels"])


def _open(folder: str | Path, task: str | None = None) -> tuple[Path, dict[str, Any]]:
    """A package and its card; a run's output folder will do for its package."""
    folder = Path(folder)
    if not (folder / _CARD).is_file() and (folder / "adapter" / _CARD).is_file():
        folder = folder / "adapter"
    if not (folder / _CARD).is_file():
        raise UserError(
            f"{folder} holds no {_CARD}; give the `adapter` folder that a recipe wrote in its "
            "output folder."
        )
    card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
    if task not in (None, card["task"]):
        raise UserError(
            f"{folder} was trained for {card['task']}, not for {task}; use `mambadapter "
            f"{_COMMANDS[card['task']]}`."
        )
    return folder, card


def _placed(card: Mapping[str, Any], source: str | None) -> dict[str, Any]:
    """Where the frozen encoder is, and its settings; older packages have none."""
    return {"source": source or card["encoder"], **card.get("encoder_settings", {})}


def _fill(
    folder: Path, card: Mapping[str, Any], source: str, modules: Mapping[str, nn.Module]
) -> None:
    """Put the trained weights into freshly built modules, if these are the ones they belong to."""
    backbone = modules["encoder"].get_submodule("backbone")
    if frozen_fingerprint(backbone) != card["encoder_fingerprint"]:
        raise UserError(
            f"'{source}' is not the encoder this adapter was trained on ({card['encoder']}): its "
            "frozen weights differ."
        )
    load_trained(modules, load_file(str(folder / _WEIGHTS)), str(folder / _WEIGHTS))
    for module in modules.values():
        module.eval()


def _lstm_units(head: nn.Module) -> int:
    lstm = getattr(head, "lstm", None)
    return 0 if lstm is None else lstm.hidden_size
