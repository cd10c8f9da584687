"""python traced.py SCRIPT ...: the script, and which lines of the product it ran."""

import runpy
import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[2]

tracer = coverage.Coverage(
    config_file=str(ROOT / "pyproject.toml"),
    data_file=str(ROOT / ".coverage"),
    data_suffix=True,
    source=[str(ROOT / "mambadapter"), str(ROOT / "recipes")],
)
del sys.argv[0]
sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
tracer.start()
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    tracer.stop()
    tracer.save()
