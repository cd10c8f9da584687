"""LoRA and DoRA in PEFT's format, beside a head of transformers' own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.encoders.stack import AdaptedStack
from mambadapter.encoders.sublayers import DENSE_LAYERS, DenseLayer, dense_layers, final_norm
from mambadapter.errors import UserError
from mambadapter.export.loaded import Loaded
from mambadapter.export.plain import (
    AUTO_CLASSES,
    check_head,
    fill,
    plain_model,
    write_processor,
)
from mambadapter.heads import PooledClassifier
from mambadapter.methods import method_from_dict
from mambadapter.methods.dora import DoRA, WeightDecomposed
from mambadapter.methods.lora import LowRank, LowRankMethod

# Its attention in transformers takes these past their modules, where PEFT has its change.
_PAST_THEIR_MODULES = DENSE_LAYERS[:4]


def write_peft(loaded: Loaded, folder: Path) -> str:
    """Write the adapter by PEFT itself, the head and the final LayerNorm with it, and the model's config."""
    method = method_from_dict(loaded.card["method"])
    if not isinstance(method, LowRankMethod):
        raise UserError(f"PEFT's format has no {loaded.method} here; LoRA and DoRA go there.")
    past = [name for name in method.targets if name in _PAST_THEIR_MODULES]
    if loaded.family == "wavlm" and past:
        raise UserError(
            f"PEFT's change of WavLM's {', '.join(past)} would do nothing: transformers' attention reads the "
            "weights past their modules. Export it --to transformers."
        )
    if isinstance(loaded.head, AdaptedDecoder) and loaded.head.language is not None:
        raise UserError(
            f"{loaded.card['language']} has a token of its own, which PEFT's base model lacks; export it "
            "--to transformers."
        )
    check_head(loaded)
    if find_spec("peft") is None:
        raise UserError("--to peft needs the package peft; pip install 'mambadapter[export]'.")
    from peft import LoraConfig, get_peft_model

    model: Any = plain_model(loaded)
    with torch.no_grad():
        fill(model, loaded)
    stacks = _stacks(model, loaded)
    names = {id(module): name for name, module in model.named_modules()}
    targets = {names[id(there.module)]: branch for there, branch in _pairs(stacks)}
    heads = ["projector", "classifier"] if isinstance(loaded.head, PooledClassifier) else []
    heads += ["lm_head"] if hasattr(model, "lm_head") else []
    norms = [names[id(final_norm(part))] for part, _ in stacks] if method.norms == "final" else []
    model.config._name_or_path = loaded.source
    adapter = get_peft_model(
        model,
        LoraConfig(
            r=method.rank,
            lora_alpha=method.alpha,  # type: ignore[arg-type]  # PEFT divides it, whole or not
            use_rslora=method.rank_stabilised,
            use_dora=isinstance(method, DoRA),
            lora_dropout=method.dropout,
            target_modules=list(targets),
            modules_to_save=[*heads, *norms],
        ),
    )
    with torch.no_grad():
        for name, branch in targets.items():
            _fill(adapter.get_submodule(f"base_model.model.{name}"), branch)
    adapter.save_pretrained(str(folder), save_embedding_layers=False)
    model.config.save_pretrained(folder)
    write_processor(loaded, folder)
    auto = AUTO_CLASSES[loaded.card["task"]].__name__
    return (
        f"PeftModel.from_pretrained({auto}.from_pretrained('{loaded.source}', "
        "config=AutoConfig.from_pretrained('{folder}')), '{folder}')"
    )


def _stacks(model: Any, loaded: Loaded) -> list[tuple[Any, AdaptedStack]]:
    """The adapted parts: of transformers' model, and of the package."""
    if not isinstance(loaded.head, AdaptedDecoder):
        return [(model.base_model, loaded.encoder)]
    both = [(model.model.encoder, loaded.encoder), (model.model.decoder, loaded.head)]
    return [(part, stack) for part, stack in both if stack.branches]


def _pairs(stacks: list[tuple[Any, AdaptedStack]]) -> list[tuple[DenseLayer, nn.Module]]:
    """The dense layers of transformers' model, each with the package's branch beside it."""
    return [
        (layer, stack.branches[layer.name])
        for part, stack in stacks
        for layer in dense_layers(part)
        if layer.name in stack.branches
    ]


def _fill(layer: Any, branch: nn.Module) -> None:
    """Put a branch's numbers into PEFT's layer."""
    change = branch.change if isinstance(branch, WeightDecomposed) else branch
    assert isinstance(change, LowRank)
    gain = 1.0 if change.input_scale is None else change.input_scale
    layer.lora_A["default"].weight.copy_(gain * change.down.weight)
    layer.lora_B["default"].weight.copy_(change.up.weight)
    if isinstance(branch, WeightDecomposed):
        layer.lora_magnitude_vector["default"].weight.copy_(branch.magnitude)
