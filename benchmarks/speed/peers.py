"""What others make of the same encoder."""

import importlib.util

import torch
from torch import Tensor, nn

PEFT = "PEFT's LoRA"


def has_peft() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("peft") is not None


class Peft(nn.Module):
    """A transformers encoder with PEFT's LoRA in its queries and values, called as ours are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model

        model.feature_extractor._freeze_parameters()
        self.width = model.config.hidden_size
        config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
        self.model = get_peft_model(model, config)

    def forward(self, wavs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.model(wavs).last_hidden_state
        return hidden, torch.full((len(wavs),), hidden.shape[1], device=hidden.device)
