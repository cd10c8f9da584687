"""Check an UrbanSound8K folder and write the manifests of one of its ten folds.

Salamon et al. 2014, doi 10.1145/2647868.2655045. ``metadata/UrbanSound8K.csv`` gives the fold of each slice.
One fold tests, the next one validates, the other eight train: the best epoch is never chosen on the fold
that tests.
"""

from pathlib import Path

from mambadapter.data.corpora.preparation import (
    SPLITS,
    LabelledFile,
    check_folds,
    find_corpus,
    read_table,
    split_of_folds,
    warn_of_overlap,
    warn_of_subset,
    write_splits,
)
from mambadapter.errors import UserError

TABLE = "metadata/UrbanSound8K.csv"
FOLDS = 10
CLASSES = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)


def prepare_us8k(
    data_folder: str | Path,
    manifest_folder: str | Path,
    test_fold: int,
    skip_unusable_audio: bool = False,
) -> dict[str, Path]:
    """Write ``train.json``, ``valid.json`` and ``test.json``; nothing is done twice.

    The corpus may move, but not change, between two runs in the same output folder.

    Parameters
    ----------
    data_folder : str or Path
        The corpus: ``metadata/UrbanSound8K.csv`` and ``audio/fold1/`` to ``audio/fold10/``.
    manifest_folder : str or Path
        Where the manifests go; each test fold has its own.
    test_fold : int
        1 to 10.
    skip_unusable_audio : bool
        Leave unusable files out instead of refusing.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder is not the corpus, a fold is unknown or has no clip, or a class is not what its
        number says; and what `mambadapter.data.corpora.preparation.write_splits` refuses.

    Example
    -------
    >>> prepare_us8k("UrbanSound8K", "manifests", test_fold=1)["train"].name  # doctest: +SKIP
    'train.json'
    """
    split_of = split_of_folds(test_fold, FOLDS)
    root = find_corpus(
        data_folder,
        corpus="UrbanSound8K",
        unpacked="UrbanSound8K",
        lacks=TABLE,
        is_corpus=lambda path: (path / TABLE).is_file(),
    )
    rows = read_table(root / TABLE, ("slice_file_name", "fsID", "fold", "classID", "class"))
    check_folds({row["fold"] for row in rows}, FOLDS, root / TABLE)
    _check_classes(rows, root / TABLE)

    files: list[LabelledFile] = []
    sources: dict[str, set[str]] = {split: set() for split in SPLITS}
    for row in rows:
        split = split_of[int(row["fold"])]
        name = f"audio/fold{row['fold']}/{row['slice_file_name']}"
        files.append(LabelledFile(name, split, row["class"]))
        sources[split].add(row["fsID"])
    _check_slices(rows, root / TABLE)
    warn_of_subset({file.label for file in files}, len(CLASSES), "classes", root)
    warn_of_overlap(sources, "source recordings")
    return write_splits(root, manifest_folder, files, skip_unusable_audio)


def _check_classes(rows: list[dict[str, str]], table: Path) -> None:
    numbers = {str(number): name for number, name in enumerate(CLASSES)}
    for row in rows:
        if numbers.get(row["classID"]) != row["class"]:
            raise UserError(
                f"{table}: {row['slice_file_name']} is '{row['class']}', but its classID "
                f"{row['classID']} is '{numbers.get(row['classID'], 'no class')}'; unpack the corpus again."
            )


def _check_slices(rows: list[dict[str, str]], table: Path) -> None:
    """A slice that is listed in two folds would have two paths, so that no one else would notice."""
    folds: dict[str, str] = {}
    for row in rows:
        name, fold = row["slice_file_name"], row["fold"]
        if folds.setdefault(name, fold) != fold:
            raise UserError(
                f"{table} lists {name} in folds {folds[name]} and {fold}; unpack the corpus again."
            )
