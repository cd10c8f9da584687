"""Packages on the Hugging Face hub: found there by name, and put there."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi

from mambadapter.errors import UserError, first_line
from mambadapter.utils.files import read_json, write_json

WEIGHTS, CARD, README = "adapter.safetensors", "adapter.json", "README.md"
_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def local_folder(package: str | Path, revision: str | None = None) -> Path:
    """Where a package is: the folder itself, or the cache's copy of what the hub has by that name.

    A name is ``user/name`` or ``user/name@revision``. Where the hub cannot be asked, or HF_HUB_OFFLINE is
    set, what is in the cache will do.
    """
    folder = Path(package).expanduser()
    found = _NAME.fullmatch(str(package))
    if folder.exists() or found is None:
        return folder
    try:
        with _hub_errors(found["name"]):
            return Path(
                HfApi().snapshot_download(
                    found["name"],
                    revision=revision or found["revision"],
                    allow_patterns=[WEIGHTS, CARD, README],
                )
            )
    except UserError as error:
        raise UserError(f"There is no folder {package}, and {error}") from error


def push_package(folder: Path, name: str, encoder: str | None = None, private: bool = False) -> str:
    """Put a package on the hub, and return the address of the commit.

    Raises
    ------
    UserError
        If the hub refuses, or the package's encoder is in a folder that nobody else has.
    """
    if _NAME.fullmatch(name) is None or "@" in name:
        raise UserError(f"'{name}' is no name on the hub; give user/name.")
    card = read_json(folder / CARD, "copy the whole `adapter` folder again")
    card["encoder"] = encoder or card["encoder"]
    if Path(card["encoder"]).expanduser().is_absolute():
        raise UserError(
            f"This adapter's encoder is in {card['encoder']}, where nobody else finds it; say where the same "
            "weights are on the hub: --encoder user/encoder."
        )
    with tempfile.TemporaryDirectory() as scratch, _hub_errors(name):
        write_json(Path(scratch, CARD), card)
        for file in (WEIGHTS, README):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, Path(scratch, file))
        api = HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=scratch, commit_message="An adapter package"
        )
    return str(commit.commit_url)


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        ValueError,
    ) as error:  # all of huggingface_hub's and of its connection are of these
        raise UserError(
            f"the hub does not give '{name}' ({type(error).__name__}: {first_line(error)}); check the name, "
            "the connection and, of private ones, `hf auth login`."
        ) from error
