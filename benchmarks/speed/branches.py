"""Our scan, block and branch beside their peers', at several shapes, in one process.

    python benchmarks/speed/branches.py [--json]

Ratios carry over to other machines, milliseconds do not. Needs `pip install -e ".[benchmarks]"`.
"""

import argparse
import sys

import torch
import torch.nn.functional as F
from output import Output, add_json
from scans import mambapy_scan, scan_inputs
from torch import Tensor, nn
from transformers import MambaConfig, Wav2Vec2Config
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2EncoderLayer

from mambadapter.cost.timing import alternate
from mambadapter.encoders.linear import compute_faster
from mambadapter.methods.mambadapter import MambAdapter
from mambadapter.ssm import GatedConvolution, Mamba, selective_scan

WIDTH = 768
SHAPES = [(8, 250, 24, 16), (8, 500, 24, 16), (4, 1500, 48, 16), (1, 250, 24, 16)]
TARGETS = dict(zip(SHAPES, (6, 8, 20, 4), strict=True))
ROUNDS = 30


class Bottleneck(nn.Module):
    """Houlsby et al. 2019."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(WIDTH, rank), nn.Linear(rank, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.gelu(self.down(x)))


class Conformer(nn.Module):
    """The convolution module of a Conformer as an adapter (PETL_AST), with its LayerNorm in use."""

    def __init__(self, rank: int, kernel: int = 31) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.pointwise_in = nn.Conv1d(WIDTH, 2 * rank, 1)
        self.depthwise = nn.Conv1d(rank, rank, kernel, groups=rank, padding=kernel // 2)
        self.batch_norm = nn.BatchNorm1d(rank)
        self.pointwise_out = nn.Conv1d(rank, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.glu(self.pointwise_in(self.norm(x).transpose(1, 2)), dim=1)
        return self.pointwise_out(F.silu(self.batch_norm(self.depthwise(x)))).transpose(1, 2)


class LoRA(nn.Module):
    """The additions that LoRA (Hu et al. 2021) makes to the query and value projections, as in PEFT."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(
            nn.Sequential(
                nn.Linear(WIDTH, rank, bias=False),
                nn.Linear(rank, WIDTH, bias=False),
            )
            for _ in "qv"
        )

    def forward(self, x: Tensor) -> Tensor:
        query, value = (pair(x) * 2.0 for pair in self.pairs)
        return query + value


def measure(
    functions: dict, inputs: dict, rounds: int, burst: int = 5
) -> dict[str, tuple[float, float]]:
    """Milliseconds forward, and forward and backward with gradients of inputs and parameters."""

    def forward(name):
        with torch.no_grad():
            functions[name](*inputs[name])

    def both(name):
        output = functions[name](*inputs[name])
        wanted = [t for t in inputs[name] if t.requires_grad]
        if isinstance(functions[name], nn.Module):
            wanted += [p for p in functions[name].parameters() if p.requires_grad]
        torch.autograd.grad(output, wanted, torch.ones_like(output))

    first = alternate({n: lambda n=n: forward(n) for n in functions}, rounds, burst=burst)
    second = alternate({n: lambda n=n: both(n) for n in functions}, rounds, burst=burst)
    return {name: (first[name], second[name]) for name in functions}


def show(shape: tuple, title: str, times: dict, reference: str, output: Output) -> None:
    output.say(f"\n{title}\n{'':34}{'fwd, ms':>10}{'fwd+bwd, ms':>13}{'x fwd':>9}{'x fwd+bwd':>11}")
    for name, (forward, both) in times.items():
        ratio_forward, ratio_both = forward / times[reference][0], both / times[reference][1]
        output.keep(
            str(shape), title, name, forward_ms=forward, forward_backward_ms=both,
            forward_ratio=ratio_forward, forward_backward_ratio=ratio_both,
        )  # fmt: skip
        output.say(f"{name:34}{forward:10.2f}{both:13.2f}{ratio_forward:9.2f}{ratio_both:11.2f}")


