"""A toy model that a file describes: a distribution that a test knows, served as any other.

    {"pieces": ["a", "b", "ab", {"bytes": [195]}], "ends": ["</s>"],
     "distributions": {"": {"a": 0.7, "</s>": 0.3}, "ab": {"b": 1.0}}}

The distribution after a text is that of the longest key which the text ends with, "" for all others; weights are
normalised, and what a distribution leaves out has a probability of e^-100. Text is cut into the longest pieces.
`template` (Jinja) turns a chat into text; without one chats are refused. The module knows no HTTP and no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text
from blackbox_proxy.local.branching import shared
from blackbox_proxy.local.prompts import Control
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.standin.engine import SamplingParams
from blackbox_proxy.types import Logits, TokenPath

NEVER = -100.0
"""The logit of what a distribution leaves out; the likeliest has 0."""

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Bytes(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bytes: list[Annotated[int, Field(ge=0, le=255)]]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    pieces: list[str | _Bytes] = Field(min_length=1)
    ends: list[str] = Field(min_length=1)
    distributions: dict[str, dict[str, Weight]]
    template: str = ""
    context: int = Field(default=4096, ge=2)


@final
@dataclass(frozen=True, slots=True)
class Script:
    """The toy model, as a reader of prompts asks for it. distributions: logits by the text that they follow."""

    vocabulary: Vocabulary
    distributions: Mapping[bytes, Logits]
    chat_template: str = ""
    context_trained: int = 4096

    def tokenize(self, text: bytes, *, special: bool) -> Sequence[int]:  # noqa: ARG002 (nothing here is special)
        """The longest pieces. Raises Refusal where no piece fits."""
        try:
            return self.vocabulary.spell(text)
        except ValueError as error:
            raise Refusal(f"Invalid 'prompt': {error}.", param="prompt") from None

    @property
    def controls(self) -> Mapping[str, Control]:
        """None: nothing here is special."""
        return {}

    def special_text(self, _kind: str, /) -> str:
        """Nothing stands before or after a text."""
        return ""

    def logits(self, path: TokenPath) -> Logits:
        """The distribution after a token path, shape (V,)."""
        text = self.vocabulary.text_of(path)
        suffix = max((key for key in self.distributions if text.endswith(key)), key=len)
        return self.distributions[suffix]


@final
class ScriptSlot:
    """Where a slot over weights stands (`engine.Slot`)."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._held: TokenPath = ()

    def reuse(self, path: TokenPath) -> int:
        """How many tokens of `path` a model would not have to read again."""
        return max(min(shared(path, self._held), len(path) - 1), 0)

    def after(self, path: TokenPath) -> Logits:
        """The logits after a path, shape (V,)."""
        self._held = path
        return self._script.logits(path)

    def decided(self, path: TokenPath, sampling: SamplingParams, *, chance: np.random.Generator) -> None:
        """Nothing: every token is chosen by its probability alone."""


def read_script(path: Path) -> Script:
    """The toy model of a file. Raises InputError with the first mistake."""
    hint = "see the beginning of blackbox_proxy/standin/script.py for the form"
    try:
        document = _File.model_validate(json.loads(read_text(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}", hint=hint) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the script {path}: {error}", hint=hint) from error
    pieces = [p.encode() if isinstance(p, str) else bytes(p.bytes) for p in document.pieces]
    distributions = {
        text.encode(): {p.encode(): w for p, w in distribution.items()}
        for text, distribution in document.distributions.items()
    }
    try:
        return script(
            pieces,
            [e.encode() for e in document.ends],
            distributions,
            template=document.template,
            context=document.context,
        )
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=hint) from error


def script(
    pieces: Sequence[bytes],
    ends: Sequence[bytes],
    distributions: Mapping[bytes, Mapping[bytes, float]],
    *,
    template: str = "",
    context: int = 4096,
) -> Script:
    """A toy model of these pieces, and of ends that are no text. Raises InputError for distributions that are none."""
    names = [*pieces, *ends]
    if len(set(names)) < len(names):
        raise InputError("a piece, or an end, is listed twice", hint="give each of them once")
    if b"" not in distributions:
        raise InputError('there is no distribution for ""', hint="give one: it holds where no other does")
    vocabulary = Vocabulary(names, ends=range(len(pieces), len(names)))
    at = {name: i for i, name in enumerate(names)}
    return Script(
        vocabulary,
        {text: _logits(distribution, at, text=text) for text, distribution in distributions.items()},
        template,
        context,
    )


def _logits(distribution: Mapping[bytes, float], at: Mapping[bytes, int], *, text: bytes) -> Logits:
    """Logits of a distribution given by weights; the largest is 0."""
    unknown = next((name for name in distribution if name not in at), None)
    if unknown is not None:
        raise InputError(
            f"the distribution after {text!r} names {unknown!r}, which is no piece", hint="add it to the pieces"
        )
    weights = np.zeros(len(at))
    weights[[at[name] for name in distribution]] = list(distribution.values())
    if not weights.max() > 0.0:
        raise InputError(
            f"the distribution after {text!r} has no weight at all", hint="give some piece a weight above 0"
        )
    with np.errstate(divide="ignore"):
        logits: Logits = np.maximum(np.log(weights / weights.max()), NEVER).astype(np.float32)
    return logits
