"""The recognition recipes as a user starts them, from the tables to the alignments."""

import json
from pathlib import Path

import pytest
from support.recipe_run import RECIPES, run
from support.small_common_voice import read_table, write_small_release

from mambadapter import cli
from mambadapter.inference import load_adapter


def aligned(text):
    """Every line of an alignment file, its padding and gaps left out."""
    for line in text.splitlines():
        tokens = [token.strip() or " " for token in line.split(";")]
        yield "".join(token for token in tokens if token != "<eps>")


@pytest.mark.parametrize("language", ["ckb", "ab"])
def test_text_survives_from_the_tables_to_the_alignments(
    tmp_path, encoder_folders, language, capsys
):
    release = write_small_release(tmp_path / "cv-corpus-13.0-2023-03-09", language)
    settings = [
        "--data_folder", release, "--encoder", encoder_folders["wavlm"], "--output_root", tmp_path,
        "--output_folder", tmp_path / "run", "--number_of_epochs", 1, "--batch_seconds", 8,
        "--num_workers", 0, "--adapter", "lora", "--decoding", "beam", "--beam_size", 4, "--head_lstm", 8,
    ]  # fmt: skip
    done = run(f"CommonVoice/{language}", *settings)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metrics"]["test"]["utterances"] == 4
    assert result["metrics"]["test"]["cer"] > 0

    table = read_table(release / language / "test.tsv")
    manifest = json.loads((tmp_path / "run/manifests/test.json").read_text(encoding="utf-8"))
    references = list(aligned((tmp_path / "run/cer_test.txt").read_text(encoding="utf-8")))
    for row in table:
        entry = manifest[Path(row["path"]).stem]
        assert entry["sentence"] == row["sentence"]
        assert entry["text"] == row["sentence"].lower().rstrip(".")
        assert entry["text"] in references
    training = json.loads((tmp_path / "run/manifests/train.json").read_text(encoding="utf-8"))
    card = json.loads((tmp_path / "run/adapter/adapter.json").read_text(encoding="utf-8"))
    assert set(card["labels"][2:]) == set("".join(entry["text"] for entry in training.values()))
    assert card["longest_clip"] == max(entry["duration"] for entry in training.values())

    clip = str(release / language / "clips" / table[0]["path"])
    assert cli.main(["transcribe", str(tmp_path / "run"), clip]) == 0
    said = capsys.readouterr().out
    expected = load_adapter(tmp_path / "run").transcribe(clip).text
    assert said == f"{clip}: {expected}\n"
    assert cli.main(["predict", str(tmp_path / "run/adapter"), clip]) == 2
    assert "trained for transcription; use `mambadapter transcribe`" in (capsys.readouterr().err)


@pytest.mark.exhaustive
def test_error_rates_decide_the_learning_rate(tmp_path, encoder_folders):
    release = write_small_release(tmp_path / "cv", "kab")
    done = run(
        "CommonVoice/kab", "--data_folder", release, "--encoder", encoder_folders["wav2vec2"],
        "--output_root", tmp_path, "--output_folder", tmp_path / "run", "--number_of_epochs", 1,
        "--batch_seconds", 8, "--num_workers", 0, "--lr_search", 2, "--adapter_budget", 3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    search = {one["lr"]: one["valid"] for one in result["lr_search"]}
    assert result["lr"] == min(
        search, key=lambda lr: (min(search[lr]["wer"], 1), search[lr]["cer"])
    )
    assert abs(result["parameters"]["adapted"] / 3000 - 1) < 0.1
    assert (RECIPES / "CommonVoice/kab/train.py").is_file()


@pytest.mark.parametrize(("language", "adapt"), [("ckb", "encoder"), ("kab", "both")])
def test_whisper_writes_from_the_tables_to_the_alignments(
    tmp_path, encoder_folders, language, adapt, capsys
):
    release = write_small_release(tmp_path / "cv-corpus-13.0-2023-03-09", language)
    done = run(
        f"CommonVoice/{language}", "--data_folder", release, "--encoder", encoder_folders["whisper"],
        "--output_root", tmp_path, "--output_folder", tmp_path / "run", "--number_of_epochs", 2,
        "--batch_seconds", 8, "--num_workers", 0, "--adapt", adapt, "--adapter_budget", 2000 + 4000 * (adapt == "both"),
        "--longest_text", 30, launch=("train_seq2seq.py",), hparams="hparams/seq2seq.yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metrics"]["test"]["utterances"] == 4
    assert len(result["history"]) == 2
    assert result["parameters"]["head"] == 32  # the new language's token
    references = list(aligned((tmp_path / "run/cer_test.txt").read_text(encoding="utf-8")))
    for row in read_table(release / language / "test.tsv"):
        assert row["sentence"].lower().rstrip(".") in references

    clip = str(release / language / "clips" / row["path"])
    assert cli.main(["transcribe", str(tmp_path / "run"), clip]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{clip}: ")
    hypotheses = list(aligned((tmp_path / "run/cer_test.txt").read_text(encoding="utf-8")))
    assert said.removeprefix(f"{clip}: ").rstrip("\n") in hypotheses


def test_ctc_on_whispers_encoder_and_not_on_ast(tmp_path, encoder_folders):
    release = write_small_release(tmp_path / "cv", "kab")
    settings = [
        "--data_folder", release, "--output_root", tmp_path, "--number_of_epochs", 1, "--batch_seconds", 8,
        "--num_workers", 0,
    ]  # fmt: skip
    done = run("CommonVoice/kab", *settings, "--encoder", encoder_folders["whisper"])
    assert done.returncode == 0, done.stderr
    done = run("CommonVoice/kab", *settings, "--encoder", encoder_folders["ast"])
    assert done.returncode == 2
    assert "CTC needs frames in the order of time" in done.stderr


@pytest.mark.parametrize(
    ("script", "hparams", "encoder"),
    [("train.py", "hparams/train.yaml", "wav2vec2"), ("train_seq2seq.py", "hparams/seq2seq.yaml", "whisper")],
)  # fmt: skip
@pytest.mark.exhaustive
def test_two_processes_run_a_recipe(tmp_path, encoder_folders, script, hparams, encoder):
    release = write_small_release(tmp_path / "cv", "kab")
    done = run(
        "CommonVoice/kab", "--data_folder", release, "--encoder", encoder_folders[encoder],
        "--output_root", tmp_path, "--output_folder", tmp_path / "run", "--number_of_epochs", 2,
        "--batch_seconds", 4, "--num_workers", 0, "--device", "cpu", "--distributed_backend", "gloo",
        launch=(script,), hparams=hparams, processes=2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["machine"]["processes"] == 2
    assert result["metrics"]["test"]["utterances"] == 4
    assert len(result["history"]) == 2
    assert len(list(aligned((tmp_path / "run/cer_test.txt").read_text(encoding="utf-8")))) >= 8
