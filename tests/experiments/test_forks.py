"""Scripts in forked processes behave as scripts in processes of their own."""

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mambadapter.experiments import forks


def script(tmp_path, text):
    (tmp_path / "script.py").write_text(text)
    return str(tmp_path / "script.py")


def test_each_of_many_started_at_once_has_its_own_status(tmp_path):
    """Of many threads."""
    path = script(tmp_path, "import sys; sys.exit(int(sys.argv[1]))")

    def status(number):
        return forks.wait(forks.start([path, str(number)], tmp_path / f"{number}.txt"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(status, range(12))) == list(range(12))


def test_it_sees_its_folder_environment_and_threads(tmp_path):
    text = "import os, torch; print(os.getcwd(), os.environ['OF'], len(os.environ), torch.get_num_threads())"
    (tmp_path / "folder").mkdir()
    process = forks.start(
        [script(tmp_path, text)],
        tmp_path / "out.txt",
        folder=tmp_path / "folder",
        environment={"OF": "its own", "OMP_NUM_THREADS": "2"},
    )
    assert forks.wait(process) == 0
    assert (tmp_path / "out.txt").read_text().strip() == f"{tmp_path / 'folder'} its own 2 2"


def test_errors_and_what_is_registered_for_the_end_are_written(tmp_path):
    text = "import atexit; atexit.register(print, 'the end'); raise SystemExit('no disk')"
    process = forks.start([script(tmp_path, text)], tmp_path / "out.txt", tmp_path / "err.txt")
    assert forks.wait(process) == 1
    assert (tmp_path / "out.txt").read_text() == "the end\n"
    assert (tmp_path / "err.txt").read_text() == "no disk\n"


def test_a_kept_lock_is_held_until_it_ends(tmp_path):
    path = script(tmp_path, "import time; time.sleep(100)")
    with (tmp_path / "lock").open("w") as file, (tmp_path / "lock").open() as other:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = forks.start([path], tmp_path / "out.txt", keep=file.fileno())
        file.close()
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert forks.wait(process, timeout=0) is None
        os.kill(process.pid, signal.SIGKILL)
        assert forks.wait(process) == -signal.SIGKILL
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_program_without_a_guard_starts_it_once(tmp_path):
    text = (
        "import pathlib; from mambadapter.experiments import forks\n"
        "print('program')\n"
        "forks.wait(forks.start(['script.py'], pathlib.Path('out.txt')))"
    )
    script(tmp_path, "print('script')")
    (tmp_path / "program.py").write_text(text)
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "program\n"
    assert (tmp_path / "out.txt").read_text() == "script\n"
