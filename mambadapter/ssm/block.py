"""The Mamba block (Gu & Dao 2023, arXiv 2312.00752), weight for weight that of mamba_ssm."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mambadapter.errors import UserError
from mambadapter.ssm.arguments import check_lookahead
from mambadapter.ssm.backends.numba.backend import PreparedBlock
from mambadapter.ssm.dispatch import mamba_inner, prepare_block, takes_prepared


class Mamba(nn.Module):
    """Input projection, convolution, selective scan with a gate, output projection.

    Parameter names, shapes and initialisation, in value and in order of random draws, are those of
    ``mamba_ssm.modules.mamba_simple.Mamba``: the same seed gives the same block, and state dicts
    move either way. A `lookahead` is ours.

    Parameters
    ----------
    d_model : int
        Channels of input and output.
    d_state : int
        N, states per inner channel.
    d_conv : int
        Taps of the convolution.
    expand : float
        Inner channels are ``int(expand * d_model)``.
    dt_rank : int or "auto"
        Rank of the step-size projection; ``auto`` is ``ceil(d_model / 16)``.
    dt_min, dt_max : float
        Range in which the step sizes start, log-uniformly.
    dt_init : str
        ``random`` or ``constant`` start of the step-size projection.
    dt_scale : float
        Scale of that start.
    dt_init_floor : float
        Smallest step size at the start.
    conv_bias, bias : bool
        Biases of the convolution and of the two outer projections.
    lookahead : int
        How many of the convolution's taps read frames that are yet to come; 0 is causal, as mamba_ssm's.

    Raises
    ------
    UserError
        If a size is below one, or all taps would look ahead.

    Example
    -------
    >>> block = Mamba(d_model=12)
    >>> block(torch.randn(2, 50, 12), lengths=torch.tensor([50, 20]), reverse=True).shape
    torch.Size([2, 50, 12])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: str = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        lookahead: int = 0,
    ) -> None:
        super().__init__()
        d_inner = int(expand * d_model)
        for name, size in (("d_model", d_model), ("d_state", d_state), ("d_conv", d_conv)):
            if size < 1:
                raise UserError(f"{name}={size} is impossible for a Mamba block: give at least 1.")
        if d_inner < 1:
            raise UserError(f"expand={expand} leaves d_model={d_model} no inner channel; raise it.")
        rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank

        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=bias)
        self.conv1d = nn.Conv1d(
            d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1, bias=conv_bias
        )
        self.x_proj = nn.Linear(d_inner, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, d_inner, bias=True)
        self._start_step_sizes(rank, d_inner, dt_min, dt_max, dt_init, dt_scale, dt_init_floor)
        states = torch.arange(1, d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(torch.log(states).repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        for parameter in (self.A_log, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]  # a mark of mamba_ssm's
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias)
        check_lookahead(lookahead, d_conv)
        self.lookahead = lookahead
        self._prepared: PreparedBlock | None = None

    @torch.no_grad()
    def _start_step_sizes(
        self,
        rank: int,
        d_inner: int,
        dt_min: float,
        dt_max: float,
        dt_init: str,
        dt_scale: float,
        dt_init_floor: float,
    ) -> None:
        std = rank**-0.5 * dt_scale
        if dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, std)
        elif dt_init == "random":
            nn.init.uniform_(self.dt_proj.weight, -std, std)
        else:
            raise UserError(f"dt_init: '{dt_init}' is unknown; give 'random' or 'constant'.")
        spread = math.log(dt_max) - math.log(dt_min)
        dt = torch.exp(torch.rand(d_inner) * spread + math.log(dt_min)).clamp(min=dt_init_floor)
        # The inverse of softplus, so that softplus(bias) = dt.
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def scan_parameters(self) -> tuple[nn.Parameter, ...]:
        """Those that make A, B, C, D and the step sizes; state-space models train them at a lower rate."""
        return (*self.x_proj.parameters(), *self.dt_proj.parameters(), self.A_log, self.D)

    def forward(self, x: Tensor, lengths: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Scan a batch of sequences.

        Parameters
        ----------
        x : Tensor
            (B, T, d_model).
        lengths : Tensor, optional
            (B,) valid frames of sequences padded on the right; None when nothing is padded. Padding
            influences no valid frame, in either direction.
        reverse : bool
            Run over each sequence's valid frames from last to first.

        Returns
        -------
        Tensor
            (B, T, d_model); zero on padding, up to `out_proj`'s bias.
        """
        if self._prepared is not None and takes_prepared(x):
            return self._prepared(x, lengths, reverse)
        inner = mamba_inner(
            self.in_proj(x),
            **self._inner_parameters(),
            lengths=lengths,
            reverse=reverse,
            lookahead=self.lookahead,
        )
        return self.out_proj(inner)

    def fold(self) -> None:
        """Prepare for inference with the parameters of now; later changes go unnoticed."""
        if self.in_proj.bias is None and self.out_proj.bias is None:  # as in every method's blocks
            self._prepared = prepare_block(
                lookahead=self.lookahead,
                in_proj=self.in_proj.weight,
                out_proj=self.out_proj.weight,
                **self._inner_parameters(),
            )

    def _inner_parameters(self) -> dict[str, Any]:
        """What `mamba_inner` takes between its input and the lengths."""
        A_log = self.A_log if self.A_log.dtype == torch.float64 else self.A_log.float()
        return {
            "conv_weight": self.conv1d.weight,
            "conv_bias": self.conv1d.bias,
            "x_proj": self.x_proj.weight,
            "dt_proj": self.dt_proj.weight,
            "dt_bias": self.dt_proj.bias,
            "A": -torch.exp(A_log),
            "D": self.D,
        }
