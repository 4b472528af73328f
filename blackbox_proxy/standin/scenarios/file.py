"""Reads scenarios from TOML and JSON files; a mistake is told with its file and line.

    model = "gpt-4o-mini"                              # without it, any name is answered

    [[exchange]]
    asked = "What is the capital of Albania?"          # or { regex = "..." }, { any = true }, { result_of = "TOOL" }
    said = ["The capital is", { token = " Tirana", p = 0.7, others = { " Durres" = 0.2 } }, "."]

A string is cut into words and marks, each with a probability of 1. A number from 0 to 1 is a probability, a negative
one a log-prob. What the tokens at one place leave of 1 is the tail, which all other tokens share evenly.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, from_json

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.remote.profiles.lines import Place, line_of
from blackbox_proxy.standin.plan import Fault, read_fault
from blackbox_proxy.standin.scenarios.answers import END, Branch, ScriptedAnswer, ScriptedSpot, tokens_of
from blackbox_proxy.standin.scenarios.exchanges import (
    AskedPattern,
    Scenario,
    ScriptedError,
    ScriptedExchange,
    TextPattern,
    TurnPattern,
)

SLACK = 1e-6
"""By how much the probabilities at one place may exceed 1: log-probs are often rounded."""

Probability = Annotated[float, Field(le=1.0, allow_inf_nan=False, strict=False)]
Seconds = Annotated[float, Field(ge=0.0, le=3600.0, strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PatternTable(_Table):
    """A text that must be there: exactly `text`, one in which `regex` is found, or any."""

    text: str | None = None
    regex: str | None = None
    any: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> PatternTable:
        given = [name for name in ("text", "regex", "any") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} say two things about one text")
        if self.regex is not None:
            _check_regex(self.regex)
        return self

    @property
    def pattern(self) -> TextPattern:
        """The same, without its form."""
        return TextPattern(self.text, self.regex)


def _check_regex(regex: str) -> None:
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(f"{regex!r} is no regular expression: {error}") from None


def _as_pattern(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


Pattern = Annotated[PatternTable, BeforeValidator(_as_pattern, json_schema_input_type=str | PatternTable)]


class AskedTable(PatternTable):
    """What the last turn must be. result_of: the name of the tool whose result it is."""

    result_of: str = ""


Asking = Annotated[AskedTable, BeforeValidator(_as_pattern, json_schema_input_type=str | AskedTable)]


class TurnTable(_Table):
    """A turn that must stand before the last one."""

    role: str
    content: Pattern = PatternTable()


class OptionTable(_Table):
    """An alternative. p: its probability, or log-prob; then: what follows it in place of the rest."""

    p: Probability
    then: Said | None = None


def _as_option(value: object) -> object:
    return {"p": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


Option = Annotated[OptionTable, BeforeValidator(_as_option, json_schema_input_type=float | OptionTable)]


class PieceTable(_Table):
    """A part of what is said: `text`, cut into tokens, or one `token` (or its `bytes`) with its alternatives.

    p: its probability, or log-prob; without it, what the others leave of 1. others: further tokens that may stand
    there, "" for the end of the answer. What all of them leave of 1 is the tail.
    """

    text: str | None = None
    token: str | None = None
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None
    p: Probability | None = None
    others: dict[str, Option] = {}

    @model_validator(mode="after")
    def _whole(self) -> PieceTable:
        if sum(one is not None for one in (self.text, self.token, self.bytes)) != 1:
            raise ValueError("one of text, token and bytes says what is said")
        if self.text is not None and (self.p is not None or self.others):
            raise ValueError("p and others belong to a token: a text has several")
        if self.text is None and not self.token and not self.bytes:
            raise ValueError("a token is not empty")
        if self.token in self.others:
            raise ValueError(f"{self.token!r} is among its own alternatives")
        if not 0.0 < _total(self) <= 1.0 + SLACK:
            raise ValueError(f"the probabilities at this place add up to {_total(self):.6g}, and 1 is the most")
        if self.text is None and not _share(self) > 0.0:
            raise ValueError("its alternatives leave no probability to the token that is said")
        return self


def _mass(value: float) -> float:
    return math.exp(value) if value < 0.0 else value


def _share(piece: PieceTable) -> float:
    """The probability of what is said."""
    others = sum(_mass(option.p) for option in piece.others.values())
    return 1.0 - others if piece.p is None else _mass(piece.p)


def _total(piece: PieceTable) -> float:
    return _share(piece) + sum(_mass(option.p) for option in piece.others.values())


def _as_said(value: object) -> object:
    if isinstance(value, str):
        return [{"text": value}]
    return [{"text": part} if isinstance(part, str) else part for part in value] if isinstance(value, list) else value


Said = Annotated[
    list[PieceTable], BeforeValidator(_as_said, json_schema_input_type=str | list[str | PieceTable]), Field()
]
OptionTable.model_rebuild()
PieceTable.model_rebuild()


class CallTable(_Table):
    """A call of a tool. arguments: an object, or its JSON as a string; id: without one, it is drawn."""

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Any] | str = {}
    id: str = ""


class ErrorTable(_Table):
    """An error in OpenAI's shape. retry_after: seconds, for the header of that name."""

    status: Annotated[int, Field(ge=400, le=599)]
    message: str = "The scenario says that this fails."
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    retry_after: Seconds | None = None


