"""Adapter packages: a trained adapter in a small folder, and what is made from one.

A package holds ``adapter.safetensors`` (what was trained, KBs to MBs) and ``adapter.json`` (which
encoder, which method, which labels); the frozen encoder stays where it was.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from speechbrain.utils.distributed import if_main_process
from torch import nn

from mambadapter.budget.count import counter
from mambadapter.decoding.ctc import Decoding
from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.encoders.loading import split_source
from mambadapter.encoders.speech_to_text import SpeechToText
from mambadapter.encoders.trained import (
    load_trained,
    open_tensors,
    read_tensors,
    written_tensors,
)
from mambadapter.errors import UserError, first_line
from mambadapter.inference.calibration import Calibration
from mambadapter.inference.hub import CARD as _CARD
from mambadapter.inference.hub import WEIGHTS as _WEIGHTS
from mambadapter.inference.hub import local_folder
from mambadapter.methods import method_from_dict, method_to_dict
from mambadapter.methods.base import Method
from mambadapter.text import TextRules
from mambadapter.text.vocabulary import CHAR, TOKEN_TYPES
from mambadapter.utils.files import read_json, whole_file, write_json

# The task that a package's card names, and the command that uses such a package.
CLASSIFICATION, MULTILABEL = "classification", "multilabel"
TRANSCRIPTION, SEQ2SEQ = "transcription", "writing"
_COMMANDS = {
    CLASSIFICATION: "predict",
    MULTILABEL: "predict",
    TRANSCRIPTION: "transcribe",
    SEQ2SEQ: "transcribe",
}
_MEND = "copy the whole `adapter` folder again"

# Of a card. It rises when an older program would read a newer card wrongly: 2 has pieces for characters. The
# first cards had none.
_VERSION = 2


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_labels(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value)


def _are_shares(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, int | float) and 0 <= one <= 1 for one in value
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


# What a card holds, of every task and of each, and whether a value can be that.
_KEYS: dict[str, Callable[[Any], bool]] = {
    "version": lambda value: value is None or (_is_whole(value) and value > 0),
    "encoder": _is_text,
    "encoder_fingerprint": _is_text,
    "encoder_settings": lambda value: value is None or isinstance(value, dict),
    "method": lambda value: isinstance(value, dict),
    "audio_channel": lambda value: value is None or (_is_whole(value) and value > 0),
}
_KEYS_OF: dict[str, dict[str, Callable[[Any], bool]]] = {
    CLASSIFICATION: {
        "labels": _are_labels,
        "calibration": lambda value: value is None or Calibration.fits(value),
    },
    MULTILABEL: {"labels": _are_labels, "thresholds": _are_shares},
    TRANSCRIPTION: {
        "labels": _are_labels,
        "lstm": _is_whole,
        # Older ones have none of these.
        "decoding": lambda value: value is None or isinstance(value, dict),
        "longest_clip": lambda value: value is None or _are_seconds(value),
        "token_type": lambda value: value is None or value in TOKEN_TYPES,
    },
    SEQ2SEQ: {
        "language": _is_text,
        "rules": lambda value: isinstance(value, dict),
        "adapt": lambda value: value in ("encoder", "decoder", "both"),
        "longest_text": _is_whole,
    },
}


def save_package(
    folder: str | Path,
    modules: Mapping[str, nn.Module],
    source: str | Mapping[str, Any],
    method: Method,
    labels: Sequence[str],
    task: str = CLASSIFICATION,
    audio_channel: int | None = None,
    thresholds: Sequence[float] | None = None,
    calibration: Calibration | None = None,
    decoding: Decoding | None = None,
    longest_clip: float | None = None,
    token_type: str = CHAR,
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
        What the head's outputs stand for, in their order: class names, or tokens.
    task : str
        ``classification``, ``multilabel`` or ``transcription``.
    audio_channel : int, optional
        The one that was taken of files with several, from 1; None: their mean.
    thresholds : Sequence[float], optional
        Of ``multilabel``: from which probability on a clip has each of the labels.
    calibration : Calibration, optional
        Of ``classification``.
    decoding : Decoding, optional
        Of ``transcription``: how texts were found in the test; default greedily.
    longest_clip : float, optional
        Of ``transcription``: seconds of the longest training clip, as long as which long recordings are read.
    token_type : {"char", "unigram", "bpe"}
        Of ``transcription``: what its labels are.

    Returns
    -------
    Path
        The folder.
    """
    about = {
        "task": task,
        "labels": list(labels),
        "lstm": _lstm_units(modules["head"]),
        "audio_channel": audio_channel,
    }
    if thresholds is not None:
        about["thresholds"] = [*thresholds]
    if task == CLASSIFICATION:
        about["calibration"] = calibration.to_dict() if calibration else None
    if task == TRANSCRIPTION:
        about |= {
            "decoding": asdict(decoding or Decoding()),
            "longest_clip": longest_clip,
            "token_type": token_type,
        }
    return _save(Path(folder), modules, source, method, about)


