"""What training changes in a model, and how it is put back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
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
    both = sorted(live.keys() & saved.keys())
    reshaped = [
        n for n in both if (live[n].shape, live[n].dtype) != (saved[n].shape, saved[n].dtype)
    ]
    if missing or unexpected or reshaped:
        parts = [
            f"{len(names)} {what} (such as {names[0]})"
            for names, what in (
                (missing, "tensors missing"),
                (unexpected, "unknown tensors"),
                (reshaped, "tensors of another shape or type"),
            )
            if names
        ]
        raise UserError(f"{source} was saved from another model: {', '.join(parts)}.")
    broken = [name for name in both if not saved[name].isfinite().all()]
    if broken:
        raise UserError(
            f"{source} holds values that are not finite (in {broken[0]}); train it again."
        )
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
    with open_tensors(path) as file:
        written = (file.metadata() or {}).get("frozen")
    if written != frozen:
        raise UserError(f"{path} was trained on an encoder with other frozen weights. {mend}")
    load_trained(modules, read_tensors(path), str(path))


@contextmanager
def open_tensors(path: str | Path) -> Iterator[Any]:
    """A file of safetensors, of which nothing but the header is read."""
    try:
        file = safe_open(str(path), "pt")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read as trained tensors ({error}): it is absent, cut or another file. Copy it "
            "again, or delete the folder that it is in."
        ) from error
    with file:
        yield file


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a file of safetensors."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


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
    if not Path(path).expanduser().parent.is_dir():
        raise UserError(
            f"There is no folder {Path(path).parent} to write {Path(path).name} in; make it."
        )
    path = Path(path).expanduser()
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
    path = Path(path).expanduser()
    read_trained(modules, path, frozen, "Adapt the encoder it was trained on.")
