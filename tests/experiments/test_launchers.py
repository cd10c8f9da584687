"""The same sweep through submitit's own executors, and what is shown of runs on the way."""

import pytest
from support.fake_recipe import write_recipe, write_sweep

from mambadapter.errors import UserError
from mambadapter.experiments.launchers import Here, Submitit, progress
from mambadapter.experiments.sweep import run_sweep
from mambadapter.experiments.sweep_file import read_sweep
from mambadapter.experiments.trials import Trial

# Many ways through lines that other tests reach: untraced in `make coverage`.
pytestmark = pytest.mark.exhaustive

pytest.importorskip("submitit", reason="needs submitit: pip install -e '.[sweeps]'")

BODY = "cross: {adapter: [lora, broken], seed: [1, 2]}\n"
SEARCH = "search:\n    tries: 2\n    over: {adapter.lr: {low: 0.001, high: 0.1, log: true}}\n"


@pytest.fixture
def sweep_file(tmp_path):
    recipe = write_recipe(tmp_path / "recipes/Fake")
    return write_sweep(tmp_path / "s.yaml", recipe, tmp_path / "out", BODY)


@pytest.mark.parametrize("launcher", ["debug", "local"])
def test_submitted_runs_are_done_once(sweep_file, launcher, capsys):
    """And a failure is told."""
    sweep = read_sweep(sweep_file)
    counts = run_sweep(sweep, jobs=2, launcher=launcher)
    assert (counts["done"], counts["failed"]) == (2, 2)
    assert "'broken' is not on the menu" in capsys.readouterr().out
    sweep_file.write_text(sweep_file.read_text().replace("broken", "bottleneck"))
    sweep = read_sweep(sweep_file)
    assert run_sweep(sweep, launcher=launcher)["done"] == 4
    for trial in sweep.trials():
        assert (trial.output / "starts.txt").read_text().count("started") == 1


def test_a_search_is_submitted_too(sweep_file):
    sweep_file.write_text(sweep_file.read_text().replace(", broken", "") + SEARCH)
    sweep = read_sweep(sweep_file)
    assert run_sweep(sweep, launcher="local")["done"] == 2
    assert len(list((sweep.output / "search").glob("*/result.json"))) == 2


def test_absent_clusters_and_unknown_options_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--launcher slurm: "):
        Submitit("slurm", tmp_path / "jobs", 1, {})
    with pytest.raises(UserError, match="--launcher local: .*slrum_partition"):
        Submitit("local", tmp_path / "jobs", 1, {"slrum_partition": "gpu"})


def test_progress_is_the_last_epoch(tmp_path):
    trial = Trial("one", tmp_path, {}, tmp_path)
    assert progress(trial) == "one: first epoch"
    (tmp_path / "lr/0.1").mkdir(parents=True)
    (tmp_path / "lr/0.1/train_log.txt").write_text("epoch: 1, lr: 1e-1\nepoch: 2, lr: 1e-1\n")
    assert progress(trial) == "one: epoch 2 done"


def test_one_job_shares_out_the_cores():
    assert Here(1).threads >= Here(2).threads >= 1


def test_a_job_has_the_threads_that_it_asked_for(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(
        "import os, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('--output_folder') + 1])\n"
        "(folder / 'result.json').write_text('{\"threads\": ' + os.environ['OMP_NUM_THREADS'] + '}')\n"
    )
    launcher = Submitit("debug", tmp_path / "jobs", 1, {})
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    one, six = (Trial(name, tmp_path, {}, tmp_path / name) for name in ("one", "six"))
    assert launcher.one(one).trial.read() == {"threads": 1}
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert launcher.one(six).trial.read() == {"threads": 6}


def test_runs_of_several_processes(sweep_file):
    sweep_file.write_text("processes: 2\n" + sweep_file.read_text().replace(", broken", ""))
    sweep = read_sweep(sweep_file)
    assert run_sweep(sweep)["done"] == 2
    for trial in sweep.trials():
        assert (trial.output / "starts.txt").read_text().count("started") == 2
    alone = read_sweep(write_without_processes(sweep_file))
    assert {trial.output for trial in sweep.trials()}.isdisjoint(t.output for t in alone.trials())


def write_without_processes(path):
    path.write_text(path.read_text().replace("processes: 2\n", ""))
    return path


@pytest.mark.parametrize(
    ("available", "jobs", "processes", "shares"),
    [
        (4, 2, 2, ["0,1", "2,3"]),
        (4, 4, 1, ["0", "1", "2", "3"]),
        (2, 4, 1, ["0", "1", "0", "1"]),
        (5, 3, 2, ["0,1", "2,3", "0,1"]),
        (1, 1, 2, [None]),
        (0, 1, 1, [None]),
    ],
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch, available, jobs, processes, shares):
    monkeypatch.setattr("torch.cuda.device_count", lambda: available)
    here = Here(jobs, processes)
    assert [here.gpus.get() for _ in range(jobs)] == shares
