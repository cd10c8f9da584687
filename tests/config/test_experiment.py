"""From a YAML to objects, a digest and an output folder; how a recipe ends."""

import functools
import json
from pathlib import Path

import pytest
import torch
from support.small_recipe import edit, load

from mambadapter.config import load_experiment, recipe_main, start_experiment
from mambadapter.config.schema import contract
from mambadapter.errors import UserError
from mambadapter.methods import MambAdapters


def test_choices_reach_the_objects(recipe):
    experiment = load(recipe)
    hparams = experiment.hparams
    assert hparams["method"] == MambAdapters(placement="pfeiffer", rank=12)
    assert hparams["source"] == "microsoft/wavlm-base"
    assert hparams["opt_class"].keywords == {"lr": 0.005}
    assert experiment.folder.name == f"wavlm-mambadapter-seed7-{experiment.digest}"
    assert hparams["log"] == f"{experiment.folder}/log"


def test_an_encoder_may_be_a_folder(recipe, tmp_path):
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    experiment = load(recipe, "--encoder", str(folder))
    assert experiment.hparams["source"] == str(folder)
    assert experiment.folder.name.startswith("my-encoder-mambadapter-seed7-")


def test_of_a_menu_only_what_is_chosen_is_read(recipe):
    """With the command line's changes; all of it, where a reference names another entry."""
    experiment = load(recipe, "--adapter.rank", "24", "--adapters.linear_probe.lr", "0.5")
    assert "linear_probe" not in experiment.text
    assert experiment.hparams["method"].rank == 24
    edit(recipe, "lr: !ref <chosen[lr]>", "lr: !ref <adapters[linear_probe][lr]>")
    other = load(recipe, "--adapter.rank", "24", "--adapters.linear_probe.lr", "0.5")
    assert other.hparams["lr"] == 0.5
    assert other.hparams["method"] == experiment.hparams["method"]


def test_an_entry_of_a_menu_may_refer_to_others(recipe):
    edit(recipe.parent / "menus/adapters.yaml", "    lr: 0.001", "    lr: !ref <mambadapter[lr]>")
    assert load(recipe, "--adapter", "linear_probe").hparams["lr"] == 0.005


@pytest.mark.exhaustive
def test_settings_are_in_the_digest_machines_not(recipe):
    """Every setting makes another experiment; where and how fast it runs does not."""

    def digests(*commands):
        return {load(recipe, *command).digest for command in commands}

    different = digests(
        (),
        ("--adapter", "linear_probe"),
        ("--adapter.rank", "13"),
        ("--lr", "0.1"),
        ("--batch_size", "5"),
        ("--seed", "8"),
        ("--precision", "bf16"),
        ("--encoder", "wav2vec2"),
    )
    assert len(different) == 8
    same = digests(
        (),
        ("--data_folder", "/elsewhere"),
        ("--output_root", "/tmp/x"),
        ("--output_folder", "/tmp/y"),
        ("--device", "cpu"),
        ("--tensorboard", "true"),
        ("--adapters.linear_probe.lr", "9"),
    )
    assert len(same) == 1


@pytest.mark.parametrize(
    "option",
    [
        "--precision=bf16",
        "--eval_precision=bf16",
        "--grad_accumulation_factor=2",
        "--optimizer_step_limit=9",
        "--debug",
    ],
)
def test_options_that_change_results_are_digested(recipe, option):
    assert load(recipe, option).digest != load(recipe).digest


def test_a_folder_that_holds_another_experiment_is_refused(recipe, tmp_path):
    folder = tmp_path / "run"
    start_experiment(load(recipe, "--output_folder", str(folder)))
    load(recipe, "--output_folder", str(folder))
    with pytest.raises(UserError, match=r"holds another experiment \(.*rank: 12 -> 24"):
        load(recipe, "--output_folder", str(folder), "--adapter.rank", "24")
    record = json.loads((folder / "experiment.json").read_text())
    assert record["config"]["lr"] == 0.005
    assert (folder / "hyperparams.yaml").is_file()


def test_code_that_moved_is_no_difference(recipe, tmp_path):
    """Nor is it named where an older version wrote the folder."""
    folder = tmp_path / "run"
    start_experiment(load(recipe, "--output_folder", str(folder)))
    record = folder / "experiment.json"
    moved = record.read_text().replace("mambadapter.methods.", "mambadapter.adapters.")
    assert moved != record.read_text()
    record.write_text(moved)
    load(recipe, "--output_folder", str(folder))
    digest = json.loads(moved)["digest"]
    record.write_text(moved.replace(digest, "00000000"))
    with pytest.raises(UserError, match=r"\(of another version of this toolkit\)"):
        load(recipe, "--output_folder", str(folder))


def test_nothing_is_written_by_loading(recipe, tmp_path):
    load(recipe)
    assert not (tmp_path / "results").exists()


def test_user_errors_are_one_line_and_status_2(capsys):
    @recipe_main
    def main():
        raise UserError("the thing and the mend")

    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: the thing and the mend\n"


def test_only_success_closes_the_process_group(tmp_path):
    """Left open, gloo's threads abort the process at its end, now and then."""
    open_group = functools.partial(
        torch.distributed.init_process_group,
        "gloo",
        init_method=f"file://{tmp_path}/store",
        rank=0,
        world_size=1,
    )

    @recipe_main
    def main(fails):
        open_group()
        if fails:
            raise UserError("others may be waiting")

    main(fails=False)
    assert not torch.distributed.is_initialized()
    with pytest.raises(SystemExit):
        main(fails=True)
    assert torch.distributed.is_initialized()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "{}", '{"digest": 3}', '{"digest": "a", "config": []}']
)
def test_a_damaged_record_is_refused(recipe, tmp_path, damage):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "experiment.json").write_text(damage)
    with pytest.raises(
        UserError, match=r"experiment\.json .*give another --output_folder, or delete"
    ):
        load(recipe, f"--output_folder={folder}")


@pytest.mark.parametrize("below", ["file", "file/below", "x" * 300, "loop/below"])
def test_folders_that_cannot_be_made_are_named(tmp_path, below):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    yaml = Path(__file__).parents[2] / "recipes/ESC50/hparams/train.yaml"
    folder = tmp_path / below
    with pytest.raises(
        UserError, match=rf"output_folder: {folder} cannot be made \(.+\); give another"
    ):
        load_experiment(
            [str(yaml), "--data_folder=/d", f"--output_folder={folder}"], contract("classification")
        )