class ExchangeTable(_Table):
    """One question, or one kind of questions, and what comes back.

    asked: the last turn, or the raw text. system: what the system's turns say. before: turns right before the last one.
    said: the answer. calls: calls of tools. error: what goes wrong, as a plan of faults writes it (`429:2`, `reset`,
    `cut`, `slow:3`) or as a table. delay: seconds. finish: why the answer ends. times: how often it may be begun.
    """

    asked: Asking
    system: Pattern | None = None
    before: list[TurnTable] = []
    said: Said | None = None
    calls: list[CallTable] = []
    error: str | ErrorTable | None = None
    delay: Seconds = 0.0
    finish: Literal["stop", "length"] = "stop"
    times: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _answers(self) -> ExchangeTable:
        if isinstance(self.error, str):
            read_fault(self.error)
        if self.said is None and not self.calls and self.error is None:
            raise ValueError("one of said, calls and error says what comes back")
        if self.said is None and self.error in ("cut", "truncated"):
            raise ValueError(f"{self.error} breaks off an answer, and none is said")
        return self


class ScenarioFile(_Table):
    """A scenario: exchanges, looked at in their order. The first that fits, and is not used up, answers.

    model: what requests must call the model; without it any name is answered. sampled: answers are drawn from the
    tokens that are written, by their probabilities; otherwise what is said comes at any temperature.
    """

    model: str = ""
    sampled: bool = False
    exchange: Annotated[list[ExchangeTable], Field(min_length=1)]


def schema() -> dict[str, Any]:
    """The JSON schema of a scenario, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ScenarioFile.model_json_schema(),
        "title": "A scenario of blackbox-proxy's stand-in",
    }


def read_scenario(path: Path) -> Scenario:
    """The scenario of a file, TOML or (by its ending) JSON.

    Raises:
        InputError: With the first mistake, its file and its line.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the scenario {path}: {error}", hint="name a TOML or JSON file") from None
    return parse_scenario(text, where=str(path), is_json=path.suffix == ".json")


