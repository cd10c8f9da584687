"""The recipes for one's own recordings: every command of the documents, on a tiny corpus."""

import json
import re
import shlex

import pytest
from support.recipe_run import RECIPES, run
from support.small_own import write_clips, write_csv, write_tone

from mambadapter import cli
from mambadapter.config import load_experiment
from mambadapter.config.schema import contract
from mambadapter.errors import UserError
from mambadapter.inference import load_adapter
from mambadapter.metrics.confusion import pooled
from mambadapter.text.pieces import Pieces

DOCUMENTS = [
    RECIPES.parent / "docs/your_own_data.md",
    RECIPES / "YourSounds/README.md",
    RECIPES / "YourSpeech/README.md",
]
LINES = sorted(
    {
        line.partition("   #")[0].strip()
        for path in DOCUMENTS
        for block in re.findall(r"^```\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if not line.startswith("cd ")
    }
)
TASKS = {"train.py": "ctc", "train_seq2seq.py": "seq2seq"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What the documents call ``/data``."""
    root = tmp_path_factory.mktemp("data")
    rows = write_clips(root / "my_sounds")
    listed = [
        {
            **row,
            "path": f"my_sounds/{row['path']}",
            "sound": row["label"],
            "who": row["speaker"],
            "start": 0.05,
            "end": 0.3,
        }
        for row in rows
    ]
    write_csv(root / "my_clips.csv", listed, ("path", "sound", "who"))
    write_csv(root / "my_segments.csv", listed, ("path", "label", "speaker", "start", "end"))
    labelled = [{**r, "take": f"take {r['path'][-5]}"} for r in listed]
    labelled = [{**r, "labels": f"{r['take']}; {r['sound']}"} for r in labelled]
    write_csv(root / "my_labels.csv", labelled, ("path", "labels", "speaker"))
    write_csv(root / "my_columns.csv", labelled, ("path", "sound", "take", "speaker"))
    named = [{**r, "path": f"wavs/{r['path']}", "sentence": r["text"]} for r in rows]
    (root / "my_speech").mkdir()
    (root / "my_speech/wavs").symlink_to(root / "my_sounds")
    write_csv(root / "my_speech/clips.csv", named, ("path", "sentence", "speaker"))
    (root / "clip.wav").symlink_to(root / "my_sounds/high/ann_0.wav")
    for folder in ("my_noises", "my_rooms"):
        (root / folder).mkdir()
        (root / folder / "one.wav").symlink_to(root / "my_sounds/high/ann_0.wav")
    return root


@pytest.mark.parametrize(
    "line", [x for x in LINES if re.match(r"python \w+\.py|mambadapter inspect", x)]
)
def test_a_command_of_the_documents_reads_the_data(line, data, tmp_path, monkeypatch, capsys):
    """Up to the training itself."""
    script, *arguments = shlex.split(line.replace("/data/", f"{data}/"))[1:]
    if script == "inspect":
        monkeypatch.chdir(tmp_path)  # where a picture goes
        page = tmp_path / "page.html"
        assert cli.main(["inspect", *arguments, "--output", str(page)]) == 0
        printed = capsys.readouterr().out
        assert re.search(r"clips +20\n", printed)
        assert f"--data_folder {arguments[0]}" in printed
        assert "<h2>What is wrong</h2>" in page.read_text()
        return
    given = arguments[arguments.index("--data_folder") + 1]
    recipe = "YourSpeech" if "my_speech" in given else "YourSounds"
    monkeypatch.chdir(RECIPES / recipe)
    task = "classification" if recipe == "YourSounds" else TASKS[script]
    more = ["--output_root", str(tmp_path), "--output_folder", str(tmp_path / "run")]
    prepare = load_experiment([*arguments, *more], contract(task)).hparams["prepare"]
    found = [json.loads(path.read_text()) for path in prepare().values()]
    assert [len(entries) for entries in found] == [12, 4, 4]


def test_sounds_from_inspect_to_predict(data, encoder_folders, tmp_path, capsys):
    """The printed command trains, on folds too, and what it wrote answers, also that it is none of these."""
    write_tone(tmp_path / "neither/beep.wav", 900)
    table = data / "my_segments.csv"
    assert cli.main(["inspect", str(table), "--output", str(tmp_path / "page.html")]) == 0
    command = capsys.readouterr().out.split("train.py ")[1].splitlines()[0]
    hparams, *arguments = shlex.split(command)
    arguments[arguments.index("--output_root") + 1] = str(tmp_path)
    small = [
        "--encoder",
        encoder_folders["wavlm"],
        "--number_of_epochs",
        1,
        "--adapter",
        "lora",
        "--class_weights",
        "balanced",
        "--sampler",
        "balanced",
    ]
    done = run(
        "YourSounds",
        *arguments,
        *small,
        "--folds",
        3,
        "--unknown_folder",
        tmp_path / "neither",
        "--output_folder",
        tmp_path / "run",
        hparams=hparams,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metrics"]["test"]["clips"] == 20
    assert len(result["folds"]) == 3
    assert {"accuracy_low", "balanced_accuracy"} < result["metrics"]["test"].keys()
    fold = json.loads((tmp_path / "run/fold1/result.json").read_text())
    rows = [
        line.split(",") for line in (tmp_path / "run/fold1/confusion.csv").read_text().splitlines()
    ]
    assert rows[0] == ["", "high", "low"]
    counts = [list(map(int, row[1:])) for row in rows[1:]]
    clips = fold["metrics"]["test"]["clips"]
    assert sum(map(sum, counts)) == clips
    assert counts[0][0] + counts[1][1] == round(fold["metrics"]["test"]["accuracy"] * clips)
    wrong = {(one["class"], one["taken_for"]): one["clips"] for one in fold["worst_confused"]}
    assert wrong.get(("high", "low"), 0) == counts[0][1]
    assert (tmp_path / "run/fold1/confusion.png").is_file()
    folds = [json.loads((tmp_path / f"run/fold{n}/result.json").read_text()) for n in (1, 2, 3)]
    assert result["worst_confused"] == pooled(one["worst_confused"] for one in folds)
    clip = str(data / "clip.wav")
    kept = json.loads((tmp_path / "run/fold1/adapter/adapter.json").read_text())["calibration"]
    assert kept.items() <= fold["calibration"].items()
    assert (kept["clips"], kept["false_accept_clips"]) == (fold["metrics"]["valid"]["clips"], 1)
    assert result["calibration"][0] == fold["calibration"]
    assert len(result["calibration"]) == 3
    assert "| false reject | " in (tmp_path / "run/fold1/adapter/README.md").read_text()
    assert cli.main(["predict", str(tmp_path / "run/fold1"), clip, "--unknown"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", str(tmp_path / "run/fold1"), clip]) == 0
    assert re.match(r".*clip\.wav: (high|low) 0\.\d+, (high|low) 0\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "tokens", [(), ("--token_type", "bpe", "--vocab_size", 8)], ids=["characters", "pieces"]
)
def test_speech_from_inspect_to_transcribe(tokens, data, encoder_folders, tmp_path, capsys):
    done = run(
        "YourSpeech", "--data_folder", data / "my_speech", "--encoder", encoder_folders["wav2vec2"],
        "--number_of_epochs", 1, "--output_root", tmp_path, "--output_folder", tmp_path / "run",
        "--adapter", "lora", *tokens, hparams="hparams/quickstart.yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Rare" not in done.stderr
    assert "worst recognised clips" in done.stdout
    assert (tmp_path / "run/worst_clips.html").is_file()
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metrics"]["test"]["utterances"] == 4
    card = json.loads((tmp_path / "run/adapter/adapter.json").read_text())
    if tokens:
        kept = (tmp_path / "run/sentencepiece.model").read_bytes()
        assert card["labels"] == [*Pieces(kept).vocabulary.tokens]
        assert "▁oh" in card["labels"]
    else:
        assert card["labels"] == ["<blank>", "<unk>", " ", "a", "h", "o"]
    assert cli.main(["transcribe", str(tmp_path / "run"), str(data / "clip.wav")]) == 0


def test_several_labels_from_inspect_to_predict(data, encoder_folders, tmp_path, capsys):
    """The printed command trains; what it wrote gives the labels at their thresholds."""
    table = data / "my_labels.csv"
    given = ["--data.label_separator", ";"]
    page = str(tmp_path / "page.html")
    assert cli.main(["inspect", str(table), *given, "--output", page]) == 0
    hparams, *arguments = shlex.split(capsys.readouterr().out.split("train.py ")[1].splitlines()[0])
    assert given == arguments[2:4]
    done = run(
        "YourSounds", *arguments[:4], "--encoder", encoder_folders["wavlm"], "--number_of_epochs", 1,
        "--adapter", "lora", "--class_weights", "balanced", "--output_root", tmp_path,
        "--output_folder", tmp_path / "run", hparams=hparams,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert {"mAP", "mAP_low", "macro_f1", "micro_f1"} < result["metrics"]["test"].keys()
    assert result["metrics"]["test"]["clips"] == 4
    card = json.loads((tmp_path / "run/adapter/adapter.json").read_text())
    assert card["task"] == "multilabel"
    assert card["labels"] == ["high", "low", "take 0", "take 1"]
    model = load_adapter(tmp_path / "run")
    one = model.predict(data / "clip.wav")
    reached = {
        name for name, at in zip(card["labels"], card["thresholds"], strict=True) if one.scores[name] >= at
    }  # fmt: skip
    assert one.labels.keys() == reached
    assert (
        cli.main(["predict", str(tmp_path / "run"), str(data / "clip.wav"), "--format", "json"])
        == 0
    )
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["labels"].keys() == reached
    with pytest.raises(UserError, match="A timeline has one class at a time") as refused:
        model.timeline(data / "clip.wav", 0.2)
    assert "\n" not in str(refused.value)
    assert cli.main(["report", str(tmp_path / "run"), "--output", str(tmp_path / "report")]) == 0
    assert "test mAP, %" in capsys.readouterr().out
