"""Write configuration.md: every key of a recipe's YAML, from the schema and the tasks' YAML files.

python docs/configuration.py
"""

import re
from collections.abc import Iterable
from pathlib import Path

from mambadapter.config.extends import read_recipe
from mambadapter.config.schema import CTC, KEYS, SEQ2SEQ, TASKS, Key

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/configuration.md"

HEAD = """\
# Configuration: every key of a recipe's YAML

<!-- Written by docs/configuration.py from hparams/tasks and mambadapter/config/schema.py. -->

Any key can be given on the command line, `--key value`, or by a YAML that extends another. A key that
defines the run makes another experiment with every other value, with an output folder of its own. Where no
values are named, the key is an object that the YAML makes, or a reference. A key that is not here may stand
in a YAML if another key refers to it.
"""

SECTIONS = {
    "Every task": TASKS,
    "Classification": TASKS[:1],
    "Recognition": (CTC, SEQ2SEQ),
    "Recognition by CTC": (CTC,),
    "Recognition by sequence to sequence": (SEQ2SEQ,),
}

# Those with a key that not every recipe of a task has.
RECIPES = tuple(
    f"{name}.yaml"
    for name in (
        "ESC50/hparams/train",
        "YourSpeech/hparams/train",
        "CommonVoice/hparams/ctc",
        "GoogleSpeechCommands/hparams/train",
    )
)

COLUMNS = ("key", "default", "may be", "defines the run", "meaning")


def page() -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    for title, tasks in SECTIONS.items():
        lines += [f"\n## {title}\n", _row(COLUMNS), _row("---" for _ in COLUMNS)]
        lines += [_row(_cells(key)) for key in KEYS.values() if key.tasks == tasks]
    return "\n".join(lines) + "\n"


def _cells(key: Key) -> list[str]:
    found = [_value_and_comment(key, text) for text in _texts(key)]
    values = dict.fromkeys(value for value, _ in found)
    shown = [
        re.sub(r"^`!ref <(\w+)>`$", r"that of `\1`", f"`{value}`") for value in values if value
    ]
    default = ", ".join(value for value in shown if not value.startswith("`!"))
    if "!PLACEHOLDER" in values:
        default = "must be given"
    if key.optional:
        default = "where a recipe has it"
    may_be = key.kind.wanted.replace("{folds}", "`folds`").partition(";")[0]
    defines = "yes" if key.in_digest else "no"
    return [
        f"`{key.name}`",
        default,
        "" if may_be == "anything" else may_be,
        defines,
        found[0][1],
    ]


def _texts(key: Key) -> list[str]:
    """The YAML that has it, of every task."""
    if key.optional:
        texts = [(ROOT / "recipes" / name).read_text(encoding="utf-8") for name in RECIPES]
        return [next(text for text in texts if re.search(rf"^{key.name}:", text, re.MULTILINE))]
    return [read_recipe(ROOT / f"hparams/tasks/{task}.yaml").text for task in key.tasks]


def _value_and_comment(key: Key, text: str) -> tuple[str, str]:
    line = re.search(rf"^{key.name}: *(.*?) *# *(.+)$", text, re.MULTILINE)
    if line is None:
        raise ValueError(f"hparams/tasks: {key.name} has no comment that says what it means")
    return line[1], line[2]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', 'or').replace('<', '&lt;') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
