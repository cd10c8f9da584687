"""Every top-level key of a recipe's YAML: what it may be, who reads it, if it defines the experiment.

What a key means, and its default, stand beside it in ``hparams/tasks``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ruamel.yaml.comments import TaggedScalar
from ruamel.yaml.scalarbool import ScalarBoolean

CLASSIFICATION, CTC, SEQ2SEQ = "classification", "ctc", "seq2seq"
TASKS = (CLASSIFICATION, CTC, SEQ2SEQ)
_RECOGNITION = (CTC, SEQ2SEQ)

# What has a learning rate and a weight decay of its own: what a method adds; the scan of its Mamba blocks;
# the encoder's LayerNorms; its other parameters; what stands on it.
PARAMETER_GROUPS = ("branches", "scan", "norms", "encoder", "head")


@dataclass(frozen=True)
class Kind:
    """What the value of a key may be.

    Attributes
    ----------
    wanted : str
        In words, after "is not"; ``{value}`` and ``{folds}`` are filled in.
    fits : Callable[[Any, Mapping[str, Any]], bool]
        Called with a value and all top-level keys.
    fraction : bool
        A number that may have a fraction, also where the YAML has a whole one.
    word : str, optional
        What may stand in place of a number.
    text : bool
        A path or a name: what is typed on a command line is it, and is not read as YAML.
    path : bool
        A leading ``~`` is the home folder.
    """

    wanted: str
    fits: Callable[[Any, Mapping[str, Any]], bool]
    fraction: bool = False
    word: str | None = None
    text: bool = False
    path: bool = False


def _whole(least: int, greatest: float = math.inf, null: bool = False) -> Kind:
    wanted = f"a whole number of at least {least}"
    wanted += f" and at most {greatest}" if greatest < math.inf else ""
    return Kind(
        wanted + (", or null" if null else ""),
        lambda value, _: (
            (null and value is None) or (_is_whole(value) and least <= value <= greatest)
        ),
    )


def _one_of(*names: str) -> Kind:
    return Kind(" or ".join(names), lambda value, _: value in names, text=True)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool | ScalarBoolean)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not _is_switch(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not _is_switch(value) and -MOST < value < MOST


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_rate(value: Any) -> bool:
    return isinstance(value, TaggedScalar) or (_is_number(value) and value >= 0)


# A whole number may be larger than any float.
MOST = 1e300

ANY = Kind("anything", lambda value, _: True)
SWITCH = Kind("true or false", lambda value, _: _is_switch(value))
NUMBER = Kind("a number of at least 0", lambda v, _: _is_number(v) and v >= 0, fraction=True)
ANY_NUMBER = Kind("a number", lambda value, _: _is_number(value), fraction=True)
POSITIVE = Kind("a number above 0", lambda v, _: _is_number(v) and v > 0, fraction=True)
SHARE = Kind("a number from 0 to 1", lambda v, _: _is_number(v) and 0 <= v <= 1, fraction=True)
NAME = Kind("a name", lambda value, _: _is_text(value), text=True)
SOURCE = replace(NAME, wanted="a name, or a folder", path=True)
PATH = replace(NAME, wanted="a path; write ./{value}", path=True)
PATH_OR_NULL = replace(PATH, fits=lambda value, _: value is None or _is_text(value))
BALANCED = Kind("balanced, or null", lambda value, _: value in (None, "balanced"), text=True)
CHANNEL = Kind(
    "mean, first, left, right, a whole number of at least 1, or null",
    lambda value, _: (
        value in (None, "mean", "first", "left", "right") or (_is_whole(value) and value >= 1)
    ),
)
HOURS = Kind(
    "hours above 0 of train, valid and test",
    lambda value, _: (
        isinstance(value, Mapping)
        and value.keys() == {"train", "valid", "test"}
        and all(_is_number(hours) and hours > 0 for hours in value.values())
    ),
)
LANGUAGE = Kind(
    "a file with the keys code and rules, by !include:; a code is --language.code {value}",
    lambda value, _: isinstance(value, Mapping) and value.keys() >= {"code", "rules"},
)
GROUPS = Kind(
    f"lr and weight_decay, at least 0, of {', '.join(PARAMETER_GROUPS)}",
    lambda value, _: (
        isinstance(value, Mapping)
        and value.keys() <= set(PARAMETER_GROUPS)
        and all(isinstance(group, Mapping) for group in value.values())
        and all(group.keys() == {"lr", "weight_decay"} for group in value.values())
        and all(_is_rate(rate) for group in value.values() for rate in group.values())
    ),
)
METHOD = Kind("a method; choose one of the menu's, as in --adapter lora", lambda value, _: False)
LOADER = Kind(
    "arguments of a DataLoader; change one, as in --loader_options.prefetch_factor 4",
    lambda value, _: isinstance(value, Mapping),
)
SECONDS = replace(
    POSITIVE,
    wanted="a number above 0, or null where there is a batch_size",
    fits=lambda value, tree: (
        (value is None and "batch_size" in tree) or (_is_number(value) and value > 0)
    ),
)
COMPILE = Kind(
    "auto, off, layers or step",
    lambda value, _: value is False or value in ("auto", "off", "layers", "step"),  # off is false
    text=True,
)
TWELVE_OR_ALL = Kind("12 or 35", lambda value, _: _is_whole(value) and value in (12, 35))
FOLD = Kind(
    "a fold from 1 to {folds}, or all",
    lambda value, tree: value == "all" or (_is_whole(value) and 1 <= value <= tree.get("folds", 0)),
    word="all",
)


@dataclass(frozen=True)
class Key:
    """A top-level key.

    Attributes
    ----------
    name : str
        The key.
    kind : Kind
        What it may be.
    tasks : tuple[str, ...]
        Whose YAML has it.
    read : bool
        The program reads it, so it must be there; what it does not, other keys of the YAML refer to.
    optional : bool
        A recipe may add it to its task's.
    in_digest : bool
        Another value makes another experiment.
    neutral : Any
        What the digest sees in its place where other keys refer to it; None: itself.
    report : {"setting", "repetition", "derived"}
        In a report a column, what tells repetitions of one setting apart, or what follows from the rest.
    """

    name: str
    kind: Kind = ANY
    tasks: tuple[str, ...] = TASKS
    read: bool = True
    optional: bool = False
    in_digest: bool = True
    neutral: Any = None
    report: Literal["setting", "repetition", "derived"] = "setting"


def _machine(name: str, kind: Kind, neutral: Any, read: bool = False) -> Key:
    """Where and how fast, not what."""
    return Key(name, kind, read=read, in_digest=False, neutral=neutral)


_ROWS = (
    Key("language", LANGUAGE, _RECOGNITION),
    Key("encoder", SOURCE),
    Key("adapter", NAME),
    Key("adapt", _one_of("encoder", "decoder", "both"), tasks=(SEQ2SEQ,)),
    Key("adapter_budget", _whole(1, null=True)),
    Key("adapter_budget_norms", SWITCH),
    Key("lr_search", _whole(0), report="derived"),
    Key("seed", _whole(0, 2**32 - 1), report="repetition"),  # beyond it SpeechBrain takes 0
    Key("test_fold", FOLD, (CLASSIFICATION,), read=False, optional=True, report="repetition"),
    Key("folds", _whole(0), (CLASSIFICATION,), read=False, optional=True, report="derived"),
    Key("classes", TWELVE_OR_ALL, (CLASSIFICATION,), read=False, optional=True),
    Key("test_folder", PATH_OR_NULL, (CLASSIFICATION,), read=False, optional=True),
    Key("split_seed", _whole(0, 2**32 - 1), read=False, optional=True),
    Key("data", read=False, optional=True),
    Key("number_of_epochs", _whole(1)),
    Key("batch_size", _whole(1), (CLASSIFICATION,), read=False),
    Key("batch_seconds", SECONDS),
    Key("weight_decay", NUMBER, read=False),
    Key("warmup", SHARE),
    Key("least_warmup", _whole(0)),
    Key("schedule", _one_of("cosine", "linear", "constant")),
    Key("max_grad_norm", NUMBER),
    Key("head_lr", NUMBER),
    Key("norm_lr_scale", NUMBER, read=False),
    Key("scan_lr_scale", NUMBER, read=False),
    Key("head_lstm", _whole(0), (CTC,)),
    Key("token_type", _one_of("char", "unigram", "bpe"), (CTC,)),
    Key("vocab_size", _whole(2, null=True), (CTC,)),
    Key("decoding", _one_of("greedy", "beam"), (CTC,)),
    Key("beam_size", _whole(1), (CTC,)),
    Key("language_model", PATH_OR_NULL, (CTC,)),
    Key("lm_weight", NUMBER, (CTC,)),
    Key("word_score", ANY_NUMBER, (CTC,)),
    Key("shots_per_class", _whole(1, null=True), (CLASSIFICATION,)),
    Key("class_weights", BALANCED, (CLASSIFICATION,)),
    Key("sampler", BALANCED, (CLASSIFICATION,)),
    Key("waveform_augmentation", SWITCH),
    Key("noise_folder", PATH_OR_NULL),
    Key("noise_snr_low", ANY_NUMBER),
    Key("noise_snr_high", ANY_NUMBER),
    Key("reverberation_folder", PATH_OR_NULL),
    Key("spec_augment", SWITCH),
    # It measures what training and the choice of the threshold do not depend on.
    Key("unknown_folder", PATH_OR_NULL, (CLASSIFICATION,), in_digest=False, neutral="-"),
    Key("longest_text", _whole(1), (SEQ2SEQ,)),
    _machine("data_folder", PATH, "-"),
    Key("hours", HOURS, _RECOGNITION, read=False, optional=True),
    Key("longest_seconds", POSITIVE, _RECOGNITION),
    Key("skip_unusable_audio", SWITCH, read=False, optional=True),
    Key("skip_broken_rows", SWITCH, _RECOGNITION, read=False, optional=True),
    Key("audio_channel", CHANNEL),
    _machine("output_root", PATH, "-", read=True),
    _machine("output_folder", PATH, "-", read=True),
    _machine("tensorboard", SWITCH, False, read=True),
    _machine("num_workers", _whole(0), 0),
    _machine("compile", COMPILE, "off", read=True),
    _machine("cache_gb", NUMBER, 0, read=True),
    _machine("cache_folder", PATH_OR_NULL, "-", read=True),
    # Of the menus, what is chosen defines the experiment, and stands in `method` and `source`.
    Key("encoders", read=False, in_digest=False),
    Key("adapters", read=False, in_digest=False),
    Key("chosen", read=False, in_digest=False),
    Key("source", replace(ANY, text=True, path=True), report="derived"),
    Key("method", METHOD, report="derived"),  # a node of !new:
    Key("lr", NUMBER),
    Key("proof_of_life", SWITCH),
    Key("prepare", report="derived"),
    Key("loader_options", LOADER),
    Key("parameter_groups", GROUPS, report="derived"),
    Key("opt_class"),
    Key("epoch_counter"),
    Key("checkpointer"),
    Key("train_logger"),
)

KEYS = {key.name: key for key in _ROWS}


def kind_of(name: str) -> Kind:
    """What a key may be: of one that a user made up, anything.

    Example
    -------
    >>> kind_of("seed").wanted
    'a whole number of at least 0 and at most 4294967295'
    """
    return KEYS[name].kind if name in KEYS else ANY


def contract(task: str) -> list[str]:
    """The keys of a task's YAML that the program reads.

    Example
    -------
    >>> "beam_size" in contract("ctc"), "beam_size" in contract("classification")
    (True, False)
    """
    return [key.name for key in _ROWS if task in key.tasks and key.read]
