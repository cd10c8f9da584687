"""Results of runs that never were."""

import json


def result(adapter, seed, accuracy, fold=None, lr=0.01, **config):
    folds = {} if fold is None else {"test_fold": fold}
    return {
        "metrics": {"test": {"accuracy": accuracy, "clips": 50}},
        "parameters": {"adapted": 1234, "layer_norm": 0, "head": 10},
        "method": {"name": "LoRA", "rank": config.pop("rank", 8)},
        "history": [{"epoch": 1, "lr": 0.1, "train": {}, "valid": {"accuracy": accuracy - 0.1}}],
        "wall_time_s": 12.0, "peak_memory_mib": {"resident": 500.0},
        "config": {"adapter": adapter, "seed": seed, "lr": lr, "head_lr": lr,
                   "prepare": {"!name:mambadapter.data.corpora.esc50.prepare_esc50": {}},
                   **folds, **config},
    }  # fmt: skip


def write(folder, *results):
    for number, one in enumerate(results):
        (folder / f"run{number}").mkdir(parents=True)
        (folder / f"run{number}/result.json").write_text(json.dumps(one))
    return list(folder.rglob("result.json"))
