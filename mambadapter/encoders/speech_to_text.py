"""Whisper, whole: an adapted encoder, an adapted decoder and a tokenizer, for one language."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer, WhisperForConditionalGeneration
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from mambadapter.encoders.adapted import AdaptedEncoder
from mambadapter.encoders.decoder import AdaptedDecoder
from mambadapter.encoders.families import family_of
from mambadapter.encoders.frontend import Frontend
from mambadapter.encoders.loading import read_checkpoint
from mambadapter.encoders.stack import Method, Unadapted
from mambadapter.errors import UserError, first_line
from mambadapter.validators import one_of

logger = logging.getLogger(__name__)

_START, _TASK, _UNTIMED, _END = (
    "<|startoftranscript|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|endoftext|>",
)

PARTS = {"encoder": ("encoder",), "decoder": ("decoder",), "both": ("encoder", "decoder")}


def parts(adapt: str) -> tuple[str, ...]:
    """What a recipe's ``adapt`` stands for."""
    one_of("adapt", adapt, PARTS)
    return PARTS[adapt]


@dataclass(frozen=True)
class SpeechToText:
    """A Whisper, adapted to a language.

    Attributes
    ----------
    encoder : AdaptedEncoder
        What hears.
    decoder : AdaptedDecoder
        What writes.
    tokenizer : PreTrainedTokenizer
        transformers' own of the checkpoint.
    """

    encoder: AdaptedEncoder
    decoder: AdaptedDecoder
    tokenizer: Any

    @property
    def encode(self) -> Callable[[str], list[int]]:
        """From a text to its tokens, without those that start and end it.

        It holds the tokenizer alone, so that a process that loads data need not have the model.
        """
        return partial(self.tokenizer.encode, add_special_tokens=False)

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; special ones are left out."""
        known = [token for token in tokens if token < self.decoder.vocabulary]
        return self.tokenizer.decode(known, skip_special_tokens=True)


def load_speech_to_text(
    source: str | Mapping[str, Any], language: str, method: Method, adapt: str = "encoder"
) -> SpeechToText:
    """Load a Whisper and adapt it.

    A language that a multilingual one does not know gets a token of its own. Its embedding starts as the mean
    of those of the languages that it knows, and learns; it counts as the head. One for English alone is told
    no language.
    """
    model, frontend, name = read_checkpoint(source, WholeWhisper, method.trains_backbone)
    return adapt_whisper(model, frontend, read_tokenizer(name), language, method, adapt)


def read_tokenizer(name: str) -> Any:
    """Transformers' tokenizer of a checkpoint, by hub name or folder."""
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"Cannot load the tokenizer of '{name}' ({first_line(error)}). Get the checkpoint again, its "
            "tokenizer with it."
        ) from error


def adapt_whisper(
    model: WhisperForConditionalGeneration,
    frontend: Frontend,
    tokenizer: Any,
    language: str,
    method: Method,
    adapt: str,
) -> SpeechToText:
    """Adapt a loaded Whisper, which is changed in place."""
    methods = {part: method if part in parts(adapt) else Unadapted() for part in PARTS["both"]}
    known = tokenizer.get_vocab()
    prompt, embedding = _prompt(model, tokenizer, known, language)
    return SpeechToText(
        AdaptedEncoder(model.model.encoder, methods["encoder"], frontend),
        AdaptedDecoder(
            model.model.decoder,
            methods["decoder"],
            prompt,
            known[_END],
            embedding,
            masked=frontend.ragged,
        ),
        tokenizer,
    )


def _prompt(
    model: WhisperForConditionalGeneration, tokenizer: Any, known: Mapping[str, int], language: str
) -> tuple[list[int], Tensor | None]:
    """The tokens that every text starts with, and the embedding that a language of its own starts from."""
    name, english = tokenizer.name_or_path, _is_english(model)
    needed = (_START, _UNTIMED, _END) if english else (_START, _TASK, _UNTIMED, _END)
    languages = [known[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in known]
    missing = [token for token in needed if token not in known]
    if missing or not (english or languages):
        raise UserError(
            f"The tokenizer of '{name}' has no {missing[0] if missing else 'token of any language'}: take "
            "a multilingual Whisper, such as openai/whisper-small."
        )
    if english:
        if language != "en":
            raise UserError(
                f"'{name}' writes English alone: --language.code en, or, for '{language}', a multilingual "
                "Whisper such as openai/whisper-small."
            )
        return [known[_START], known[_UNTIMED]], None
    table = model.model.decoder.embed_tokens.weight
    token, embedding = known.get(f"<|{language}|>"), None
    if token is None:
        token, embedding = len(table), table[languages].mean(0, keepdim=True)
    return [known[_START], token, known[_TASK], known[_UNTIMED]], embedding


def _is_english(model: WhisperForConditionalGeneration) -> bool:
    """Whether it was trained on English alone, which its generation config says."""
    return getattr(model.generation_config, "is_multilingual", None) is False


def check_language(language: str, tokenizer: Any) -> None:
    """Before training: refuse the name of a language that Whisper has a code for, and name those that it has.

    Of a package the language is what it was trained with, whatever that is.
    """
    known = tokenizer.get_vocab()
    codes = sorted(code for code in LANGUAGES if f"<|{code}|>" in known)
    if language in codes:
        return
    lower = language.lower()
    if (code := lower if lower in codes else TO_LANGUAGE_CODE.get(lower)) in codes:
        raise UserError(
            f"language.code: Whisper calls '{language}' {code}; --language.code {code}."
        )
    logger.info(
        "Whisper does not know the language '%s', which gets a token of its own that learns. It knows %s.",
        language, ", ".join(codes),
    )  # fmt: skip


class WholeWhisper:
    """transformers' loader, for Whisper alone."""

    @staticmethod
    def from_pretrained(source: str, **options: Any) -> Any:
        config = options["config"]
        if family_of(config).decoder is None:
            family = config.model_type
            raise UserError(
                f"'{source}' is of family '{family}': only Whisper writes token by token."
            )
        return WhisperForConditionalGeneration.from_pretrained(source, **options)
