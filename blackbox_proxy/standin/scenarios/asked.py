"""What a request asks, and which exchange of a scenario that is; of one that is none, what is nearest to it. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from blackbox_proxy.openai_http.fields import Body
from blackbox_proxy.standin.scenarios.answers import END, ScriptedAnswer, following
from blackbox_proxy.standin.scenarios.exchanges import Scenario, ScriptedExchange, TurnPattern

SHOWN = 200
"""Characters of a text that a message shows."""

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)
_LAST = re.compile(r"<\|im_start\|>assistant\n(.*)", re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A turn of a chat. result_of: the tool whose result it is; "" where it is none."""

    role: str
    content: str
    result_of: str = ""


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its turns, and the answer so far. raw: the one turn is a text that goes on into the answer."""

    turns: tuple[AskedTurn, ...]
    partial: bytes = b""
    raw: bool = False

    @property
    def last(self) -> AskedTurn:
        """What is to be answered: the last turn that is not the assistant's."""
        others = [turn for turn in self.turns if turn.role != "assistant"]
        return others[-1] if others else self.turns[-1]


@final
@dataclass(frozen=True, slots=True)
class Fit:
    """An exchange that a request fits. at: its index; so_far: the beginning of its answer that was sent along."""

    at: int
    so_far: bytes


def asked_text(text: str) -> Asked:
    """A raw text; one in ChatML is the chat that it is."""
    turns, at = [], 0
    while turn := _TURN.match(text, at):
        turns.append(AskedTurn(turn[1], turn[2]))
        at = turn.end()
    last = _LAST.fullmatch(text, at)
    if turns and last:
        return Asked(tuple(turns), last[1].encode())
    return Asked((AskedTurn("user", text),), raw=True)


def asked_chat(body: Body, partial: str | None) -> Asked:
    """The messages of a body whose types were looked at. partial: the last one, where it is to be gone on with."""
    given = body.get("messages")
    messages = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    names = dict(_calls(messages))
    turns = tuple(
        AskedTurn(str(one["role"]), _content(one.get("content")), names.get(str(one.get("tool_call_id")), ""))
        for one in messages
    )
    return Asked(turns) if partial is None else Asked(turns[:-1], partial.encode())


def _calls(messages: Sequence[Body]) -> Iterator[tuple[str, str]]:
    """The names of the tools that were called, by the ids of the calls."""
    for message in messages:
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                yield str(call.get("id")), str(function.get("name"))


