"""A package's README.md: a model card, made from its card and from the run's result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from mambadapter.inference.calibration import rates
from mambadapter.inference.hub import CARD, README
from mambadapter.inference.package import CLASSIFICATION, MULTILABEL, SEQ2SEQ, TRANSCRIPTION
from mambadapter.text.vocabulary import CHAR
from mambadapter.utils.files import read_json, whole_file

_PIPELINES = {
    CLASSIFICATION: "audio-classification",
    MULTILABEL: "audio-classification",
    TRANSCRIPTION: "automatic-speech-recognition",
    SEQ2SEQ: "automatic-speech-recognition",
}
_BOUNDS = {
    CLASSIFICATION: "Every clip gets one of the classes above, whatever is in it, unless `--unknown` is "
    "asked for.",
    MULTILABEL: "A clip gets those of the classes above whose probabilities reach their thresholds, which "
    "were chosen on validation data; perhaps none.",
}
_TEXT = """---
{data}
---

# {method} on {encoder}, trained on {corpus}

What was trained, without the frozen encoder, which is loaded from where it is.

| | |
| --- | --- |
| encoder | {encoder}; SHA-256 of its frozen weights `{fingerprint}` |
| method | {method}: {settings} |
| trained parameters | {trained:,}: {adapter:,} of the method, {norms:,} of LayerNorms, {head:,} of the head |
| data | {corpus} |
| {kind} | {known} |
{metrics}
| learning rate, seed, best epoch | {lr}, {seed}, {epoch} |

## Use

```
mambadapter {command} PACKAGE clip.wav
```

```python
from mambadapter import load_adapter

model = load_adapter("PACKAGE")
print(model.{command}("clip.wav"))
```

with this folder, or its name on the hub, for PACKAGE.

## Limits

- The figures are of {corpus}'s test part, one seed; other recordings, speakers and languages were not tried.
- {bound}
- The encoder must be the one above: other weights are refused. Its licence and the data's hold for this too.
"""


def model_card(card: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Write the text.

    Parameters
    ----------
    card : Mapping[str, Any]
        The package's ``adapter.json``.
    result : Mapping[str, Any]
        The run's ``result.json``.

    Returns
    -------
    str
        Markdown, with the header that the hub reads.
    """
    classifies = card["task"] in _BOUNDS
    settings = {key: value for key, value in card["method"].items() if key != "name"}
    count, source = result["parameters"], str(card["encoder"])
    public = not Path(source).is_absolute()
    data = ModelCardData(
        library_name="mambadapter",
        pipeline_tag=_PIPELINES[card["task"]],
        base_model=source if public and source != "mambadapter/box" else None,
        language=card.get("language"),
        tags=["mambadapter", "parameter-efficient", card["method"]["name"]],
    )
    return _TEXT.format(
        data=data.to_yaml(),
        method=card["method"]["name"],
        encoder=source if public else Path(source).name,
        corpus=result["corpus"],
        fingerprint=card["encoder_fingerprint"],
        settings=", ".join(f"{key} {value}" for key, value in settings.items()) or "no settings",
        trained=count["trained"],
        adapter=count["adapter"] + count["encoder"],
        norms=count["layer_norm"],
        head=count["head"],
        kind="classes" if classifies else "writes",
        known=card.get("language") or _known(card),
        metrics="\n".join(
            [
                *(_metrics(result["metrics"].get("test", {})) or ["| test | not run |"]),
                *_calibration(result.get("calibration")),
            ]
        ),
        lr=result["lr"],
        seed=result["seed"],
        epoch=result["best_epoch"],
        command="predict" if classifies else "transcribe",
        bound=_BOUNDS.get(card["task"], "It writes something for every clip, whatever is in it."),
    )


def _known(card: Mapping[str, Any]) -> str:
    """Classes, characters, or how many pieces."""
    labels = card.get("labels", [])
    if card["task"] in _BOUNDS:
        return ", ".join(labels)
    kind = card.get("token_type") or CHAR
    return "".join(labels[2:]) if kind == CHAR else f"{len(labels) - 2} pieces ({kind})"


def _calibration(told: Mapping[str, Any] | None) -> list[str]:
    """Rows of how sure it is; none of what was not calibrated."""
    if told is None:
        return []
    before, after = (100 * told[f"calibration_error{end}"] for end in ("_before", ""))
    bins = f"of the same clips in {told['calibration_error_bins']} bins"
    rows = [
        ("temperature", f"{told['temperature']:.3g}, of {told['clips']} validation clips"),
        ("expected calibration error", f"{after:.1f} %, without it {before:.1f} %, {bins}"),
    ]
    if told["threshold"] is not None:
        below = f"a highest probability below {told['threshold']:.3f}"
        rows += [("none of these, with `--unknown`", below), *rates(told)]
    return [f"| {name} | {value} |" for name, value in rows]


def write_model_card(folder: Path, result: Mapping[str, Any]) -> None:
    """Write a run's package its README.md."""
    card = read_json(folder / CARD, "train again")
    with whole_file(folder / README) as partial:
        partial.write_text(model_card(card, result), encoding="utf-8")


def _metrics(test: Mapping[str, float]) -> list[str]:
    """A row for each that has an interval."""
    return [
        f"| test {name} | {100 * test[name]:.2f} %, 95 % interval {100 * test[f'{name}_low']:.2f} to "
        f"{100 * test[f'{name}_high']:.2f} |"
        for name in test
        if f"{name}_low" in test
    ]
