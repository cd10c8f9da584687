"""Trials run once, and fail with what they wrote."""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from scipy.stats import ttest_1samp

from mambadapter.errors import UserError
from mambadapter.experiments.trials import (
    DONE,
    ELSEWHERE,
    FAILED,
    Trial,
    execute,
    run_trials,
    threads_of_each,
)
from mambadapter.metrics.intervals import mean_and_half_width

SCRIPT = """\
import json, os, pathlib, sys
options = dict(zip(sys.argv[2:-1:2], sys.argv[3:-1:2]))
if options["--adapter"] == "broken":
    sys.exit("error: adapter: 'broken' is not on the menu")
folder = pathlib.Path(options["--output_folder"])
folder.mkdir(parents=True, exist_ok=True)
seen = {"yaml": sys.argv[1], "threads": os.environ["OMP_NUM_THREADS"], **options}
(folder / "result.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/train.py").write_text(SCRIPT)
    return tmp_path / "recipe"


def trial(recipe, tmp_path, adapter):
    return Trial(adapter, recipe, {"adapter": adapter, "seed": 3}, tmp_path / "out" / adapter)


def test_only_missing_results_are_run(recipe, tmp_path):
    trials = [trial(recipe, tmp_path, name) for name in ("a", "b", "c")]
    trials[1].result.parent.mkdir(parents=True)
    trials[1].result.write_text('{"done": "before"}')
    assert [one.name for one in run_trials(trials, jobs=2)] == ["a", "c"]
    assert trials[1].read() == {"done": "before"}
    seen = trials[0].read()
    assert (seen["yaml"], seen["--seed"]) == ("hparams/train.yaml", "3")
    assert int(seen["threads"]) >= 1
    assert list(run_trials(trials)) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_threads_are_of_the_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert (threads_of_each(1), threads_of_each(2)) == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)
    assert threads_of_each(1) <= len(allowed)


def test_omp_num_threads_is_the_most(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 64)
    for asked, threads in (
        ("1", 1),
        ("12", 12),
        ("100", 32),
        (" 4 ", 4),
        ("4,2", 4),
        ("", 32),
        ("²", 32),
    ):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert threads_of_each(2) == threads


def test_a_trial_that_fails_says_what_it_wrote(recipe, tmp_path):
    with pytest.raises(
        UserError, match=r"broken failed:\nerror: adapter: 'broken' is not on the menu"
    ):
        list(run_trials([trial(recipe, tmp_path, "broken")]))
    assert not (tmp_path / "out/broken/result.json").exists()


def test_a_trial_may_have_another_yaml(recipe, tmp_path):
    one = Trial("a", recipe, {"adapter": "a"}, tmp_path / "out/a", "hparams/quickstart.yaml")
    assert list(run_trials([one])) == [one]
    assert one.read()["yaml"] == "hparams/quickstart.yaml"


def test_half_a_result_is_none(recipe, tmp_path):
    """And a second try forgets the failure."""
    one = trial(recipe, tmp_path, "a")
    one.result.parent.mkdir(parents=True)
    one.result.write_text('{"half": ')
    assert not one.done
    script = (recipe / "train.py").read_text()
    (recipe / "train.py").write_text("raise SystemExit('no disk')")
    outcome = execute(one)
    assert (outcome.status, one.failure) == (FAILED, "no disk\n")
    (recipe / "train.py").write_text(script)
    assert execute(one).status == DONE
    assert one.failure is None
    assert one.read()["--adapter"] == "a"


def test_two_sweeps_never_run_one_trial_at_once(recipe, tmp_path):
    (recipe / "train.py").write_text("import time; time.sleep(1.5)\n" + SCRIPT)
    one = trial(recipe, tmp_path, "a")
    with ThreadPoolExecutor(2) as pool:
        statuses = [outcome.status for outcome in pool.map(execute, [one, one])]
    assert sorted(statuses) == [DONE, ELSEWHERE]
    assert execute(one).status == DONE


def test_the_interval_is_scipys():
    values = [0.51, 0.55, 0.5, 0.58, 0.53]
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    mean, half = mean_and_half_width(values)
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))
    assert math.isnan(mean_and_half_width([0.5])[1])
