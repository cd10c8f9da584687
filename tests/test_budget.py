"""The counts are the paper's, from the modules and from the formulae alike."""

import pytest

from mambadapter.budget import (
    build_on_meta,
    count_parameters,
    identity_bottleneck_count,
    mambadapter_count,
)
from mambadapter.encoders import AdaptedEncoder
from mambadapter.errors import UserError
from mambadapter.heads import PooledClassifier
from mambadapter.methods import FullFinetuning, IdentityBottlenecks, LinearProbe, MambAdapters
from mambadapter.ssm import mamba_parameter_count

SHAPES = {"ast-base": (768, 12), "wav2vec2-base": (768, 12), "wavlm-large": (1024, 24)}

# arXiv 2606.15638, AST: 0.06, 0.11, 0.28 M; to the parameter as its code counts them.
PAPER = {
    65_976: MambAdapters(),
    111_204: MambAdapters(placement="houlsby"),
    277_296: MambAdapters(shared=False),
    553_056: MambAdapters(placement="houlsby", shared=False),
}


@pytest.mark.parametrize(("paper", "method"), PAPER.items(), ids=map(str, PAPER))
def test_the_papers_column(paper, method):
    assert count_parameters(build_on_meta("ast-base", method)).adapted == paper
    assert mambadapter_count(768, 12, method) == paper


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize(
    "method",
    [
        MambAdapters(),
        MambAdapters(placement="houlsby", rank=9),
        MambAdapters(shared=False, rank=17),
        MambAdapters(bidirectional=True),
        MambAdapters(bidirectional=True, backward_parameters="shared"),
        MambAdapters(d_state=32, d_conv=8, expand=3, norms="none"),
    ],
    ids=str,
)
def test_modules_and_formula_agree(architecture, method):
    count = count_parameters(build_on_meta(architecture, method))
    assert count.adapted == mambadapter_count(*SHAPES[architecture], method)


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("placement", ["pfeiffer", "houlsby"])
def test_the_ablation_lacks_the_blocks_and_nothing_else(architecture, shared, placement):
    knobs = {"placement": placement, "shared": shared, "rank": 9}
    method, full = IdentityBottlenecks(**knobs), MambAdapters(**knobs)
    ablated, whole = (count_parameters(build_on_meta(architecture, m)) for m in (method, full))
    assert ablated.adapted == identity_bottleneck_count(*SHAPES[architecture], method)
    assert ablated.layer_norm == whole.layer_norm
    points = SHAPES[architecture][1] * (2 if placement == "houlsby" else 1)
    assert whole.adapter - ablated.adapter == points * mamba_parameter_count(9, 16, 4, 2)


def test_known_counts_of_wav2vec2_base_and_wavlm_large():
    base = count_parameters(build_on_meta("wav2vec2-base", MambAdapters()))
    assert base.adapter == 65_976 - 13 * 1536 == 46_008
    assert base.frozen + base.layer_norm == 94_371_712
    large = count_parameters(build_on_meta("wavlm-large", MambAdapters(rank=14)))
    assert large.layer_norm == 25 * 2048
    assert large.adapter == 2 * 1024 * 14 + 14 + 1024 + 24 * (28 * (3 * 14 + 4 + 2 + 48 + 3) + 1)


def test_linear_probe_is_the_papers_and_full_finetuning_is_everything():
    assert count_parameters(build_on_meta("ast-base", LinearProbe())).adapted == 1_536
    full = count_parameters(build_on_meta("wav2vec2-base", FullFinetuning(train_cnn=True)))
    assert full.adapted + full.frozen == 94_371_712
    assert full.adapter == 0


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
        build_on_meta("wavlm-larg", MambAdapters())
