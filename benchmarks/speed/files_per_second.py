"""Files per second of a trained adapter: all at once, against a loop over single files.

    python benchmarks/speed/files_per_second.py [--json]

1,000 clips of 1 to 3 s of noise, an untrained MambAdapter over the encoder in the box. Both read the files,
in this process, in turn.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
from output import Output, add_json

from mambadapter import load_adapter
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.bundled import BOX
from mambadapter.heads import PooledClassifier
from mambadapter.inference import save_package
from mambadapter.methods import MENU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default=BOX)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    add_json(parser)
    given = parser.parse_args()
    output = Output(given.json, clips=given.clips, encoder=given.encoder, precision=given.precision)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(Path(folder), given.clips)
        method = MENU["mambadapter"]
        encoder = AdaptedEncoder.from_pretrained(given.encoder, method)
        modules = {"encoder": encoder, "head": PooledClassifier(encoder.width, 35)}
        labels = [str(number) for number in range(35)]
        package = save_package(Path(folder, "adapter"), modules, given.encoder, method, labels)
        model = load_adapter(package, given.device, given.precision)
        model.predict(paths[:32]), [model.predict(path) for path in paths[:8]]
        output.say(f"{given.clips} clips, {given.encoder} on {model.device} in {given.precision}")
        rates = []
        for _ in range(given.rounds):
            start = time.perf_counter()
            alone = [model.predict(path) for path in paths]
            middle = time.perf_counter()
            together = model.predict(paths)
            end = time.perf_counter()
            same = np.mean([a.label == b.label for a, b in zip(alone, together, strict=True)])
            rates.append((middle - start) / (end - middle))
            output.keep(
                f"round {len(rates)}", one_by_one=len(paths) / (middle - start),
                together=len(paths) / (end - middle), ratio=rates[-1], same_labels=float(same),
            )  # fmt: skip
            output.say(
                f"one by one {len(paths) / (middle - start):.0f}/s, all at once "
                f"{len(paths) / (end - middle):.0f}/s, {rates[-1]:.2f} times; {same:.1%} same labels"
            )
        output.keep("median", ratio=float(np.median(rates)))
        output.say(f"median {np.median(rates):.2f} times")
    output.close()


def write_clips(folder: Path, count: int) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.wav" for number in range(count)]
    for path in paths:
        sf.write(path, random.normal(0, 0.1, round(random.uniform(1, 3) * 16000)), 16000)
    return paths


if __name__ == "__main__":
    main()
