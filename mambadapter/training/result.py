"""One ``result.json`` a run: what came out, and all that it takes to trust and repeat it."""

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.distributed import if_main_process

from mambadapter import __version__
from mambadapter.config import Experiment
from mambadapter.inference.model_card import write_model_card
from mambadapter.methods import method_to_dict
from mambadapter.methods.base import Method
from mambadapter.metrics.learning import learned
from mambadapter.training.brain import EncoderBrain
from mambadapter.training.pace import peak_memory_mib
from mambadapter.utils.devices import processor
from mambadapter.utils.files import read_json, write_json
from mambadapter.utils.versions import package_versions


def write_result(brain: EncoderBrain, experiment: Experiment, method: Method) -> Path:
    """Write ``result.json`` into the run's folder atomically; only the main process does.

    Its ``wall_time_s`` is the Brain's, earlier starts of a resumed run included.
    """
    path = experiment.folder / "result.json"
    if if_main_process():
        count = brain.count
        result = {
            "metrics": brain.metrics,
            **brain.details,
            "best_epoch": brain.best_epoch,
            "history": brain.history.epochs,
            "learned": learned(brain.history.epochs),
            "parameters": {**asdict(count), "adapted": count.adapted, "trained": count.trained},
            "corpus": Path(str(experiment.tree["data_folder"])).name,
            "method": method_to_dict(method),
            "lr": experiment.hparams["lr"],
            "seed": experiment.hparams["seed"],
            "package_bytes": _size(experiment.folder / "adapter"),
            "wall_time_s": round(brain.stopwatch.seconds, 1),
            "batch_ms": None if (ms := brain.pace.batch_ms) is None else round(ms, 2),
            "pace": brain.pace.summary,
            "peak_memory_mib": peak_memory_mib(),
            "frozen_features": brain.frozen_features,
            "versions": _versions(),
            "machine": _machine(),
            "digest": experiment.digest,
            "config": experiment.config,
        }
        write_json(path, result)
        if (package := experiment.folder / "adapter").is_dir():  # pretraining writes an encoder
            write_model_card(package, result)
    return path


def _size(folder: Path) -> int:
    """Bytes of the files of a folder, such as an adapter's package."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_result(experiment: Experiment) -> dict[str, Any] | None:
    """The result in an experiment's folder, if there is one and it is this experiment's."""
    path = experiment.folder / "result.json"
    if not path.is_file():
        return None
    result = read_json(path, "delete it to run that again")
    return result if result.get("digest") == experiment.digest else None


def _versions() -> dict[str, str]:
    installed = {name: number for name, number in package_versions().items() if number}
    return {"mambadapter": __version__, "python": platform.python_version(), **installed}


def _machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
