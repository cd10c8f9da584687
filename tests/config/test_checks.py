"""A YAML that says what cannot be is refused with one clear message."""

import pytest
from support.small_recipe import ADAPTERS, edit, load

from mambadapter.errors import UserError
from mambadapter.methods import FullFinetuning, IdentityBottlenecks, LinearProbe, MambAdapters


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "train.yaml",
            "batch_size: 4",
            "batch_size: 4\nbatch_sise: 3",
            "Unknown key 'batch_sise' in the YAML",
        ),
        ("train.yaml", "batch_size: 4", "batch_sise: 4", "batch_sise"),
        (
            "train.yaml",
            "    lr: !ref <lr>",
            "    lr: !ref <lr>\n    weight_decy: 1",
            "did you mean 'weight_decay'",
        ),
        ("train.yaml", "tensorboard: false\n", "", "lacks the key 'tensorboard'"),
        (
            "train.yaml",
            "loader_options:",
            "loader_options:\n    batch_sise: 1",
            "did you mean 'batch_size'",
        ),
        ("train.yaml", "AdamW", "AdamV", r"no class or function 'torch\.optim\.AdamV'"),
        ("train.yaml", "menus/adapters", "menus/adaptors", "adaptors.yaml"),
        ("train.yaml", "seed: 7", "seed: [7", "not valid YAML"),
        (
            "menus/adapters.yaml",
            "rank: 12",
            "rnk: 12",
            "Unknown key 'rnk' in adapters.mambadapter.method",
        ),
        (
            "menus/adapters.yaml",
            "    lr: 0.001",
            "    rl: 0.001",
            "Unknown key 'rl' in adapters.linear_probe",
        ),
        ("menus/adapters.yaml", "    lr: 0.001\n", "", "adapters.linear_probe lacks 'lr'"),
        ("menus/encoders.yaml", "source: m", "src: m", "Unknown key 'src' in encoders.wavlm"),
        ("menus/adapters.yaml", "rank: 12", "rank: [12", r"menus/adapters\.yaml is not valid YAML"),
        ("menus/adapters.yaml", ADAPTERS, "- 1", r"menus/adapters\.yaml should hold keys"),
        ("menus/adapters.yaml", ADAPTERS, "", r"menus/adapters\.yaml should hold keys"),
        (
            "menus/adapters.yaml",
            "rank: 12",
            "bidirectional: no",
            "bidirectional='no' is impossible",
        ),
        ("menus/adapters.yaml", "rank: 12", "dropout: abc", "dropout='abc' is impossible"),
        ("menus/adapters.yaml", "lr: 5e-3", "lr: abc", "lr: 'abc' is not a number of at least 0"),
        ("train.yaml", "tensorboard: false", "tensorboard: no", "tensorboard: 'no' is not true or"),
        ("train.yaml", "seed: 7", "seed: abc", "seed: 'abc' is not a whole number of at least 0"),
        ("train.yaml", "batch_size: 4", "batch_size: true", "batch_size: 'True' is not a whole"),
        ("train.yaml", "output_folder: auto", "output_folder: 3", r"is not a path; write \./3"),
    ],
)
def test_a_wrong_yaml_is_refused(recipe, file, old, new, message):
    edit(recipe.parent / file, old, new)
    with pytest.raises(UserError, match=message):
        load(recipe)


def test_an_unset_placeholder_quotes_its_example(recipe):
    with pytest.raises(
        UserError, match=r"data_folder is not set: add --data_folder VALUE \(the corpus, e\.g\."
    ):
        load(recipe, data=False)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (MambAdapters, {"bidirectional": "no"}),
        (MambAdapters, {"shared": 0}),
        (MambAdapters, {"dropout": "abc"}),
        (MambAdapters, {"dropout": True}),
        (MambAdapters, {"alpha": None}),
        (MambAdapters, {"alpha": float("nan")}),
        (MambAdapters, {"expand": "wide"}),
        (MambAdapters, {"expand": float("inf")}),
        (MambAdapters, {"rank": "12"}),
        (MambAdapters, {"placement": ["pfeiffer"]}),
        (IdentityBottlenecks, {"shared": "off"}),
        (IdentityBottlenecks, {"rank": 1.5}),
        (LinearProbe, {"norms": 1}),
        (FullFinetuning, {"train_cnn": "off"}),
    ],
)
def test_a_method_refuses_values_of_another_type(method, settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"{name}=.* is impossible: give "):
        method(**settings)
