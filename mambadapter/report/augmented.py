"""Spectrograms of clips before and after what training may do to them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mambadapter.data.audio import read_clip
from mambadapter.data.augmentation import Change, waveform_changes
from mambadapter.data.own.rows import Listing
from mambadapter.errors import UserError
from mambadapter.utils.figures import save_figure

_SAMPLE_RATE = 16000  # Hz, of every encoder
_CLIPS = 4
_WINDOW = 400  # samples of a spectrogram's frame, 25 ms
_DARKEST = -80.0  # dB below a picture's loudest


def draw_augmented(
    listing: Listing,
    path: str | Path,
    noise_folder: str | None = None,
    reverberation_folder: str | None = None,
    seed: int = 0,
) -> Path:
    """Draw some clips as they are, and changed by each of what is asked for.

    Parameters
    ----------
    listing : Listing
        What `mambadapter.data.own.inspection.read_listing` gave.
    path : str or Path
        Of the picture; its name says the format.
    noise_folder, reverberation_folder : str, optional
        As in the YAML of a recipe.
    seed : int
        Of what is drawn.

    Raises
    ------
    UserError
        If no clip can be read, a folder holds no audio, or the format is none of pictures.
    """
    clips = dict(islice(_readable(listing), _CLIPS))
    if not clips:
        raise UserError(f"{listing.root} has no clip that can be read.")
    changes = {"speed and gaps": waveform_changes(_SAMPLE_RATE, True)}
    if noise_folder is not None:
        changes["noise"] = waveform_changes(_SAMPLE_RATE, noise_folder=noise_folder)
    if reverberation_folder is not None:
        changes["room"] = waveform_changes(_SAMPLE_RATE, reverberation_folder=reverberation_folder)
    return save_figure(_figure(clips, changes, seed), path)


def _readable(listing: Listing) -> Iterator[tuple[str, Tensor]]:
    """Clips from all over the list, each once, with their names."""
    rows = listing.rows
    step = max(len(rows) // _CLIPS, 1)
    for start in range(step):
        for row in rows[start::step]:
            try:
                wav = read_clip(listing.path(row), _SAMPLE_RATE, start=row.start, end=row.end)
            except UserError:
                continue  # the inspection names it
            yield row.key, wav


def _figure(
    clips: Mapping[str, Tensor], changes: Mapping[str, Sequence[Change]], seed: int
) -> Figure:
    figure = Figure(figsize=(3 * (1 + len(changes)), 0.6 + 1.8 * len(clips)), layout="constrained")
    grid = figure.subplots(len(clips), 1 + len(changes), squeeze=False)
    for row, (name, wav) in zip(grid, clips.items(), strict=True):
        _draw(row[0], wav)
        row[0].set_ylabel(f"{Path(name).name[-24:]}\nkHz", fontsize=7)
        for axes, several in zip(row[1:], changes.values(), strict=True):
            torch.manual_seed(seed)
            changed, lens = wav[None], torch.ones(1)
            for change in several:
                changed, lens = change(changed, lens)
            _draw(axes, changed[0])
    for axes, title in zip(grid[0], ["as recorded", *changes], strict=True):
        axes.set_title(title, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", fontsize=8)
    return figure


def _draw(axes: Axes, wav: Tensor) -> None:
    spectrum = torch.stft(
        wav, _WINDOW, _WINDOW // 4, window=torch.hann_window(_WINDOW), return_complex=True
    ).abs()
    decibels = 20 * torch.log10(spectrum.clamp(min=1e-8))
    loudest = decibels.max().item()
    extent = (0.0, len(wav) / _SAMPLE_RATE, 0.0, _SAMPLE_RATE / 2000)
    axes.imshow(
        decibels.numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma",
        vmin=loudest + _DARKEST, vmax=loudest,
    )  # fmt: skip
    axes.tick_params(labelsize=7)