def scans(shape: tuple[int, int, int, int], output: Output) -> None:
    inputs = scan_inputs(shape)
    torch.testing.assert_close(selective_scan(*inputs), mambapy_scan(*inputs), rtol=1e-3, atol=1e-3)
    functions = {"mambadapter scan": selective_scan, "mambapy pscan": mambapy_scan}
    times = measure(functions, dict.fromkeys(functions, inputs), ROUNDS)
    show(shape, "selective scan, with softplus and gate", times, "mambadapter scan", output)
    reached = times["mambapy pscan"][1] / times["mambadapter scan"][1]
    output.say(f"mambapy / ours, forward+backward: {reached:.1f}x (wanted: {TARGETS[shape]}x)")


def blocks(shape: tuple[int, int, int, int], output: Output) -> None:
    batch, time, channels, states = shape
    rank = channels // 2
    ours = Mamba(rank, states)
    config = MambaConfig(
        hidden_size=rank,
        state_size=states,
        time_step_rank=ours.dt_proj.in_features,
        use_mambapy=False,
    )
    peer = MambaMixer(config, layer_idx=0)
    peer.load_state_dict(ours.state_dict())
    x = torch.randn(batch, time, rank, requires_grad=True)
    torch.testing.assert_close(ours(x), peer(x), rtol=1e-3, atol=1e-4)
    functions = {"mambadapter Mamba": ours, "transformers MambaMixer": peer}
    times = measure(functions, dict.fromkeys(functions, (x,)), 3, burst=2)
    show(shape, "Mamba block", times, "mambadapter Mamba", output)


def branches(shape: tuple[int, int, int, int], output: Output) -> None:
    batch, time, channels, states = shape
    rank = channels // 2
    down, up = nn.Linear(WIDTH, rank), nn.Linear(rank, WIDTH)
    alpha = nn.Parameter(torch.tensor(0.1))
    layer = Wav2Vec2EncoderLayer(Wav2Vec2Config(attn_implementation="sdpa"))
    compute_faster(layer)
    functions = {
        "MambAdapter": MambAdapter(down, up, Mamba(rank, states), alpha=alpha),
        "MambAdapter, bidirectional": MambAdapter(
            down, up, Mamba(rank, states), Mamba(rank, states), alpha
        ),
        "MambAdapter, 31 taps, expand 1": MambAdapter(
            down, up, Mamba(rank, 4, 31, 1), None, alpha, input_scale=torch.tensor(0.1)
        ),
        "the same without its scan": MambAdapter(
            down, up, GatedConvolution(rank, 31, 1), None, alpha, input_scale=torch.tensor(0.1)
        ),
        f"bottleneck, r={rank}": Bottleneck(rank),
        f"Conformer, r={rank}, k=31": Conformer(rank),
        "LoRA on q and v, r=8": LoRA(8),
        "frozen wav2vec2-base layer": layer.eval().requires_grad_(False),
    }
    x = torch.randn(batch, time, WIDTH, requires_grad=True)
    rounds = 12 if batch * time < 3000 else 4
    times = measure(functions, dict.fromkeys(functions, (x,)), rounds, burst=3)
    title = "branches (train mode), and the frozen layer they stand beside"
    show(shape, title, times, "MambAdapter", output)
    step = times["frozen wav2vec2-base layer"][1]
    shares = [f"{name} {100 * both / step:.1f} %" for name, (_, both) in times.items()][:-1]
    output.say("forward+backward as a share of the layer's: " + ", ".join(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description="Our scan, block and branch beside their peers'.")
    add_json(parser)
    output = Output(parser.parse_args().json, rounds=ROUNDS)
    for shape in SHAPES:
        torch.manual_seed(0)
        output.say("\n" + "=" * 78 + f"\n(B, L, d_inner, N) = {shape}")
        scans(shape, output)
        blocks(shape, output)
        branches(shape, output)
    output.close()


if __name__ == "__main__":
    sys.exit(main())
