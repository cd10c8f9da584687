"""Check a Fluent Speech Commands folder and write its manifests, by the published splits.

Lugosch et al. 2019, arXiv 1904.03670. ``data/{train,valid,test}_data.csv`` list the clips of each split. An
intent is an action, an object and a location together.
"""

from pathlib import Path

from mambadapter.data.corpora.preparation import (
    LabelledFile,
    find_corpus,
    read_table,
    warn_of_overlap,
    warn_of_subset,
    write_splits,
)

TABLES = {
    "train": "data/train_data.csv",
    "valid": "data/valid_data.csv",
    "test": "data/test_data.csv",
}
SLOTS = ("action", "object", "location")
INTENTS = 31


def prepare_fsc(
    data_folder: str | Path, manifest_folder: str | Path, skip_unusable_audio: bool = False
) -> dict[str, Path]:
    """Write ``train.json``, ``valid.json`` and ``test.json``; nothing is done twice.

    The corpus may move, but not change, between two runs in the same output folder.

    Parameters
    ----------
    data_folder : str or Path
        The corpus: the three tables in ``data/`` and the clips that they name. Fewer than the 31 intents
        will do.
    manifest_folder : str or Path
        Where the manifests go.
    skip_unusable_audio : bool
        Leave unusable files out instead of refusing.

    Returns
    -------
    dict[str, Path]
        Manifests of ``train``, ``valid`` and ``test``.

    Raises
    ------
    UserError
        If the folder is not the corpus or a table is missing or broken; and what
        `mambadapter.data.corpora.preparation.write_splits` refuses.

    Example
    -------
    >>> folder = "fluent_speech_commands_dataset"
    >>> prepare_fsc(folder, "manifests")["train"].name  # doctest: +SKIP
    'train.json'
    """
    root = find_corpus(
        data_folder,
        corpus="Fluent Speech Commands",
        unpacked="fluent_speech_commands_dataset",
        lacks=TABLES["train"],
        is_corpus=lambda path: any((path / table).is_file() for table in TABLES.values()),
    )
    columns = ("path", "speakerId", *SLOTS)
    rows = {split: read_table(root / table, columns) for split, table in TABLES.items()}
    files = [
        LabelledFile(row["path"], split, "-".join(row[slot] for slot in SLOTS))
        for split, listed in rows.items()
        for row in listed
    ]
    warn_of_subset({file.label for file in files}, INTENTS, "intents", root)
    speakers = {split: {row["speakerId"] for row in listed} for split, listed in rows.items()}
    warn_of_overlap(speakers, "speakers")
    return write_splits(root, manifest_folder, files, skip_unusable_audio)
