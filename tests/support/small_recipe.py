"""A small recipe's YAML and its menus, for tests of what a command line makes of them."""

from mambadapter.config import load_experiment

CONTRACT = ("method", "source", "opt_class", "tensorboard", "data_folder", "loader_options", "log")

RECIPE = """\
# A recipe for the tests
encoder: wavlm
adapter: mambadapter
seed: 7
batch_size: 4
data_folder: !PLACEHOLDER       # the corpus, e.g. /data/corpus
output_root: {root}/results
output_folder: auto
tensorboard: false
encoders: !include:menus/encoders.yaml
adapters: !include:menus/adapters.yaml
source: !applyref:mambadapter.config.choose_source [!ref <encoders>, !ref <encoder>]
chosen: !applyref:mambadapter.config.choose_method [!ref <adapters>, !ref <adapter>]
method: !ref <chosen[method]>
lr: !ref <chosen[lr]>
opt_class: !name:torch.optim.AdamW
    lr: !ref <lr>
loader_options:
    batch_size: !ref <batch_size>
log: !ref <output_folder>/log
"""

ADAPTERS = """\
mambadapter:
    method: !new:mambadapter.methods.MambAdapters
        placement: pfeiffer
        rank: 12
    lr: 5e-3
linear_probe:
    method: !new:mambadapter.methods.LinearProbe
        norms: final
    lr: 0.001
"""

ENCODERS = """\
wav2vec2: {source: facebook/wav2vec2-base}
wavlm: {source: microsoft/wavlm-base}
"""


def write_recipe(folder):
    (folder / "menus").mkdir(parents=True)
    (folder / "menus/adapters.yaml").write_text(ADAPTERS)
    (folder / "menus/encoders.yaml").write_text(ENCODERS)
    path = folder / "train.yaml"
    path.write_text(RECIPE.replace("{root}", str(folder)))
    return path


def load(recipe, *arguments, data=True):
    given = ["--data_folder", "/data"] if data else []
    return load_experiment([str(recipe), *given, *arguments], CONTRACT)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
