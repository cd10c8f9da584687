"""Write a pretrained encoder as the package ships it."""

import copy
from pathlib import Path

from speechbrain.utils.distributed import if_main_process
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor


def save_box(backbone: PreTrainedModel, folder: Path) -> None:
    """Write a transformers checkpoint in half precision, with the masking that fine-tuning wants."""
    if not if_main_process():
        return
    shipped = copy.deepcopy(backbone).half()
    shipped.config.mask_time_prob = 0.05
    shipped.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
