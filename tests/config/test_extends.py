"""A YAML that extends another says what the same keys on the command line would."""

import pytest

from mambadapter.config import load_experiment
from mambadapter.config.extends import read_recipe
from mambadapter.config.files import included_file
from mambadapter.demo import write_encoder
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.methods import LinearProbe, MambAdapters

CONTRACT = ("method", "source", "opt_class", "data_folder", "loader_options", "notes")

TRAIN = """\
encoder: wavlm
adapter: mambadapter
seed: 7
number_of_epochs: 75
batch_size: 128
num_workers: 2
weight_decay: 0.1
data_folder: !PLACEHOLDER       # the corpus, e.g. /data/corpus
output_root: {root}/results
output_folder: auto
encoders: !include:../menus/encoders.yaml
adapters: !include:../menus/adapters.yaml
source: !applyref:mambadapter.config.choose_source [!ref <encoders>, !ref <encoder>]
chosen: !applyref:mambadapter.config.choose_method [!ref <adapters>, !ref <adapter>]
method: !ref <chosen[method]>
lr: !ref <chosen[lr]>
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
    weight_decay: !ref <weight_decay>
    eps: 1
loader_options:
    batch_size: !ref <batch_size>
    num_workers: !ref <num_workers>
    pin_memory: false
notes: !ref <number_of_epochs>
"""

ADAPTERS = """\
mambadapter:
    method: !new:mambadapter.methods.MambAdapters
        rank: 12
        expand: 2
        shared: true
    lr: 0.005
linear_probe:
    method: !new:mambadapter.methods.LinearProbe
        norms: final
    lr: 0.001
"""


@pytest.fixture
def folder(tmp_path):
    """The folder of a recipe's YAML, with its menus beside it."""
    (tmp_path / "menus").mkdir()
    (tmp_path / "menus/adapters.yaml").write_text(ADAPTERS)
    (tmp_path / "menus/encoders.yaml").write_text("wavlm: {source: microsoft/wavlm-base}\n")
    folder = tmp_path / "hparams"
    folder.mkdir()
    (folder / "train.yaml").write_text(TRAIN.replace("{root}", str(tmp_path)))
    return folder


def quick(folder, changes, base="train.yaml"):
    path = folder / "quickstart.yaml"
    path.write_text(f"# Small\nextends: {base}     # all else is as there\n{changes}\n")
    return path


def load(path, *arguments, data=True):
    given = ["--data_folder", "/data"] if data else []
    return load_experiment([str(path), *given, *arguments], CONTRACT)


def test_it_is_the_recipe_with_these_changes(folder, tmp_path):
    encoder = write_encoder(tmp_path / "box", width=32, layers=2)
    path = quick(folder, f"encoder: {encoder}\nnumber_of_epochs: 15\nbatch_size: 16")
    experiment = load(path)
    hparams = experiment.hparams
    assert hparams["notes"] == 15
    assert hparams["loader_options"]["batch_size"] == 16
    assert hparams["loader_options"]["num_workers"] == 2
    assert "extends" not in hparams
    assert experiment.folder.name == f"box-mambadapter-seed7-{experiment.digest}"
    AdaptedEncoder.from_pretrained(hparams["source"], hparams["method"])


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ("batch_size: 16\nnumber_of_epochs: 15", ("--batch_size=16", "--number_of_epochs=15")),
        ("adapter: linear_probe", ("--adapter=linear_probe",)),
        ("adapter.rank: 24\nadapter.lr: 1e-3", ("--adapter.rank=24", "--adapter.lr=1e-3")),
        (
            "adapter.norms: none\nadapter: linear_probe",
            ("--adapter=linear_probe", "--adapter.norms=none"),
        ),
        ("adapters.mambadapter.method.shared: false", ("--adapter.shared=false",)),
        ("opt_class.eps: 1e-6", ("--opt_class.eps=1e-6",)),
        ("loader_options.pin_memory: true", ("--loader_options.pin_memory=true",)),
        ("weight_decay: 0", ("--weight_decay=0",)),
        ("lr: 1", ("--lr=1",)),
        ("num_workers: 0\ndata_folder: /elsewhere", ()),
    ],
)
def test_the_same_settings_are_the_same_experiment(folder, changes, options):
    plain = load(folder / "train.yaml", *options)
    extending = load(quick(folder, changes), data="data_folder" not in changes)
    assert extending.config == plain.config
    assert extending.digest == plain.digest
    assert extending.folder == plain.folder


def test_a_file_that_changes_nothing_is_the_recipe(folder):
    assert load(quick(folder, "")).digest == load(folder / "train.yaml").digest


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ("batch_size: 16\nseed: 3", ("--batch_size=8", "--seed=1")),
        ("adapter.rank: 24", ("--adapter.rank=8",)),
        ("adapter.rank: 24", ("--adapters.mambadapter.method.rank=8",)),
        ("adapters.mambadapter.method.rank: 24", ("--adapter.rank=8",)),
        ("adapter.expand: 1.5", ("--adapter.expand=3",)),
        ("opt_class.eps: 0.5", ("--opt_class.eps=2",)),
        ("lr: 1", ("--lr=0.01",)),
        ("data_folder: /elsewhere", ()),  # load gives --data_folder /data
    ],
)
def test_the_command_line_wins_over_the_file(folder, changes, options):
    """Types too are measured by the recipe: `lr: 1` does not make lr a whole number."""
    extending = load(quick(folder, changes), *options)
    plain = load(folder / "train.yaml", *options)
    assert extending.config == plain.config
    assert extending.hparams["data_folder"] == "/data"


