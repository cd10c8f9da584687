"""Adapter packages: a trained adapter in a small folder, and a classifier made from one.

A package holds ``adapter.safetensors`` (what was trained, KBs to MBs) and ``adapter.json`` (which
encoder, which method, which labels); the frozen encoder stays where it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from speechbrain.utils.distributed import if_main_process
from torch import nn

from mambadapter.brains.checkpoints import load_trained, trained_tensors
from mambadapter.data.audio import read_clip
from mambadapter.data.manifests import write_json
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.methods import method_from_dict, method_to_dict

_WEIGHTS, _CARD = "adapter.safetensors", "adapter.json"


def save_package(
    folder: str | Path,
    modules: Mapping[str, nn.Module],
    source: str,
    method: Any,
    labels: Sequence[str],
) -> Path:
    """Write an adapter package; only the main process does.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.
    modules : Mapping[str, nn.Module]
        ``encoder`` and ``head``, trained.
    source : str
        Hub name or folder of the frozen encoder.
    method : Method
        The method that adapted it.
    labels : Sequence[str]
        Class names, in the order of the head's outputs.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    if not if_main_process():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    tensors = trained_tensors(modules)
    # Whole or not at all, as the card is.
    partial = folder / f"{_WEIGHTS}.partial"
    save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, str(partial))
    partial.replace(folder / _WEIGHTS)
    card = {
        # A folder must be found again from wherever the package is used.
        "encoder": str(Path(source).resolve()) if Path(source).is_dir() else source,
        "encoder_fingerprint": frozen_fingerprint(modules["encoder"].backbone),
        "method": method_to_dict(method),
        "labels": list(labels),
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
        folder = Path(folder)
        if not (folder / _CARD).is_file():
            raise UserError(
                f"{folder} holds no {_CARD}; give the `adapter` folder that a recipe wrote in its "
                "output folder."
            )
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        source = source or card["encoder"]
        encoder = AdaptedEncoder.from_pretrained(source, method_from_dict(card["method"]))
        if frozen_fingerprint(encoder.backbone) != card["encoder_fingerprint"]:
            raise UserError(
                f"'{source}' is not the encoder this adapter was trained on ({card['encoder']}): its "
                "frozen weights differ."
            )
        head = PooledClassifier(encoder.width, len(card["labels"]))
        modules = {"encoder": encoder, "head": head}
        load_trained(modules, load_file(str(folder / _WEIGHTS)), str(folder / _WEIGHTS))
        return cls(encoder.eval(), head.eval(), tuple(card["labels"]))

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
