"""Trained adapters over one frozen encoder, used on files and arrays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, overload

import torch

from mambadapter.encoders.shared import SharedCheckpoint
from mambadapter.encoders.speech_to_text import parts
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.errors import UserError, did_you_mean
from mambadapter.inference.answering import Answer, Answering, Reader
from mambadapter.inference.calibration import Calibration, check_threshold
from mambadapter.inference.classifier import Classifier, check_hop
from mambadapter.inference.multilabel import NO_TIMELINE, MultilabelClassifier
from mambadapter.inference.package import (
    CLASSIFICATION,
    MULTILABEL,
    SEQ2SEQ,
    TRANSCRIPTION,
    check_size,
    check_task,
    encoder_source,
    method_of,
    open_package,
)
from mambadapter.inference.reading import Audio, Recording
from mambadapter.inference.results import Prediction, Timeline, Transcript
from mambadapter.inference.transcribers import CTCTranscriber, WhisperTranscriber
from mambadapter.utils.devices import choose_device
from mambadapter.validators import one_of

_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_READERS: dict[str, Any] = {
    CLASSIFICATION: Classifier,
    MULTILABEL: MultilabelClassifier,
    TRANSCRIPTION: CTCTranscriber,
    SEQ2SEQ: WhisperTranscriber,
}


def load_adapter(
    package: str | Path,
    device: str = "auto",
    precision: str = "fp32",
    encoder: str | Path | None = None,
    revision: str | None = None,
    fold: bool = False,
) -> "TrainedModel":
    """Load a trained adapter with its frozen encoder.

    Parameters
    ----------
    package : str or Path
        A run's output folder, the ``adapter`` folder in it, or the name of a repository on the hub that holds
        such a folder's files.
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    precision : str
        ``fp32``, ``bf16`` or, on a GPU, ``fp16``.
    encoder : str or Path, optional
        Where the frozen encoder is now, if not where it was.
    revision : str, optional
        Branch, tag or commit of the repository.
    fold : bool
        Put the adapter into the weights it stands beside as far as that goes, LoRA's all of it, so that it
        costs less or nothing. Such a model takes no second adapter.

    Returns
    -------
    TrainedModel

    Raises
    ------
    UserError
        If the package cannot be read, the encoder is not the one it was trained on, or there is no such
        device.

    Example
    -------
    >>> import tempfile, numpy as np
    >>> from mambadapter import LinearProbe, PooledClassifier, adapt
    >>> from mambadapter.inference import save_package
    >>> trained = {"encoder": adapt("mambadapter/box", LinearProbe()), "head": PooledClassifier(192, 2)}
    >>> folder = save_package(
    ...     tempfile.mkdtemp(), trained, "mambadapter/box", LinearProbe(), ["no", "yes"]
    ... )

    >>> model = load_adapter(folder, device="cpu")
    >>> result = model.predict((np.zeros(8000), 8000))
    >>> result.source, sorted(result.scores)
    ('array 0', ['no', 'yes'])
    """
    model = TrainedModel(device, precision, encoder, fold)
    model.add_adapter("default", package, revision)
    return model


def read_package(
    folder: Path,
    card: Mapping[str, Any],
    encoder: str | None = None,
    device: str = "cpu",
    checkpoint: SharedCheckpoint | None = None,
) -> tuple[Reader, SharedCheckpoint]:
    """What `open_package` gave becomes modules, over a checkpoint that is loaded unless it is given."""
    method, whole = method_of(folder, card), card["task"] == SEQ2SEQ
    if whole and checkpoint and not checkpoint.whole:
        raise UserError(
            f"{folder} needs a Whisper with its decoder, which is not loaded; load this adapter first."
        )
    source = checkpoint.source if checkpoint else encoder_source(card, encoder)["source"]
    check_size(folder, source, method, parts(card["adapt"]) if whole else ("encoder",))
    checkpoint = checkpoint or SharedCheckpoint(source, whole, device)
    reader = _READERS[card["task"]].from_package(folder, card, method, checkpoint)
    for module in reader.modules:
        module.to(device)
    return reader, checkpoint


class TrainedModel:
    """Trained adapters over one frozen encoder; `load_adapter` makes one.

    Attributes
    ----------
    device : str
        Where it computes.
    """

    def __init__(
        self,
        device: str = "auto",
        precision: str = "fp32",
        encoder: str | Path | None = None,
        fold: bool = False,
    ) -> None:
        device = choose_device(device)
        one_of("precision", precision, _PRECISIONS)
        if precision == "fp16" and torch.device(device).type == "cpu":
            raise UserError("precision=fp16 needs a GPU; take bf16 or fp32.")
        self.device, self._dtype = device, _PRECISIONS[precision]
        self._encoder, self._fold = None if encoder is None else str(encoder), fold
        self._checkpoint: SharedCheckpoint | None = None
        self._readers: dict[str, Reader] = {}
        self._cards: dict[str, tuple[Path, Mapping[str, Any]]] = {}

    @property
    def adapters(self) -> tuple[str, ...]:
        """Their names, in the order in which they were added."""
        return tuple(self._readers)

    def labels(self, adapter: str | None = None) -> tuple[str, ...]:
        """The classes, or tokens, of an adapter, the first by default."""
        return tuple(self._cards[self._named(adapter)[0]][1].get("labels", ()))

    def task(self, adapter: str | None = None) -> str:
        """``classification``, ``multilabel``, ``transcription`` or ``writing``: of an adapter."""
        return self._cards[self._named(adapter)[0]][1]["task"]

    def threshold(self, adapter: str | None = None) -> float | None:
        """Below which probability a clip is none of the classes; None where the package does not say."""
        calibration = Calibration.of(self._cards[self._named(adapter)[0]][1])
        return calibration.threshold if calibration else None

    def add_adapter(self, name: str, package: str | Path, revision: str | None = None) -> None:
        """Load another adapter of the same frozen encoder, whose weights are not copied.

        Parameters
        ----------
        name : str
            By which `predict` and `transcribe` are told of it.
        package, revision
            As of `load_adapter`.

        Raises
        ------
        UserError
            As of `load_adapter`, or if there is one of that name.
        """
        if name in self._readers:
            raise UserError(f"There is an adapter '{name}' already; give another name.")
        if self._fold and self._readers:
            raise UserError("A folded model holds one adapter; load the first with fold=False.")
        folder, card = open_package(package, revision)
        reader, checkpoint = read_package(
            folder, card, self._encoder, self.device, self._checkpoint
        )
        if self._fold:
            for module in reader.modules:
                if isinstance(module, AdaptedStack):
                    module.fold()
        self._checkpoint, self._readers[name], self._cards[name] = (
            checkpoint,
            reader,
            (folder, card),
        )
        if len(self._readers) > 1:
            for one in self._readers.values():
                checkpoint.share_features(one.encoder)

    @overload
    def predict(
        self,
        audio: Audio,
        adapter: str | None = ...,
        channel: int | None = ...,
        read_cut: bool = ...,
        unknown: bool = ...,
        threshold: float | None = ...,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        audio: list,
        adapter: str | None = ...,
        channel: int | None = ...,
        read_cut: bool = ...,
        unknown: bool = ...,
        threshold: float | None = ...,
    ) -> list[Prediction]: ...
    def predict(
        self,
        audio: Any,
        adapter: str | Sequence[str] | None = None,
        channel: int | None = None,
        read_cut: bool = False,
        unknown: bool = False,
        threshold: float | None = None,
    ) -> Any:
        """Classify files and arrays.

        Parameters
        ----------
        audio : str, Path, tuple, or a list of those
            Files of any format, rate and number of channels; an array (T,), or (T, C) of several channels, as
            ``(array, rate)``.
        adapter : str or list of str, optional
            Which; default the first.
        channel : int, optional
            The one to take of several, from 1; default as in training.
        read_cut : bool
            Read files that were cut short as far as they go.
        unknown : bool
            The label of what is none of the classes is None: its highest probability is below the threshold
            of the package.
        threshold : float, optional
            Another one, 0 to 1; with it `unknown` goes without saying.

        Returns
        -------
        Prediction or list[Prediction]
            Of an adapter that was trained on several labels a clip a `MultilabelPrediction`. One for one, a
            list for a list; with a list of adapters, a dict of them by its name.

        Raises
        ------
        UserError
            If something cannot be read, the adapter does not classify, or its package has no threshold and
            needs one. `answers` goes on after the first of these.
        """
        return self._all(
            "predict", audio, adapter, channel, read_cut, unknown=unknown, threshold=threshold
        )

    @overload
    def transcribe(
        self,
        audio: Audio,
        adapter: str | None = ...,
        channel: int | None = ...,
        read_cut: bool = ...,
        beam: int | None = ...,
        language_model: str | Path | None = ...,
        lm_weight: float | None = ...,
        word_score: float | None = ...,
        timestamps: bool = ...,
    ) -> Transcript: ...
    @overload
    def transcribe(
        self,
        audio: list,
        adapter: str | None = ...,
        channel: int | None = ...,
        read_cut: bool = ...,
        beam: int | None = ...,
        language_model: str | Path | None = ...,
        lm_weight: float | None = ...,
        word_score: float | None = ...,
        timestamps: bool = ...,
    ) -> list[Transcript]: ...
    def transcribe(
        self,
        audio: Any,
        adapter: str | Sequence[str] | None = None,
        channel: int | None = None,
        read_cut: bool = False,
        beam: int | None = None,
        language_model: str | Path | None = None,
        lm_weight: float | None = None,
        word_score: float | None = None,
        timestamps: bool = False,
    ) -> Any:
        """Write down what is said.

        Parameters
        ----------
        audio, adapter, channel, read_cut
            As of `predict`.
        beam : int, optional
            Of CTC, texts that beam search keeps; 1: greedily, without a language model. This and what follows
            are by default as in the test of the training.
        language_model : str or Path, optional
            An n-gram model of words, ``.arpa`` or KenLM's ``.bin``; ``none``: without one.
        lm_weight : float, optional
            What its log-probabilities are multiplied with.
        word_score : float, optional
            What each word adds beside them.
        timestamps : bool
            Let Whisper write the times of its segments in short recordings, too, as it was not trained to do;
            otherwise one of less than 30 s is one segment. CTC always has them.

        Raises
        ------
        UserError
            As of `predict`, or if the language model cannot be read.

        Returns
        -------
        Transcript or list[Transcript]
        """
        decoding = {
            "beam": beam,
            "language_model": language_model,
            "lm_weight": lm_weight,
            "word_score": word_score,
            "timestamps": timestamps or None,
        }
        return self._all("transcribe", audio, adapter, channel, read_cut, decoding=decoding)

    def timeline(
        self,
        audio: Audio,
        window: float,
        hop: float | None = None,
        adapter: str | None = None,
        channel: int | None = None,
        read_cut: bool = False,
        unknown: bool = False,
        threshold: float | None = None,
    ) -> Timeline:
        """Classify a recording of any length, window by window.

        Parameters
        ----------
        audio, adapter, channel, read_cut, unknown, threshold
            As of `predict`.
        window : float
            Seconds that are classified together, such as the length of the clips of the training.
        hop : float, optional
            Seconds from one window to the next, a whole fraction of `window`; default half of it.

        Returns
        -------
        Timeline
            Of each hop the class with the highest mean over the windows that cover it; equal neighbours are
            one segment. With `unknown`, a gap where that mean is below the threshold.
        """
        (name,) = self._named(adapter)
        (answer,) = self.answers(
            "predict", [audio], [name], channel, read_cut, window, hop, unknown, threshold
        )
        if isinstance(answer, UserError):
            raise answer
        return cast(Timeline, answer[name])

    def answers(
        self,
        command: str,
        audio: Iterable[Audio],
        adapters: Sequence[str] | None = None,
        channel: int | None = None,
        read_cut: bool = False,
        window: float | None = None,
        hop: float | None = None,
        unknown: bool = False,
        threshold: float | None = None,
        decoding: Mapping[str, Any] | None = None,
    ) -> Iterator[Answer]:
        """Answer many files as they come, in their order: results by adapter, or what is wrong with one.

        Parameters
        ----------
        command : str
            ``predict`` or ``transcribe``.
        audio, channel, read_cut, unknown, threshold
            As of `predict`.
        adapters : sequence of str, optional
            Which; default all.
        window, hop : float, optional
            As of `timeline`, instead of one class a file.
        decoding : mapping, optional
            The last five arguments of `transcribe`, by their names.

        Returns
        -------
        iterator of dict[str, Result] or UserError
        """
        names = self.adapters if adapters is None else self._named(adapters)
        for name in names:
            check_task(*self._cards[name], command)
            if window is not None and isinstance(self._readers[name], MultilabelClassifier):
                raise UserError(NO_TIMELINE)
        changes = {key: value for key, value in (decoding or {}).items() if value is not None}
        readers = {name: self._readers[name].decoded(changes) for name in names}
        answering = Answering(
            readers,
            self._thresholds(names, unknown, threshold),
            self.device,
            self._dtype,
            cast(SharedCheckpoint, self._checkpoint),
        )
        channel = self._channel(names) if channel is None else channel
        rate = answering.sample_rate
        recordings = (
            Recording(one, place, rate, channel, read_cut) for place, one in enumerate(audio)
        )
        if window is None:
            yield from answering.whole(recordings)
        else:
            yield from answering.timelines(recordings, *check_hop(window, hop))

    def _all(
        self,
        command: str,
        audio: Any,
        adapter: Any,
        channel: int | None,
        read_cut: bool,
        **how: Any,
    ) -> Any:
        one = isinstance(audio, str | Path | tuple) or hasattr(audio, "shape")
        if not one and not isinstance(audio, Iterable):
            raise UserError(
                f"{audio!r} is no recording; give a file, (array, rate), or a list of those."
            )
        names = self._named(adapter)
        results = []
        for answer in self.answers(
            command, [audio] if one else audio, names, channel, read_cut, **how
        ):
            if isinstance(answer, UserError):
                raise answer
            single = adapter is None or isinstance(adapter, str)
            results.append(answer[names[0]] if single else answer)
        return results[0] if one else results

    def _named(self, adapter: str | Sequence[str] | None) -> list[str]:
        names = [self.adapters[0]] if adapter is None else adapter
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise UserError(f"adapter: name at least one of {', '.join(self.adapters)}.")
        for name in names:
            if name not in self._readers:
                raise UserError(
                    f"There is no adapter '{name}'; {did_you_mean(name, self.adapters)}."
                )
        return names

    def _thresholds(
        self, names: Sequence[str], unknown: bool, threshold: float | None
    ) -> dict[str, float]:
        """Below which each adapter's clips are unknown; empty if nobody asks."""
        if unknown or threshold is not None:
            for name in names:
                if isinstance(self._readers[name], MultilabelClassifier):
                    raise UserError(
                        f"{self._cards[name][0]} gives several labels, each with a threshold of its own: "
                        "a clip that has none of them is none of these already; leave --unknown out."
                    )
        if threshold is not None:
            return dict.fromkeys(names, check_threshold(threshold))
        found = {}
        for name in names if unknown else ():
            kept = self.threshold(name)
            if kept is None:
                raise UserError(
                    f"{self._cards[name][0]} has no threshold for what is none of its classes; "
                    "give one, --threshold 0.5, or start the command that trained it again, which trains "
                    "nothing twice and finds one."
                )
            found[name] = kept
        return found

    def _channel(self, names: Sequence[str]) -> int | None:
        channels = {name: self._cards[name][1].get("audio_channel") for name in names}
        if len(set(channels.values())) > 1:
            listed = ", ".join(f"{name}: {channel}" for name, channel in channels.items())
            raise UserError(
                f"The adapters were trained on different channels ({listed}); give --channel."
            )
        return next(iter(channels.values()))
