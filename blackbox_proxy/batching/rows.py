"""One row of a batch: what is asked, and how; read from its fields, and what is wrong with it said in its place.

Knows no file format: a row is a mapping, whose values are those of JSON. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.knobs import FIXED, NAMES, KnobMistake, check_bounds, read_knobs
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Message, Prompt

KNOBS = tuple(name for name in NAMES if name not in FIXED)
"""Knobs that a row may set."""

FIELDS = ("id", "prompt", "messages", "system", "pair_prompt", "pair_messages", "text")
"""What a row may have besides knobs. `text` is for rows that are scored."""


@final
@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row that can be asked.

    Attributes:
        id: Its name; its number where it has none.
        where: The file and the line, for messages.
        prompt: What the hosted model reads; empty where a text is scored.
        pair_prompt: What the pair reads; None for the same.
        steering: The knobs of the batch, with those of the row.
        text: What is scored; "" where it is answered.
    """

    id: str
    where: str
    prompt: Prompt
    pair_prompt: Prompt | None
    steering: Steering
    text: str = ""


@final
@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that cannot be asked. error: why, with the file and the line."""

    id: str
    where: str
    error: str


@final
@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """What stands in place of a row's fields where they cannot be read. why: in words."""

    why: str


@final
@dataclass(frozen=True, slots=True)
class RowForm:
    """How rows are read.

    Attributes:
        steering: The knobs of a row that sets none.
        system: A system turn before each `prompt`; "" for none.
        raw: Whether prompts are raw text, without turns.
        scored: Whether rows hold texts to be scored, in place of prompts.
        ignored: Fields that are passed over.
    """

    steering: Steering
    system: str = ""
    raw: bool = False
    scored: bool = False
    ignored: Sequence[str] = ()

    def read(self, value: object, *, number: int, where: str) -> BatchRow | BrokenRow:
        """A row. number: its place in the file, from 1. where: file and line."""
        name = str(number)
        try:
            fields = self._fields(value)
            name = _name(fields.get("id"), number)
            return self._asked(fields, name, where)
        except InputError as error:
            return BrokenRow(name, where, f"{where}: {error.message}")

    def _fields(self, value: object) -> Mapping[str, object]:
        """The fields that are set: null is as good as none."""
        if isinstance(value, UnreadableRow):
            raise InputError(value.why)
        if not isinstance(value, Mapping):
            raise InputError(f"a row is an object with fields, and this is {value!r:.60}")
        return {name: one for name, one in value.items() if one is not None and name not in self.ignored}

    def _asked(self, fields: Mapping[str, object], name: str, where: str) -> BatchRow:
        for one in fields:
            if one not in FIELDS and one not in KNOBS:
                raise InputError(
                    f"there is no such field or knob: {one!r}; a row may have {', '.join(FIELDS)} and the knobs of "
                    "steering (docs/knobs.md)"
                )
        steering = self._steering(fields)
        if self.scored:
            return BatchRow(name, where, Prompt(), None, steering, _text(fields, "text", of="scored"))
        if "text" in fields:
            raise InputError("`text` is for rows that are scored (--score); what is asked is `prompt` or `messages`")
        prompt = self._prompt(fields, "prompt", "messages")
        if prompt is None:
            raise PromptError("the row has neither a prompt nor messages")
        return BatchRow(name, where, prompt, self._prompt(fields, "pair_prompt", "pair_messages"), steering)

    def _steering(self, fields: Mapping[str, object]) -> Steering:
        """The knobs of the batch with those of a row, within the bounds of what a stranger may ask for."""
        said = {name: _listed(name, value) for name, value in fields.items() if name in KNOBS}
        try:
            knobs = read_knobs(said, but=FIXED)
            check_bounds(knobs)
        except KnobMistake as mistake:
            raise InputError(f"the knob {mistake.name}: {mistake.message}") from None
        return replace(self.steering, **knobs)  # type: ignore[arg-type]  # knobs as `read_knobs` gave them

    def _prompt(self, fields: Mapping[str, object], plain: str, turns: str) -> Prompt | None:
        """The prompt of one side; None where the row has none. Raises InputError."""
        if plain in fields and turns in fields:
            raise InputError(f"the row has both {plain!r} and {turns!r}")
        if turns in fields:
            if self.raw:
                raise InputError(f"{turns!r} are turns, and --raw is for text without turns")
            return Prompt(messages=_messages(fields[turns], turns))
        if plain not in fields:
            return None
        text = _text(fields, plain, of="a prompt")
        if self.raw:
            return Prompt(text=text)
        system = fields.get("system", self.system) if plain == "prompt" else ""
        if not isinstance(system, str):
            raise InputError(f"'system' must be text, not {system!r:.60}")
        return Prompt.ask(text, system=system or None)


def _name(value: object, number: int) -> str:
    """The name of a row. Raises InputError for one that is neither text nor a whole number."""
    if value is None:
        return str(number)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"'id' must be text or a whole number, not {value!r:.60}")


def _text(fields: Mapping[str, object], name: str, *, of: str) -> str:
    value = fields.get(name)
    if value is None:
        raise PromptError(f"the row has no {name!r}, the text of what is {of}")
    if not isinstance(value, str):
        raise InputError(f"{name!r} must be text, not {value!r:.60}")
    if not value.strip():
        raise PromptError(f"{name!r} is empty")
    return value


def _messages(value: object, name: str) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise InputError(f'{name!r} must be a list of {{"role": ..., "content": ...}}, not {value!r:.60}')
    return tuple(_message(one, f"{name}[{at}]") for at, one in enumerate(value))


def _message(value: object, where: str) -> Message:
    if not isinstance(value, Mapping) or set(value) != {"role", "content"}:
        raise InputError(f'{where!r} must be {{"role": ..., "content": ...}}, not {value!r:.60}')
    role, content = value["role"], value["content"]
    if not isinstance(role, str) or not isinstance(content, str):
        raise InputError(f"role and content of {where!r} must be text, not {value!r:.60}")
    return Message(role, content)


def _listed(name: str, value: object) -> object:
    """A stop text by itself is a list of one, as in OpenAI's requests."""
    return [value] if name == "stop" and isinstance(value, str) else value


def only_once(rows: Iterable[BatchRow | BrokenRow]) -> list[BatchRow | BrokenRow]:
    """The same rows; one whose id an earlier row has is broken: nobody could tell their answers apart."""
    first: dict[str, str] = {}
    return [_single(row, first.setdefault(row.id, row.where)) for row in rows]


def _single(row: BatchRow | BrokenRow, first: str) -> BatchRow | BrokenRow:
    if first == row.where:
        return row
    return BrokenRow(row.id, row.where, f"{row.where}: {first} has the id {row.id!r} too")