def _content(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def fits(scenario: Scenario, asked: Asked) -> Iterator[Fit]:
    """The exchanges that a request fits, in their order."""
    for at, exchange in enumerate(scenario.exchanges):
        so_far = _so_far(exchange, asked) if _is_asked(exchange, asked) else None
        if so_far is not None:
            yield Fit(at, so_far)


def _is_asked(exchange: ScriptedExchange, asked: Asked) -> bool:
    """Whether everything but the answer so far fits."""
    turn, pattern = asked.last, exchange.asked
    system = "\n".join(one.content for one in asked.turns if one.role in ("system", "developer"))
    if exchange.system is not None and not exchange.system.matches(system):
        return False
    if pattern.result_of and pattern.result_of != turn.result_of:
        return False
    of_tool = turn.role == "tool" and not pattern.result_of
    is_any = pattern.content.text is None and pattern.content.regex is None
    if of_tool and not is_any:
        return False
    content_fits = asked.raw or pattern.content.matches(turn.content)
    return content_fits and _comes_after(exchange.before, asked)


def _comes_after(before: Sequence[TurnPattern], asked: Asked) -> bool:
    turns = [turn for turn in asked.turns if turn.role not in ("system", "developer")]
    earlier = turns[: turns.index(asked.last)] if asked.last in turns else turns
    if len(earlier) < len(before):
        return False
    pairs = zip(before, earlier[len(earlier) - len(before) :], strict=True)
    return all(pattern.role == turn.role and pattern.content.matches(turn.content) for pattern, turn in pairs)


def _so_far(exchange: ScriptedExchange, asked: Asked) -> bytes | None:
    """The part of the answer that was sent along; None where the exchange says nothing after it."""
    if asked.raw:
        return _split(exchange, asked.last.content)
    if exchange.answer is None:
        return asked.partial if exchange.error is not None or not asked.partial else None
    return asked.partial if following(exchange.answer, asked.partial) is not None else None


def _split(exchange: ScriptedExchange, text: str) -> bytes | None:
    """The longest ending of a raw text that the answer begins with, and before which stands what is asked."""
    pattern, answer = exchange.asked.content, exchange.answer
    if pattern.text is not None:
        rest = text.removeprefix(pattern.text).encode() if text.startswith(pattern.text) else None
        known = rest is not None and (rest == b"" if answer is None else following(answer, rest) is not None)
        return rest if known else None
    for start in _starts(answer, text) if answer is not None else ():
        rest = text[start:].encode()
        if answer is not None and following(answer, rest) is not None and pattern.matches(text[:start]):
            return rest
    return b"" if pattern.matches(text) else None


def _starts(answer: ScriptedAnswer, text: str) -> Iterator[int]:
    """Where the whole first token of an answer stands in a text, from the left."""
    tokens = [branch.piece.decode("utf-8", "ignore") for branch in answer.spot(0).branches if branch.piece != END]
    for start in range(len(text)):
        if any(token and text.startswith(token, start) for token in tokens):
            yield start


def refusal_text(scenario: Scenario, asked: Asked, *, used_up: Sequence[int] = ()) -> str:
    """What to say to a request that no exchange answers. used_up: those that it fits and that may not be begun again.

    Names what was asked, and the exchange that is nearest with what differs.
    """
    said = f"{scenario.name} has no answer to {_shown(asked.last.content)}."
    if asked.last.result_of:
        said = f"{scenario.name} has no answer to a result of {asked.last.result_of}: {_shown(asked.last.content)}."
    for at in used_up:
        exchange = scenario.exchanges[at]
        said += f" {exchange.where} answers that, and was begun {exchange.times} times already, as often as it may be."
    nearest = None if used_up else _nearest(scenario, asked)
    return said if nearest is None else f"{said} Nearest is {nearest.where}: {_difference(nearest, asked)}."


def _shown(text: str) -> str:
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}..."


def _nearest(scenario: Scenario, asked: Asked) -> ScriptedExchange | None:
    def near(exchange: ScriptedExchange) -> tuple[bool, bool, float]:
        pattern = exchange.asked.content
        text = pattern.text if pattern.text is not None else pattern.regex or ""
        alike = difflib.SequenceMatcher(None, text[:2000], asked.last.content[:2000], autojunk=False).ratio()
        return _is_asked(exchange, asked), exchange.asked.result_of == asked.last.result_of, alike

    return max(scenario.exchanges, key=near, default=None)


def _difference(exchange: ScriptedExchange, asked: Asked) -> str:
    """What keeps a request from an exchange."""
    pattern, turn = exchange.asked, asked.last
    if pattern.result_of != turn.result_of:
        return f"asked is {pattern}"
    if not pattern.content.matches(turn.content):
        return f"asked is {pattern}{_first_difference(pattern.content.text, turn.content)}"
    if not _comes_after(exchange.before, asked):
        turns = ", ".join(f"{one.role}: {one.content}" for one in exchange.before)
        return f"before it stand the turns {turns}"
    if exchange.system is not None and not _is_asked(exchange, asked):
        return f"system is {exchange.system}"
    return f"its answer does not begin with {_shown(asked.partial.decode('utf-8', 'replace'))}"


def _first_difference(expected: str | None, actual: str) -> str:
    if expected is None:
        return ""
    at = next((n for n, (one, other) in enumerate(zip(expected, actual, strict=False)) if one != other), None)
    at = min(len(expected), len(actual)) if at is None else at
    return f"; from character {at + 1} on it is {expected[at : at + 40]!r}, and {actual[at : at + 40]!r} was asked"
