"""What the documents tell a reader to type works, and the examples in docstrings are true."""

import doctest
import importlib
import importlib.util
import pkgutil
import pydoc
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

import mambadapter
from mambadapter import cli
from mambadapter.config import load_experiment, schema
from mambadapter.encoders.families import ARCHITECTURES
from mambadapter.experiments.sweep_file import read_sweep
from mambadapter.methods import MENU
from mambadapter.report.collect import collect
from mambadapter.report.overview import overview_to_markdown
from mambadapter.report.significance import compare
from mambadapter.report.sources import read_results, source_names
from mambadapter.report.tables import differences_to_markdown, to_markdown
from mambadapter.report.variants import variants_of

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("*/*.md"),
        *ROOT.glob("recipes/**/*.md"),
        *ROOT.glob("mambadapter/**/*.md"),
    ]
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
MODULES = [
    info.name
    for info in pkgutil.walk_packages(mambadapter.__path__, "mambadapter.")
    if not info.name.endswith("__main__")
]


# Files that a reader is to write.
EXAMPLES = ("mambadapter/methods/gated_bottleneck.py", "mambadapter/encoders/families/unispeech.py")


def load_file(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def recipe_of(document):
    """The recipe that a document is about; the others speak of Speech Commands."""
    folder = document.parent
    if folder.name == "CommonVoice":
        return folder / "kab"
    own = (folder / "train.py").is_file()
    return folder if own else ROOT / "recipes/GoogleSpeechCommands"


def commands():
    for path in sorted(set(DOCUMENTS)):
        recipe = recipe_of(path)
        for block in re.findall(
            r"^```[a-z]*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE
        ):
            for line in block.splitlines():
                if line.startswith("cd recipes/"):
                    recipe = ROOT / line.removeprefix("cd ").strip()
                yield pytest.param(
                    line.split("#")[0].strip(),
                    recipe,
                    id=f"{path.relative_to(ROOT)}: {line}",
                )


COMMANDS = list(commands())
SCRIPT = re.compile(r"(train\w*)\.py hparams/")
TRAINING = [c for c in COMMANDS if SCRIPT.search(c.values[0])]
SWEEPING = [
    c for c in COMMANDS if re.match(r"mambadapter (sweep|report \S+ --sweep) ", c.values[0])
]
TABLES = sorted(
    (path, line)
    for path in set(DOCUMENTS)
    for line in re.findall(r"^mambadapter report \S+\.jsonl.*", path.read_text(), re.MULTILINE)
)
COUNTING = [c for c in COMMANDS if c.values[0].startswith("mambadapter budget")]


def test_there_are_commands_to_run():
    assert len(TRAINING) >= 5
    assert len(COUNTING) >= 2
    assert len(SWEEPING) >= 3
    assert len(TABLES) >= 15


@pytest.mark.parametrize(("command", "recipe"), TRAINING)
@pytest.mark.exhaustive
def test_training_commands_are_accepted(command, recipe, monkeypatch, tmp_path):
    """Everything up to the training itself, which other tests run."""
    words = [word for word in shlex.split(command) if word != "..."]
    script = SCRIPT.search(command)[1]
    hparams, *arguments = words[words.index(f"{script}.py") + 1 :]
    if "--data_folder" not in arguments or arguments[-1] == "--data_folder":
        arguments = [a for a in arguments if a != "--data_folder"] + ["--data_folder", "/data"]
    elif arguments[arguments.index("--data_folder") + 1].startswith("--"):
        arguments.insert(arguments.index("--data_folder") + 1, "/data")
    # An encoder that a document makes first is a folder; any folder will do here.
    for index, argument in enumerate(arguments[:-1]):
        if argument == "--encoder" and "/" in arguments[index + 1]:
            arguments[index + 1] = str(tmp_path)
    monkeypatch.syspath_prepend(str(recipe))
    spec = importlib.util.spec_from_file_location(script, recipe / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = vars(module).get("task")  # of the recipe's own folder
    task = module.main.__module__.rpartition(".")[2]
    keys = own.CONTRACT if own else schema.contract(task)
    load_experiment([str(recipe / hparams), *arguments, "--output_root", str(tmp_path)], keys)


@pytest.mark.parametrize(("command", "recipe"), COUNTING)
@pytest.mark.exhaustive
def test_counting_commands_run(command, recipe, capsys, monkeypatch):
    """Tables of all methods on encoders of two layers: it is many counts."""
    if "--budgets" in command:
        shape = {**ARCHITECTURES["wavlm-large"], "num_hidden_layers": 2}
        monkeypatch.setitem(ARCHITECTURES, "wavlm-large", shape)
    assert cli.main(shlex.split(command)[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    if "--budgets" in command:
        assert sum(line.startswith("| mambadapter |") for line in lines) == 4
        return
    assert lines[-1].startswith("trained")


@pytest.mark.parametrize(("command", "recipe"), SWEEPING)
def test_sweeps_and_reports_are_planned(command, recipe, monkeypatch, capsys):
    """What they run is tested in tests/experiments."""
    monkeypatch.chdir(ROOT)
    arguments = cli.parser().parse_args(shlex.split(command)[1:])
    plan = getattr(arguments, "file", None) or arguments.sweep
    assert read_sweep(plan).trials()
    if "--dry_run" in command:
        assert cli.main(shlex.split(command)[1:]) == 0
        assert "to run" in capsys.readouterr().out


def test_the_papers_column_is_in_the_documents(capsys):
    methods = (ROOT / "docs/methods.md").read_text()
    for settings in ([], ["placement=houlsby"], ["shared=false"]):
        cli.main(["budget", "--encoder", "ast", *settings])
        assert capsys.readouterr().out.split()[-1] in methods


def test_what_is_generated_is_up_to_date():
    """If not: python docs/generate.py."""
    generate = load_file(ROOT / "docs/generate.py")
    texts = {path.name: path.read_text() for path in ROOT.glob("docs/*.md")}
    for name, text in texts.items():
        assert generate.up_to_date(text) == text, name
    assert all(f"| `{name}` |" in texts["methods.md"] for name in MENU)


def test_the_reference_has_every_public_name():
    reference = (ROOT / "docs/reference.md").read_text()
    names = re.findall(r"^::: mambadapter\.(\w+)$", reference, re.MULTILINE)
    assert sorted(names) == sorted(mambadapter.__all__)


def test_the_readme_is_short_and_its_python_runs(monkeypatch, tmp_path):
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) < 120
    monkeypatch.chdir(tmp_path)
    clips = {"wavs": torch.randn(2, 16000), "wav_lens": torch.tensor([1.0, 0.5])}
    exec(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1], clips)
    assert clips["logits"].shape == (2, 2)


@pytest.mark.parametrize("document", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_names_and_files_of_the_code_exist(document):
    text = document.read_text()
    for name in re.findall(r"`(mambadapter(?:\.\w+)+)`", text):
        assert pydoc.locate(name) is not None, name
    for name in re.findall(r"`((?:mambadapter|hparams|recipes|tests|docs)/[\w./]+)`", text):
        assert (ROOT / name).exists() or name in EXAMPLES, name


def test_doctor_runs(capsys):
    assert cli.main(["doctor"]) == 0
    assert "scan backend cpu: usable" in capsys.readouterr().out


def test_a_wrong_setting_is_one_line(capsys):
    assert cli.main(["budget", "rnk=3"]) == 2
    assert "did you mean 'rank'" in capsys.readouterr().err


def test_settings_are_read_as_a_recipe_reads_them(capsys):
    assert cli.main(["budget", "alpha=5e-3", "expand=1.5"]) == 0
    assert cli.main(["budget", "shared=no"]) == 2
    assert "give true or false" in capsys.readouterr().err


def test_the_menu_is_the_yamls():
    menu = load_hyperpyyaml((ROOT / "hparams/adapters.yaml").read_text())
    assert {name: entry["method"] for name, entry in menu.items()} == MENU


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(("document", "command"), TABLES)
def test_tables_are_reports_of_saved_runs(document, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = cli.parser().parse_args(shlex.split(command, comments=True)[1:])
    text, only = document.read_text(), dict(arguments.only)
    if len(arguments.sources) > 1:
        names = source_names(arguments.sources)
        each = [collect([source], only=only) for source in arguments.sources]
        assert overview_to_markdown(dict(zip(names, each, strict=True))) in text
        return
    variants = arguments.sweep and variants_of(read_sweep(arguments.sweep))
    collection = collect(arguments.sources, only=only, variants=variants)
    assert to_markdown(collection) in text
    if arguments.against:
        assert differences_to_markdown(collection, compare(collection, arguments.against)) in text


def test_saved_runs_are_documented_and_name_no_machine():
    shown = {command.split()[2] for _, command in TABLES}
    for path in ROOT.glob("recipes/**/saved_runs/*.jsonl"):
        assert str(path.relative_to(ROOT)) in shown or path.stem in ("pretraining", "quickstart")
        assert not re.search(r"/(home|root|tmp|work)/", path.read_text()), path
        assert all(result for _, result in read_results(path))


def test_links_lead_somewhere():
    for path in DOCUMENTS:
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", path.read_text()):
            document = path.parent / target if target else path
            assert document.exists(), f"{path}: {target}"
            # The reference is written when the site is built, which looks for its headings itself.
            if heading and document.name != "reference.md":
                assert heading in headings(document), f"{path}: {target}#{heading}"


def headings(document):
    """The anchors of a document's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
