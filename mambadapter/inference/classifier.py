"""A classifier made from a package."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mambadapter.data.audio import read_clip
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.inference.package import CLASSIFICATION, load_package


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
    audio_channel : int or None
        The one that is taken of files with several, as in training; None: their mean.

    Example
    -------
    >>> classifier = Classifier.from_package("results/run/adapter")  # doctest: +SKIP
    >>> classifier.predict("yes.wav")[0]  # doctest: +SKIP
    ('yes', 0.98)
    """

    encoder: AdaptedEncoder
    head: PooledClassifier
    labels: tuple[str, ...]
    audio_channel: int | None = None

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
        encoder, head, card = load_package(
            folder, source, CLASSIFICATION,
            lambda width, card: PooledClassifier(width, len(card["labels"])),
        )  # fmt: skip
        encoder.fold()
        return cls(encoder, head, tuple(card["labels"]), card.get("audio_channel"))

    @torch.inference_mode()
    def predict(
        self, path: str | Path, top: int = 3, channel: int | None = None, read_cut: bool = False
    ) -> list[tuple[str, float]]:
        """Classify one audio file of any rate and number of channels.

        Parameters
        ----------
        path : str or Path
            The file.
        top : int
            How many classes to return.
        channel : int, optional
            The one to take of several, from 1; default as in training.
        read_cut : bool
            Read a file that was cut short as far as it goes.

        Returns
        -------
        list[tuple[str, float]]
            Class names and probabilities, the likeliest first.

        Raises
        ------
        UserError
            If the file cannot be read, is shorter than it says, or has no such channel; or `top` is below 1.
        """
        if top < 1:
            raise UserError(f"top={top} is impossible: give at least 1.")
        channel = channel or self.audio_channel
        wav = read_clip(path, self.encoder.sample_rate, channel, read_cut, warn=True)
        probabilities = self.head(*self.encoder(wav[None])).softmax(-1)[0]
        best = probabilities.topk(min(top, len(self.labels)))
        return [
            (self.labels[index], value)
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