def save_whisper_package(
    folder: str | Path,
    whisper: SpeechToText,
    source: str | Mapping[str, Any],
    method: Method,
    *,
    language: str,
    rules: TextRules,
    adapt: str,
    longest_text: int,
    audio_channel: int | None = None,
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
    audio_channel : int, optional
        As in `save_package`.

    Returns
    -------
    Path
        The folder.
    """
    about = {
        "task": SEQ2SEQ,
        "language": language,
        "rules": {**asdict(rules), "look_alikes": dict(rules.look_alikes)},
        "adapt": adapt,
        "longest_text": longest_text,
        "audio_channel": audio_channel,
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
    with whole_file(folder / _WEIGHTS) as partial:
        save_file(written_tensors(modules), str(partial))
    source, settings = split_source(source)
    card = {
        "version": 1 if about.get("token_type", CHAR) == CHAR else _VERSION,
        # A folder must be found again from wherever the package is used.
        "encoder": str(Path(source).expanduser().resolve())
        if Path(source).expanduser().is_dir()
        else source,
        "encoder_settings": settings,
        "encoder_fingerprint": frozen_fingerprint(modules["encoder"].get_submodule("backbone")),
        "method": method_to_dict(method),
        **about,
    }
    write_json(folder / _CARD, card)
    return folder


def open_package(folder: str | Path, revision: str | None = None) -> tuple[Path, dict[str, Any]]:
    """A package and its card; a run's output folder, or a name on the hub, will do for its package."""
    folder = local_folder(folder, revision)
    if not (folder / _CARD).is_file() and (folder / "adapter" / _CARD).is_file():
        folder = folder / "adapter"
    if not (folder / _CARD).is_file():
        raise UserError(
            f"{folder} holds no {_CARD}; give the `adapter` folder that a recipe wrote in its "
            "output folder."
        )
    card = read_json(folder / _CARD, _MEND)
    if card.get("task") not in list(_COMMANDS):  # it may be anything, a list too
        raise UserError(f"{folder / _CARD} is of no known task; {_MEND}.")
    for key, fits in {**_KEYS, **_KEYS_OF[card["task"]]}.items():
        if not fits(card.get(key)):
            raise UserError(f"{folder / _CARD} has no {key}, or what is there is none; {_MEND}.")
    if (card.get("version") or 1) > _VERSION:
        raise UserError(
            f"{folder / _CARD} is of format {card['version']}, and this version of MambAdapter reads up to "
            f"{_VERSION}; take a newer one."
        )
    return folder, card


def check_task(folder: Path, card: Mapping[str, Any], command: str) -> None:
    """Refuse a package that another command answers."""
    if _COMMANDS[card["task"]] != command:
        raise UserError(
            f"{folder} was trained for {card['task']}; use `mambadapter {_COMMANDS[card['task']]}`."
        )


def encoder_source(card: Mapping[str, Any], source: str | None) -> dict[str, Any]:
    """Where the frozen encoder is, and its settings; older packages have none."""
    settings = card.get("encoder_settings") or {}
    if source is not None:
        return {"source": str(Path(source).expanduser()), **settings}
    named = card["encoder"]
    if Path(named).is_absolute() and not Path(named).is_dir():
        raise UserError(
            f"The encoder of this adapter was in {named}, and is not there any more; say where it is now: "
            "--encoder FOLDER."
        )
    return {"source": named, **settings}


def method_of(folder: Path, card: Mapping[str, Any]) -> Method:
    """The method that a card says."""
    try:
        return method_from_dict(card["method"])
    except (UserError, TypeError) as error:
        raise UserError(f"{folder / _CARD}: the method cannot be ({error}); {_MEND}.") from error


def rules_of(folder: Path, card: Mapping[str, Any]) -> TextRules:
    """The rules of the language that a card says."""
    try:
        return TextRules(**card["rules"])
    except (UserError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / _CARD}: the rules cannot be ({error}); {_MEND}.") from error


def decoding_of(folder: Path, card: Mapping[str, Any]) -> Decoding:
    """How a card says that texts are found."""
    try:
        return Decoding(**(card.get("decoding") or {}))
    except (UserError, TypeError) as error:
        raise UserError(f"{folder / _CARD}: the decoding cannot be ({error}); {_MEND}.") from error


def check_size(
    folder: Path, source: str, method: Method, parts: Sequence[str] = ("encoder",)
) -> None:
    """Refuse a method that trains more than the weights hold, before any memory is asked for it."""
    try:
        count = counter(source, parts)
    except UserError as error:
        raise UserError(
            f"{error} If it is the encoder of {folder} and has moved, say where it is: --encoder FOLDER."
        ) from error
    _check_held(folder, lambda: count(method).adapted, f" on {source}")


def check_held(folder: Path, make: Callable[[], nn.Module]) -> None:
    """Refuse a head that is larger than all that the weights hold, likewise."""
    _check_held(folder, lambda: sum(p.numel() for p in make().parameters()))


def _check_held(folder: Path, count: Callable[[], int], where: str = "") -> None:
    """Compare what is counted on the meta device, without memory, to what the header of the weights says."""
    try:
        with torch.device("meta"):
            wanted = count()
    except (
        RuntimeError,
        OverflowError,
        TypeError,
    ) as error:  # of sizes beyond what a tensor can have
        raise UserError(f"{folder / _CARD} cannot be ({first_line(error)}); {_MEND}.") from error
    with open_tensors(folder / _WEIGHTS) as file:
        held = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    if wanted > held:
        raise UserError(
            f"{folder / _CARD} is of {wanted:,} parameters{where}, and {_WEIGHTS} beside it holds {held:,}; "
            + _MEND
            + (", or give the encoder that it was trained on: --encoder." if where else ".")
        )


def load_weights(
    folder: Path, card: Mapping[str, Any], source: str, modules: Mapping[str, nn.Module]
) -> None:
    """Put the trained weights into freshly built modules, if these are the ones they belong to."""
    backbone = modules["encoder"].get_submodule("backbone")
    if frozen_fingerprint(backbone) != card["encoder_fingerprint"]:
        raise UserError(
            f"{folder}: '{source}' is not the encoder this adapter was trained on ({card['encoder']}): its "
            "frozen weights differ. Give that one: --encoder FOLDER."
        )
    load_trained(modules, read_tensors(folder / _WEIGHTS), str(folder / _WEIGHTS))
    for module in modules.values():
        module.eval()


def _lstm_units(head: nn.Module) -> int:
    lstm = getattr(head, "lstm", None)
    return 0 if lstm is None else lstm.hidden_size
