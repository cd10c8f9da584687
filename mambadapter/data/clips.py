"""The clips of a manifest in columns: a hundred bytes each, which processes that load them share."""

import math
from array import array
from collections.abc import Collection, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Literal

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.data_pipeline import DataPipeline, DynamicItem

from mambadapter.utils.columns import CHUNK, Coded, Strings, chunks


class _Paths:
    """Paths, of which many are in one folder."""

    def __init__(self) -> None:
        self._folders: Coded[str] = Coded()
        self._names = Strings()

    def extend(self, paths: Iterable[str]) -> None:
        parts = [path.rpartition("/") for path in paths]
        self._folders.extend([folder + slash for folder, slash, _ in parts])
        self._names.extend([name for _, _, name in parts])

    def at(self, places: Sequence[int]) -> list[str]:
        return [*map(str.__add__, self._folders.at(places), self._names.at(places))]


class _Numbers:
    """Numbers, or None; while all are None, no more than how many."""

    def __init__(self) -> None:
        self._numbers, self._count = array("d"), 0

    def extend(self, numbers: Sequence[float | None]) -> None:
        self._count += len(numbers)
        if self._numbers or {*numbers} != {None}:
            self._numbers.extend([math.nan] * (self._count - len(numbers) - len(self._numbers)))
            self._numbers.extend([math.nan if one is None else one for one in numbers])

    def at(self, places: Sequence[int]) -> list[float | None]:
        if not self._numbers:
            return [None] * len(places)
        found = [self._numbers[place] for place in places]
        return [None if one != one else one for one in found]


# What is kept of an entry, and how.
_KINDS = {
    "wav": _Paths,
    "duration": _Numbers,
    "start": _Numbers,  # seconds of a segment, or None
    "end": _Numbers,
    "label": Coded,
    "labels": Coded,  # as tuples
    "text": Strings,
}
ALWAYS = ("wav", "duration", "start", "end")


class Clips(Mapping[str, dict[str, Any]]):
    """From a clip's id to its entry, of as many clips as there are.

    Parameters
    ----------
    items : Iterable[tuple[str, Mapping[str, Any]]]
        Ids and entries. Kept are ``wav``, ``duration``, ``start``, ``end``, and of ``label``, ``labels`` and
        ``text`` those that the first entry has.

    Attributes
    ----------
    ids : Strings
        In their order.

    Example
    -------
    >>> clips = Clips([("a", {"wav": "/a.wav", "duration": 1.5, "label": "dog", "size": 9})])
    >>> clips["a"]
    {'wav': '/a.wav', 'duration': 1.5, 'start': None, 'end': None, 'label': 'dog'}
    """

    def __init__(self, items: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> None:
        self.ids = Strings()
        self._columns: dict[str, Any] = {}
        for chunk in chunks(items):
            self.extend(chunk, [key for key in _KINDS if key in ALWAYS or key in chunk[0][1]])

    def extend(self, items: Sequence[tuple[str, Mapping[str, Any]]], keys: Collection[str]) -> None:
        """Add some, of whose entries these are kept; the same as of those before."""
        if not self._columns:
            self._columns = {key: _KINDS[key]() for key in keys}
        self.ids.extend([name for name, _ in items])
        for key, column in self._columns.items():
            cells: list[Any] = [entry.get(key) for _, entry in items]
            column.extend([*map(tuple, cells)] if key == "labels" else cells)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getitem__(self, name: str) -> dict[str, Any]:
        if (place := self.ids.find(name)) is None:
            raise KeyError(name)
        return self.at([place])[0]

    def at(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """The entries at some places."""
        columns = [column.at(places) for column in self._columns.values()]
        return [
            dict(zip(self._columns, cells, strict=True)) for cells in zip(*columns, strict=True)
        ]

    @property
    def texts(self) -> Strings:
        """The texts, in their order."""
        return self._columns["text"]

    def different(self, key: Literal["label", "labels"]) -> Sequence[Any]:
        """Each that is there, once; none if it is not kept."""
        return self._columns[key].names if key in self._columns else ()

    def values(self) -> ValuesView[dict[str, Any]]:
        """The entries, in their order."""
        return _Values(self)

    def items(self) -> ItemsView[str, dict[str, Any]]:
        """Ids and entries, in their order."""
        return _Items(self)


class _Values(ValuesView):
    _mapping: Clips

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self._mapping), CHUNK):
            yield from self._mapping.at(range(start, min(start + CHUNK, len(self._mapping))))


class _Items(ItemsView):
    _mapping: Clips

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return zip(self._mapping.ids, self._mapping.values(), strict=True)


class ClipDataset(DynamicItemDataset):
    """SpeechBrain's dataset of `Clips`, which makes no list of their ids and looks none up."""

    def __init__(self, clips: Clips, items: Sequence[DynamicItem], keys: Sequence[str]) -> None:
        self.data, self.data_ids = clips, clips.ids
        self.pipeline = DataPipeline([*next(iter(clips.values())), "id"], items)
        self.set_output_keys(keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = self.data.at([index])[0]
        return self.pipeline.compute_outputs({"id": self.data_ids[index], **entry})
