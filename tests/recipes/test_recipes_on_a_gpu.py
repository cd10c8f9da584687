"""The recipes in the precisions that only GPUs have, and what they record there."""

import json

import pytest
import torch
from support.recipe_run import run

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_recipe_in_every_precision(corpus, encoder_folders, tmp_path, precision):
    done = run(
        "GoogleSpeechCommands",
        "--data_folder", corpus, "--encoder", encoder_folders["wavlm"], "--output_root", tmp_path,
        "--number_of_epochs", 2, "--batch_size", 16, "--num_workers", 0, "--adapter.rank", 4,
        "--precision", precision,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Selective scan on cuda: triton." in done.stdout + done.stderr
    (folder,) = tmp_path.glob("wavlm-mambadapter-seed1986-*")
    result = json.loads((folder / "result.json").read_text())
    assert result["machine"]["gpu"] == torch.cuda.get_device_name()
    assert len(result["history"]) == 2
    assert result["metrics"]["test"]["clips"] == 16
