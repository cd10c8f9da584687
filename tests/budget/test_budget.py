"""The counts are the paper's, from the modules and from the formulae alike, and budgets are met."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.formulas import mamba_parameters, stack_shape, trained_count

from mambadapter.budget.count import ARCHITECTURES, count_parameters
from mambadapter.budget.count import counter as counter_of
from mambadapter.budget.search import closest, fit_to_budget, neighbours
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.methods import (
    MENU,
    BitFit,
    Bottlenecks,
    ConformerAdapters,
    Convpasses,
    DoRA,
    FullFinetuning,
    IdentityBottlenecks,
    LinearProbe,
    LoRA,
    MambAdapters,
    PrefixTuning,
    PromptTuning,
)

# The frozen modules of an encoder are built once.
counter = functools.cache(counter_of)

ENCODERS = Path(__file__).parents[2] / "hparams/encoders.yaml"

# arXiv 2606.15638, AST, to the parameter as its code counts them.
PAPER = {
    65_976: MambAdapters(),
    111_204: MambAdapters(placement="houlsby"),
    277_296: MambAdapters(shared=False),
    553_056: MambAdapters(placement="houlsby", shared=False),
    250_512: Bottlenecks(),
    499_488: Bottlenecks(placement="houlsby"),
    272_256: ConformerAdapters(),
    542_976: ConformerAdapters(placement="houlsby"),
    259_584: LoRA(rank=7),
    102_144: BitFit(),
    231_936: PromptTuning(prompts=25, deep=True),
    222_720: PrefixTuning(length=12),
    1_536: LinearProbe(),
}

VARIANTS = [
    *MENU.values(),
    MambAdapters(placement="houlsby", rank=9),
    MambAdapters(shared=False, rank=17),
    MambAdapters(bidirectional=True, backward_parameters="shared"),
    MambAdapters(d_state=32, d_conv=8, expand=3, norms="none"),
    MambAdapters(rank=5, batch_norm=True),
    IdentityBottlenecks(placement="houlsby", shared=False),
    IdentityBottlenecks(shared=False, batch_norm=True),
    Bottlenecks(placement="houlsby", norms="none"),
    ConformerAdapters(placement="houlsby", kernel_size=15),
    Convpasses(placement="houlsby", kernel_size=5),
    LoRA(targets=["q", "k", "v", "o", "ffn_in", "ffn_out"], norms="none"),
    DoRA(targets=["ffn_in", "ffn_out"], rank=3),
    PromptTuning(prompts=3, norms="none"),
    FullFinetuning(train_cnn=True),
]


@pytest.mark.parametrize(("paper", "method"), PAPER.items(), ids=map(str, PAPER))
def test_the_papers_column(paper, method):
    assert counter("ast")(method).adapted == paper
    assert trained_count(method, stack_shape("ast")).total == paper


@pytest.mark.parametrize("architecture", ["ast", "wav2vec2-base", "wavlm-large"])
@pytest.mark.parametrize("method", VARIANTS, ids=str)
def test_modules_and_formula_agree(architecture, method):
    counted = counter(architecture)(method)
    formula = trained_count(method, stack_shape(architecture))
    assert counted.adapted == formula.total
    assert (counted.adapter, counted.layer_norm, counted.encoder) == (
        formula.adapter,
        formula.layer_norm,
        formula.encoder,
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("placement", ["pfeiffer", "houlsby"])
def test_the_ablation_lacks_the_blocks_and_nothing_else(shared, placement):
    settings = {"placement": placement, "shared": shared, "rank": 9}
    count = counter("wavlm-large")
    ablated, whole = (count(method(**settings)) for method in (IdentityBottlenecks, MambAdapters))
    assert ablated.layer_norm == whole.layer_norm
    points = 24 * (2 if placement == "houlsby" else 1)
    assert whole.adapter - ablated.adapter == points * mamba_parameters(9, 16, 4, 2)


def test_known_counts_of_wav2vec2_base_and_wavlm_large():
    base = counter("wav2vec2-base")(MambAdapters())
    assert base.adapter == 65_976 - 13 * 1536 == 46_008
    assert base.frozen + base.layer_norm == 94_371_712
    large = counter("wavlm-large")(MambAdapters(rank=14))
    assert large.layer_norm == 25 * 2048
    assert large.adapter == 2 * 1024 * 14 + 14 + 1024 + 24 * (28 * (3 * 14 + 4 + 2 + 48 + 3) + 1)


def test_known_counts_of_whisper_small():
    count = counter("whisper-small")
    assert count(MambAdapters(rank=24, d_conv=8)).budgeted(with_norms=False) == 115_428
    # 1,135,308 were worked out with the twelve alphas, which projections of each layer's own make idle.
    unshared = count(MambAdapters(rank=48, d_conv=8, shared=False))
    assert unshared.budgeted(with_norms=False) == 1_135_308 - 12


def test_full_finetuning_is_everything():
    full = counter("wav2vec2-base")(FullFinetuning(train_cnn=True))
    assert full.adapted + full.frozen == 94_371_712
    assert full.adapter == 0


def test_every_encoder_is_counted_without_weights():
    for name in YAML().load(ENCODERS.read_text()):
        assert name == "box" or name in ARCHITECTURES
        assert stack_shape(name).layers in (4, 6, 12, 24, 32)


# Ranks nearest to 50 k, 300 k and 1.1 M without LayerNorms, worked out on paper beforehand.
NEAREST = {
    ("wav2vec2-base", MambAdapters()): (13, 47, 103),
    ("wav2vec2-base", MambAdapters(placement="houlsby")): (9, 33, 73),
    ("wav2vec2-base", Bottlenecks()): (2, 16, 59),
    ("wav2vec2-base", ConformerAdapters()): (1, 10, 38),
    ("wav2vec2-base", LoRA()): (1, 8, 30),
    ("wavlm-large", MambAdapters()): (8, 32, 71),
}


@pytest.mark.parametrize(("pair", "ranks"), NEAREST.items(), ids=str)
@pytest.mark.exhaustive
def test_the_rank_nearest_to_a_budget(pair, ranks):
    encoder, method = pair
    budgets = (50_000, 300_000, 1_100_000)
    fits = [closest(method, counter(encoder), budget, count_norms=False) for budget in budgets]
    found = [fit.method.rank for fit in fits]
    assert found == list(ranks)


@pytest.mark.parametrize("count_norms", [True, False])
@pytest.mark.parametrize("encoder", ["box", "wav2vec2-base", "wavlm-large"])
@pytest.mark.parametrize("name", [name for name in MENU if MENU[name].size])
def test_no_other_size_comes_closer(name, encoder, count_norms):
    method, shape = MENU[name], stack_shape(encoder)

    def formula(sized):
        return trained_count(sized, shape)

    def count(size):
        return formula(replace(method, **{method.size: size})).budgeted(count_norms)

    for budget in (1, 50_000, 100_000, 300_000, 600_000):
        fit = closest(method, formula, budget, count_norms)
        size = getattr(fit.method, method.size)
        assert fit.count == count(size)
        others = [count(other) for other in range(max(size - 2, 1), size + 3)]
        assert abs(fit.count - budget) == min(abs(other - budget) for other in others)


def test_a_budget_changes_the_size_alone():
    method = MambAdapters(placement="houlsby", d_state=32, rank=3)
    fitted = fit_to_budget(method, "wav2vec2-base", 300_000)
    assert fitted == replace(method, rank=fitted.rank)
    counted = counter("wav2vec2-base")(fitted)
    assert abs(counted.adapted / 300_000 - 1) < 0.02
    without = fit_to_budget(method, "wav2vec2-base", 300_000, count_norms=False)
    assert without.rank > fitted.rank
    assert fit_to_budget(method, "wav2vec2-base", None) is method


@pytest.mark.parametrize(
    ("method", "budget", "message"),
    [
        (LoRA(), 150_000, r"rank=1 trains 100,352 .*rank=2 trains 198,656"),
        (LoRA(), 50_000, r"rank=1 trains 100,352 \(\+100.7 %\)"),
        (BitFit(), 50_000, r"its only size trains"),
        (LinearProbe(), 50_000, r"trains 2,048 \(-95.9 %\)"),
        (MambAdapters(), 10_000, r"rank=1 trains"),
    ],
    ids=str,
)
def test_an_impossible_budget_names_the_nearest(method, budget, message):
    with pytest.raises(UserError, match=message):
        fit_to_budget(method, "wavlm-large", budget)
    assert len(neighbours(method, counter("wavlm-large"), budget)) in (1, 2)


def test_every_tensor_counts_once(encoder_folders):
    encoder = AdaptedEncoder.from_pretrained(encoder_folders["wavlm"], MambAdapters(rank=4))
    head = PooledClassifier(encoder.width, 7)
    count = count_parameters(encoder, head)
    unique = {id(p): p.numel() for m in (encoder, head) for p in m.parameters()}
    assert count.frozen + count.trained == sum(unique.values())
    assert count.head == 7 * (encoder.width + 1)
    assert f"{count.trained:,}" in str(count)


def test_unknown_architecture():
    with pytest.raises(UserError, match="did you mean 'wavlm-large'"):
        counter("wavlm-larg")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rank": 10_000_000},
            r"trains [\d,]+ parameters .* take [\d,]+ GiB, and this machine has \d+",
        ),
        ({"rank": 10**30}, "cannot be of that size .*; lower its rank"),
    ],
)
def test_what_no_memory_holds_is_refused(settings, message):
    """Before any of it is allocated."""
    with pytest.raises(UserError, match=message):
        fit_to_budget(MambAdapters(**settings), "box", None)


def test_a_budget_beyond_all_memory_is_refused():
    with pytest.raises(UserError, match="and this machine has"):
        fit_to_budget(MambAdapters(), "box", 10**12)
