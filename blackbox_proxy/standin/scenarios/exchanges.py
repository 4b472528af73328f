"""What a scenario consists of: exchanges, each with what is asked and what comes back. Pure data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, final

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.standin.plan import Fault
from blackbox_proxy.standin.scenarios.answers import END, ScriptedAnswer, pieces_of

END_NAME = "<|im_end|>"
WORD_NAME = "<|word|>"


@final
@dataclass(frozen=True, slots=True)
class TextPattern:
    """What a text must be: this one, one in which an expression is found, or any; with neither, any."""

    text: str | None = None
    regex: str | None = None

    def matches(self, said: str) -> bool:
        """Whether a text is such."""
        if self.text is not None:
            return said == self.text
        return self.regex is None or _compiled(self.regex).search(said) is not None

    def __str__(self) -> str:
        if self.text is not None:
            return repr(self.text)
        return "anything" if self.regex is None else f"what has {self.regex!r} in it"


@lru_cache(maxsize=256)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex, re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class AskedPattern:
    """What the last turn must be. result_of: the tool whose result it is; "" where it is no such result."""

    content: TextPattern
    result_of: str = ""

    def __str__(self) -> str:
        return f"a result of {self.result_of} that is {self.content}" if self.result_of else str(self.content)


@final
@dataclass(frozen=True, slots=True)
class TurnPattern:
    """What an earlier turn must be."""

    role: str
    content: TextPattern


@final
@dataclass(frozen=True, slots=True)
class ScriptedError:
    """An error that the API answers with. wait: seconds for `retry-after`; None for no such header."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    wait: float | None = None


@final
@dataclass(frozen=True, slots=True)
class ScriptedExchange:
    """One question, or one kind of questions, and what comes back.

    Attributes:
        asked: What the last turn must be.
        where: How messages call the place where it is written.
        answer: What is said; None for nothing.
        system: What the system's turns must say; None for whatever they do.
        before: The turns that must stand right before the last one, those of the system apart.
        calls: Calls of tools that the answer makes.
        error: What goes wrong.
        delay: Seconds before the answer begins.
        finish: Why the answer ends.
        times: How often it may be begun; None for any number.
    """

    asked: AskedPattern
    where: str
    answer: ScriptedAnswer | None = None
    system: TextPattern | None = None
    before: tuple[TurnPattern, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    error: Fault | ScriptedError | None = None
    delay: float = 0.0
    finish: Literal["stop", "length"] = "stop"
    times: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """Exchanges in the order in which they are looked at.

    Attributes:
        exchanges: The first that fits, and is not used up, answers.
        name: How messages call the scenario.
        model: What requests must call the model; "" for whatever they do.
        sampled: Whether answers are drawn from the tokens that are written; otherwise what is said comes at any
            temperature.
    """

    exchanges: tuple[ScriptedExchange, ...]
    name: str = "the scenario"
    model: str = ""
    sampled: bool = False
    vocabulary: Vocabulary = field(init=False)

    def __post_init__(self) -> None:
        answers = (exchange.answer for exchange in self.exchanges if exchange.answer is not None)
        pieces = {piece: None for answer in answers for piece in pieces_of(answer) if piece != END and len(piece) > 1}
        object.__setattr__(self, "vocabulary", _vocabulary(pieces))

    @property
    def end(self) -> int:
        """The id of the end of an answer."""
        return int(self.vocabulary.ends[0])

    @property
    def word(self) -> int:
        """An id that stands for any token of a prompt: prompts are counted, and never read."""
        return len(self.vocabulary) - 1


def _vocabulary(pieces: Mapping[bytes, None]) -> Vocabulary:
    """These pieces, every byte, the end, and the token that prompts are counted in.

    Of equally likely tokens those with smaller ids are listed first, and so letters come before control characters.
    """
    single = sorted((bytes([byte]) for byte in range(256)), key=lambda byte: not byte.isalnum())
    names = [*pieces, *single, END_NAME.encode(), WORD_NAME.encode()]
    return Vocabulary(names, ends=[len(names) - 2], special=[len(names) - 1])