def parse_scenario(text: str, *, where: str, is_json: bool = False) -> Scenario:
    """`read_scenario` of a text. where: how messages call it."""
    try:
        said = json.loads(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not {'JSON' if is_json else 'TOML'}: {error}", hint="correct it") from None
    lines = _json_line if is_json else line_of
    try:
        file = ScenarioFile.model_validate(said)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first = min(errors, key=lambda one: lines(text, one["loc"]))
        raise InputError(
            f"{where}, line {lines(text, first['loc'])}: {_complaint(first)}",
            hint="`blackbox-proxy standin --schema` prints what a scenario may hold",
        ) from None
    places = [f"line {lines(text, ('exchange', at))}" for at in range(len(file.exchange))]
    return _scenario(file, name=where, places=places)


def scenario_of(exchanges: Mapping[str, object] | Sequence[Mapping[str, object]]) -> Scenario:
    """A scenario in Python: answers by questions, or exchanges as a file has them.

    Args:
        exchanges: `{"What is asked?": "What is said."}`; in place of a text, what `said` may be in a file, or a mapping
            with all fields of an exchange but `asked`. Or a list of exchanges.

    Raises:
        InputError: With the first mistake.
    """
    if isinstance(exchanges, Mapping):
        exchanges = [
            {"asked": asked, **(said if isinstance(said, Mapping) else {"said": said})}
            for asked, said in exchanges.items()
        ]
    try:
        file = ScenarioFile.model_validate({"exchange": list(exchanges)})
    except ValidationError as error:
        raise InputError(_complaint(error.errors(include_url=False)[0]), hint="see `scenario_of`") from None
    return _scenario(file, name="the scenario", places=[f"exchange {at + 1}" for at in range(len(exchanges))])


def _complaint(error: ErrorDetails) -> str:
    place = ".".join(str(step + 1) if isinstance(step, int) else step for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{place}: there is no such field"
    if error["type"] == "missing":
        return f"{place}: it is missing"
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason


def _json_line(text: str, place: Place) -> int:
    """The line on which the value at a place begins, or as much of the place as there is."""
    lines = text.split("\n")
    for length in range(len(place), 0, -1):
        low, high = 1, len(lines)
        if not _holds(text, place[:length]):
            continue
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _holds("\n".join(lines[:middle]), place[:length]) else (middle + 1, high)
        return low
    return 1


def _holds(text: str, place: Place) -> bool:
    """Whether a beginning of a JSON text has a value, or the beginning of one, at a place."""
    value: Any = from_json(text or "{", allow_partial="trailing-strings")
    try:
        for step in place:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _scenario(file: ScenarioFile, *, name: str, places: Sequence[str]) -> Scenario:
    exchanges = tuple(_exchange(table, where) for table, where in zip(file.exchange, places, strict=True))
    return Scenario(exchanges, name, file.model, file.sampled)


def _exchange(table: ExchangeTable, where: str) -> ScriptedExchange:
    return ScriptedExchange(
        asked=AskedPattern(table.asked.pattern, table.asked.result_of),
        where=where,
        answer=None if table.said is None else _answer(table.said),
        system=None if table.system is None else table.system.pattern,
        before=tuple(TurnPattern(turn.role, turn.content.pattern) for turn in table.before),
        calls=tuple(map(_call, table.calls)),
        error=_error(table.error),
        delay=table.delay,
        finish=table.finish,
        times=table.times,
    )


def _answer(pieces: Sequence[PieceTable]) -> ScriptedAnswer:
    return ScriptedAnswer(tuple(spot for piece in pieces for spot in _spots(piece)))


def _spots(piece: PieceTable) -> list[ScriptedSpot]:
    if piece.text is not None:
        return [ScriptedSpot((Branch(token, 1.0),)) for token in tokens_of(piece.text)]
    said = piece.token.encode() if piece.token is not None else bytes(piece.bytes or [])
    others = (_branch(text, option) for text, option in piece.others.items())
    return [ScriptedSpot((Branch(said, _share(piece)), *others))]


def _branch(text: str, option: OptionTable) -> Branch:
    piece = text.encode() if text else END
    return Branch(piece, _mass(option.p), None if option.then is None else _answer(option.then))


def _call(table: CallTable) -> ToolCall:
    arguments = table.arguments
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(table.name, written, table.id)


def _error(error: str | ErrorTable | None) -> Fault | ScriptedError | None:
    if isinstance(error, str):
        return read_fault(error)
    if error is None:
        return None
    return ScriptedError(error.status, error.message, error.type, error.code, error.param, error.retry_after)
