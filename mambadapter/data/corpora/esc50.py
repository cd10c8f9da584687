"""Check an ESC-50 folder and write the manifests of one of its five folds.

Piczak 2015, doi 10.1145/2733373.2806390. ``meta/esc50.csv`` gives the fold of each clip. One fold tests,
the next one validates, the other three train: the best epoch is never chosen on the fold that tests.
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

TABLE = "meta/esc50.csv"
FOLDS = 5
CLASSES = 50


def prepare_esc50(
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
        The corpus: ``meta/esc50.csv`` and ``audio/``. Fewer than the 50 classes will do, such as ESC-10.
    manifest_folder : str or Path
        Where the manifests go; each test fold has its own.
    test_fold : int
        1 to 5.
    skip_unusable_audio : bool
        Leave unusable files out instead of refusing.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder is not the corpus, a fold is unknown or has no clip; and what
        `mambadapter.data.corpora.preparation.write_splits` refuses.

    Example
    -------
    >>> prepare_esc50("ESC-50-master", "manifests", test_fold=1)["train"].name  # doctest: +SKIP
    'train.json'
    """
    split_of = split_of_folds(test_fold, FOLDS)
    root = find_corpus(
        data_folder,
        corpus="ESC-50",
        unpacked="ESC-50-master",
        lacks=TABLE,
        is_corpus=lambda path: (path / TABLE).is_file(),
    )
    rows = read_table(root / TABLE, ("filename", "fold", "category", "src_file"))
    check_folds({row["fold"] for row in rows}, FOLDS, root / TABLE)

    files: list[LabelledFile] = []
    sources: dict[str, set[str]] = {split: set() for split in SPLITS}
    for row in rows:
        split = split_of[int(row["fold"])]
        files.append(LabelledFile(f"audio/{row['filename']}", split, row["category"]))
        sources[split].add(row["src_file"])
    warn_of_subset({file.label for file in files}, CLASSES, "classes", root)
    warn_of_overlap(sources, "source recordings")
    return write_splits(root, manifest_folder, files, skip_unusable_audio)
