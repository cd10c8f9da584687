"""What training changes in a model, and how it is put back."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mambadapter.encoders.fingerprint import frozen_fingerprint
from mambadapter.errors import UserError


def trained_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Collect what training changes: trainable parameters, each once, and all buffers.

    Buffers include BatchNorm statistics, which learn without requiring gradient.
    """
    tree = nn.ModuleDict(modules)
    persistent = tree.state_dict().keys()
    learned = {name: p for name, p in tree.named_parameters() if p.requires_grad}
    buffers = {name: b for name, b in tree.named_buffers() if name in persistent}
    return {**learned, **buffers}


def load_trained(
    modules: Mapping[str, nn.Module], saved: Mapping[str, Tensor], source: str
) -> None:
    """Put saved tensors back, strictly: the same names and shapes, or an error and no change."""
    live = trained_tensors(modules)
    missing, unexpected = sorted(live.keys() - saved.keys()), sorted(saved.keys() - live.keys())
    reshaped = [n for n in live.keys() & saved.keys() if live[n].shape != saved[n].shape]
    if missing or unexpected or reshaped:
        parts = [
            f"{len(names)} {what} (such as {names[0]})"
            for names, what in (
                (missing, "tensors missing"),
                (unexpected, "unknown tensors"),
                (reshaped, "tensors of another shape"),
            )
            if names
        ]
        raise UserError(f"{source} was saved from another model: {', '.join(parts)}.")
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(saved[name])


def written_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """`trained_tensors` in the form in which safetensors writes them."""
    return {n: t.detach().cpu().contiguous() for n, t in trained_tensors(modules).items()}


def save_trained(modules: Mapping[str, nn.Module], path: str | Path, frozen: str) -> None:
    """Write `trained_tensors` as safetensors, with the fingerprint of what was frozen beside them."""
    save_file(written_tensors(modules), str(path), metadata={"frozen": frozen})


def read_trained(
    modules: Mapping[str, nn.Module], path: str | Path, frozen: str, mend: str
) -> None:
    """Put back what `save_trained` wrote, or say why it does not belong here and what mends it."""
    try:
        with safe_open(str(path), "pt") as file:
            written = (file.metadata() or {}).get("frozen")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as trained tensors ({error}).") from error
    if written != frozen:
        raise UserError(f"{path} was trained on an encoder with other frozen weights. {mend}")
    load_trained(modules, load_file(str(path)), str(path))


def save(path: str | Path, **modules: nn.Module) -> None:
    """Save what was trained of an adapted encoder and what stands on it; the frozen weights stay out.

    Parameters
    ----------
    path : str or Path
        A file, such as ``adapter.safetensors``.
    **modules : nn.Module
        By names that `load` is given again, such as ``encoder=..., head=...``.

    Example
    -------
    >>> import tempfile
    >>> layer = nn.Linear(2, 2)
    >>> file = Path(tempfile.mkdtemp()) / "adapter.safetensors"
    >>> save(file, head=layer)
    >>> other = nn.Linear(2, 2)
    >>> load(file, head=other)
    >>> torch.equal(layer.weight, other.weight)
    True
    """
    save_trained(modules, path, frozen_fingerprint(nn.ModuleDict(modules)))


def load(path: str | Path, **modules: nn.Module) -> None:
    """Put back what `save` wrote, into modules built the same way.

    Parameters
    ----------
    path : str or Path
        The file.
    **modules : nn.Module
        By the names they were saved under; they are changed in place.

    Raises
    ------
    UserError
        If the file cannot be read, or was saved from another encoder or another method.
    """
    frozen = frozen_fingerprint(nn.ModuleDict(modules))
    read_trained(modules, path, frozen, "Adapt the encoder it was trained on.")