def test_a_files_settings_are_of_its_method(folder):
    path = quick(folder, "adapter.rank: 24")
    assert load(path).hparams["method"] == MambAdapters(rank=24)
    other = load(path, "--adapter", "linear_probe")
    assert other.hparams["method"] == LinearProbe()
    assert other.digest == load(folder / "train.yaml", "--adapter", "linear_probe").digest


@pytest.mark.parametrize("written", ["2024", "1e3", "2024-01-01", "a #b", "<seed>"])
def test_texts_in_quotes_stay_texts(folder, tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    assert load(quick(folder, f"output_folder: '{written}'")).hparams["output_folder"] == written


def test_paths_are_relative_to_their_file(folder, tmp_path, monkeypatch):
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    path = quick(elsewhere, "seed: 8", base="../hparams/train.yaml")
    assert load(path.name).digest == load(folder / "train.yaml", "--seed=8").digest
    path = quick(elsewhere, "seed: 8", base=folder / "train.yaml")
    assert load(path).hparams["seed"] == 8


def test_a_placeholder_quotes_the_recipes_comment(folder):
    with pytest.raises(
        UserError, match=r"data_folder is not set: add --data_folder VALUE \(the corpus, e\.g\."
    ):
        load(quick(folder, "seed: 8"), data=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "batch_sise: 16",
            r"there is no key 'batch_sise' in .*train\.yaml; did you mean 'batch_size'",
        ),
        (
            "adapter.rnk: 24",
            r"adapter\.rnk: 'mambadapter' has no setting 'rnk'; did you mean 'rank'",
        ),
        ("loader_options.batch: 3", "no key 'batch' there; did you mean 'batch_size'"),
        ("batch_size: many", "batch_size: 'many' is not a whole number, as 128"),
        ("batch_size: '16'", "batch_size: '16' is not a whole number"),
        ("adapter.shared: no", "adapter.shared: 'no' is not true or false"),
        ("encoder: [1, 2]", r"encoder: '\[1, 2\]' is not a name, or a folder"),
        ("encoder:", "encoder: 'None' is not a name, or a folder"),
        ("output_folder: 2024", r"output_folder: '2024' is not a path; write \./2024"),
        ("output_folder: 2024-01-01", r"output_folder: '2024-01-01' is not a path"),
        ("adapter:\n    rank: 24", r"write each by its dots, as in `adapter\.rank: VALUE`"),
        ("lr: !ref <weight_decay>", "lr has the tag !ref"),
        ("precision: bf16", "'precision' is a run option.*--precision on the command line"),
        (
            "adapter: mambadaptr\nadapter.rank: 24",
            "'mambadaptr' is not on the menu; did you mean 'mamb",
        ),
        ("batch_size: [16", "is not valid YAML"),
    ],
)
def test_wrong_changes_name_the_file(folder, changes, message):
    with pytest.raises(UserError, match=rf"(?s)quickstart\.yaml.*{message}") as refused:
        load(quick(folder, changes))
    assert ": --" not in str(refused.value)


@pytest.mark.parametrize("named", ["3", "true", "[train.yaml]", "", "''", "!ref <x>"])
def test_what_it_extends_is_a_path(folder, named):
    with pytest.raises(UserError, match=r"quickstart\.yaml: extends should be the path of a YAML"):
        load(quick(folder, "seed: 8", base=named))


def test_a_chain_says_what_its_nearest_file_says(folder):
    """Several levels: the file that is named wins, then what it extends, and so on down."""
    middle = quick(folder, "seed: 8\nnumber_of_epochs: 3")
    last = folder / "last.yaml"
    last.write_text(f"extends: {middle.name}\nseed: 9\n")
    tree = read_recipe(last).tree
    assert (tree["seed"], tree["number_of_epochs"], tree["batch_size"]) == (9, 3, 128)


def test_files_that_extend_each_other_are_refused(folder):
    """A circle has no end to start from."""
    middle = quick(folder, "seed: 8")
    (folder / "train.yaml").write_text(f"extends: {middle.name}\nseed: 9\n")
    with pytest.raises(
        UserError, match=r"extends .*, which extends it in turn; extend another file"
    ):
        read_recipe(middle)


def test_a_placeholder_may_become_a_tagged_value(folder):
    """Includes in a file that extends are those beside it."""
    below = folder.parent / "below"
    below.mkdir()
    (below / "facts.yaml").write_text("code: ab\n")
    last = below / "last.yaml"
    last.write_text(f"extends: ../{folder.name}/train.yaml\ndata_folder: !include:facts.yaml\n")
    node = read_recipe(last).tree["data_folder"]
    assert included_file(node, folder) == {"code": "ab"}


def test_missing_and_empty_files_are_named(folder):
    with pytest.raises(UserError, match=r"quickstart\.yaml extends .*trian\.yaml, which does not"):
        load(quick(folder, "", base="trian.yaml"))
    (folder / "empty.yaml").write_text("# nothing\n")
    for path in (folder / "empty.yaml", quick(folder, "", base="empty.yaml")):
        with pytest.raises(UserError, match=r"empty\.yaml should hold keys and values"):
            load(path)


def test_it_cannot_be_said_on_the_command_line(folder):
    with pytest.raises(UserError, match="--extends: there is no key 'extends'"):
        load(folder / "train.yaml", "--extends", "quickstart.yaml")


def test_moved_code_makes_no_other_experiment(folder):
    """The digest reads the name of a class, not of the module it is in today."""
    path = folder / "train.yaml"
    text = path.read_text()

    def digest(name):
        listed = f"notes:\n    - !ref <number_of_epochs>\n    - !name:{name}\n"
        path.write_text(text.replace("notes: !ref <number_of_epochs>\n", listed))
        return load(path).digest

    before = digest("mambadapter.heads.PooledClassifier")
    assert digest("mambadapter.tasks.classification.PooledClassifier") == before
    assert digest("mambadapter.heads.CTCHead") != before
