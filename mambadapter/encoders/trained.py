"""What training changes in a model, and how it is put back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mambadapter.errors import UserError


def trained_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Collect what training changes: trainable parameters, each once, and all buffers.

    Buffers include BatchNorm statistics, which learn without requiring gradient.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        For instance ``{"encoder": ..., "head": ...}``.

    Returns
    -------
    dict[str, Tensor]
        Live tensors, not copies, by ``<module>.<name>``.

    Example
    -------
    >>> frozen, norm = nn.Linear(2, 2).requires_grad_(False), nn.BatchNorm1d(2)
    >>> sorted(trained_tensors({"a": nn.Sequential(frozen, norm)}))[:2]
    ['a.1.bias', 'a.1.num_batches_tracked']
    """
    tree = nn.ModuleDict(modules)
    persistent = tree.state_dict().keys()
    learned = {name: p for name, p in tree.named_parameters() if p.requires_grad}
    buffers = {name: b for name, b in tree.named_buffers() if name in persistent}
    return {**learned, **buffers}


def load_trained(
    modules: Mapping[str, nn.Module], saved: Mapping[str, Tensor], source: str
) -> None:
    """Put saved tensors back, strictly: the same names and shapes, or an error and no change.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        Built the way they were when saved.
    saved : Mapping[str, Tensor]
        By the names of `trained_tensors`.
    source : str
        Where `saved` came from, for the error message.

    Raises
    ------
    UserError
        If names or shapes differ.
    """
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
