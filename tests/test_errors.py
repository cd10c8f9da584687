"""What ends a command is told in one line where the user can mend it, and raised where not."""

import re
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from mambadapter.errors import UserError, user_error

needs_full = pytest.mark.skipif(
    not Path("/dev/full").is_char_device(), reason="needs /dev/full, of Linux"
)


def write_text():
    with open("/dev/full", "w") as file:
        file.write("x")


def write_tensors():
    torch.save({"a": torch.randn(100_000)}, "/dev/full")


@needs_full
@pytest.mark.parametrize("write", [write_text, write_tensors])
def test_a_full_disk_is_recognised(write):
    with pytest.raises((OSError, RuntimeError)) as caught:
        write()
    assert str(user_error(caught.value)).startswith("The disk is full")
    wrapped = ValueError("in between")
    wrapped.__cause__ = caught.value
    assert str(user_error(wrapped)).startswith("The disk is full")


def test_safetensors_say_it_in_words():
    # Its own words on a full file system; writing to /dev/full would put a file in its place.
    error = SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )
    assert str(user_error(error)).startswith("The disk is full")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
            "to allocate 160000000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_more_memory_is_said(error):
    assert re.match(r"Memory ran out \(.+\)\. Lower batch_size", str(user_error(error)))


@pytest.mark.parametrize(
    "use",
    [
        lambda path: (path / "file/below").mkdir(parents=True),
        lambda path: (path / ("x" * 300)).stat(),
        lambda path: path.read_text(),
        lambda path: (path / "absent").read_text(),
    ],
)
def test_a_path_that_cannot_be_used_is_named(tmp_path, use):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        use(tmp_path)
    assert re.fullmatch(
        rf"{tmp_path}.* cannot be used \(.+\); give another path\.", str(user_error(caught.value))
    )


def test_other_errors_are_not_hidden():
    assert user_error(RuntimeError("shapes differ")) is None
    assert user_error(OSError(5, "Input/output error", "a")) is None
    mine = UserError("mend it")
    assert user_error(mine) is mine
