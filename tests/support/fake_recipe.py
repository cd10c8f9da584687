"""A recipe that trains nothing: its result depends on its settings, and it can fail, or take its time."""

SCRIPT = """\
import json, math, os, pathlib, sys, time
argv = [part for part in sys.argv[2:-1] if part != "--validate_only"]
test = len(argv) == len(sys.argv[2:-1])
options = dict(zip(argv[::2], argv[1::2]))
folder = pathlib.Path(options["--output_folder"])
folder.mkdir(parents=True, exist_ok=True)
with (folder / "starts.txt").open("a") as file:
    file.write("started\\n")
time.sleep(float(options.get("--seconds", 0)))
if options["--adapter"] == "broken":
    sys.exit("error: adapter: 'broken' is not on the menu")
accuracy = {"lora": 0.7, "bottleneck": 0.6}.get(options["--adapter"], 0.5) + int(options["--seed"]) / 100
best = {"lora": 0.02, "bottleneck": 0.005}.get(options["--adapter"], 0.01)
valid = accuracy - abs(math.log(float(options.get("--adapter.lr", best)) / best)) / 10
result = {
    "metrics": {"valid": {"accuracy": valid, "loss": 1.0}, **({"test": {"accuracy": accuracy, "clips": 100}} if test else {})},
    "parameters": {"adapted": 1000, "layer_norm": 10, "head": 5}, "seed": int(options["--seed"]),
    "wall_time_s": 1.0, "peak_memory_mib": {"resident": 100.0}, "method": {"name": "LoRA"}, "lr": 0.01,
    "history": [], "config": {key.strip("-"): value for key, value in options.items() if key != "--output_folder"},
}
(folder / "result.json").write_text(json.dumps(result))
"""


def write_recipe(folder):
    (folder / "hparams").mkdir(parents=True)
    (folder / "train.py").write_text(SCRIPT)
    (folder / "hparams/train.yaml").write_text("seed: 1\n")
    return folder


def write_sweep(path, recipe, output, body):
    path.write_text(f"recipe: {recipe}\noutput: {output}\n{body}")
    return path
