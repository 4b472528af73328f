"""Reads an answer that may call tools, while it is written: text in, text and calls out, in pieces. Pure.

It reads what the grammar of `gateway.tool_grammar` allows; what is not yet certain to be text, or the beginning of a
call, is held back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

from blackbox_proxy.openai_http.tool_text import BARE, BETWEEN, CALL, TAGGED, CallForm
from blackbox_proxy.openai_http.tools import NAME, ToolCall, ToolSet
from blackbox_proxy.openai_http.transcript import Finish

ToolFinish = Literal["stop", "length", "content_filter", "tool_calls"]
"""Why an answer ended; `tool_calls`: it calls tools, and each call is whole."""


@final
@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer's text."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class CallDelta:
    """A call begins, or more of its arguments is known.

    Attributes:
        index: The call, counted from 0.
        arguments: More of the JSON; "" where the call begins.
        name: The tool, where the call begins; "" afterwards.
        id: Likewise.
    """

    index: int
    arguments: str = ""
    name: str = ""
    id: str = ""


AnswerDelta = TextDelta | CallDelta
"""What more of an answer makes known."""

_HEADS = {
    form: re.compile(f"({NAME.pattern})".join(map(re.escape, form.head("\0").split("\0")))) for form in (TAGGED, BARE)
}
_SIGNS = re.compile(r'["\\{}\[\]]')


@final
@dataclass(slots=True)
class ObjectEnd:
    """Finds where a JSON object ends that comes in pieces."""

    depth: int = 0
    in_string: bool = False
    escaped: bool = False

    def within(self, text: str) -> int:
        """How many characters of the next piece belong to the object; all of them where it does not end there."""
        at = 0
        while at < len(text):
            if self.escaped:
                self.escaped = False
                at += 1
                continue
            match = _SIGNS.search(text, at)
            if match is None:
                break
            at = match.end()
            self._read(match[0])
            if self.depth == 0:
                return at
        return len(text)

    def _read(self, sign: str) -> None:
        if sign == "\\":
            self.escaped = self.in_string
        elif sign == '"':
            self.in_string = not self.in_string
        elif not self.in_string:
            self.depth += 1 if sign in "{[" else -1


@final
class AnswerReader:
    """Reads one answer. However its text is cut into pieces, the deltas put together are the same.

    Args:
        new_id: Gives the id of each call.
        tools: The tools that may be called; where its text is held to a form (`ToolSet.stands_alone`), an answer that
            does not begin with a call is text as a whole.
    """

    def __init__(self, new_id: Callable[[], str], tools: ToolSet) -> None:
        self._new_id = new_id
        self._stands_alone = tools.stands_alone
        self._bare = () if tools.mode != "auto" else tuple(BARE.head(tool.name) for tool in tools.offered)
        self._form: CallForm = TAGGED
        self._rest = ""
        self._end = ObjectEnd()
        self._index = -1
        self._read: _State = self._opening

    def take(self, text: str) -> Sequence[AnswerDelta]:
        """What more of the answer makes known."""
        self._rest += text
        return list(self._known())

    def close(self, finish: Finish) -> tuple[Sequence[AnswerDelta], ToolFinish]:
        """What was held back, and why the answer ended: a call that is cut makes it `length`, never `tool_calls`."""
        if self._read in {self._opening, self._in_text, self._in_plain_text}:
            rest, self._rest = self._rest, ""
            return ([TextDelta(rest)] if rest else []), finish
        if finish != "stop":
            return [], finish
        return [], "tool_calls" if self._read == self._behind and self._rest in {"", BETWEEN} else "length"

    def _known(self) -> Iterator[AnswerDelta]:
        """Deltas, until the text at hand has no more."""
        while True:
            before = self._read, len(self._rest)
            delta = self._read()
            if delta is not None:
                yield delta
            if before == (self._read, len(self._rest)):
                return

    def _taken(self, count: int) -> str:
        """The next so many characters, which are read."""
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def _opening(self) -> AnswerDelta | None:
        """At the beginning of an answer."""
        if self._stands_alone:
            if self._rest.startswith(CALL):
                self._read = self._before_arguments
            elif not CALL.startswith(self._rest):
                self._read = self._in_plain_text
        elif self._rest.startswith(self._bare):
            self._form, self._read = BARE, self._before_arguments
        elif not any(head.startswith(self._rest) for head in self._bare):
            self._read = self._in_text
        return None

    def _in_plain_text(self) -> AnswerDelta | None:
        """In text that no call follows."""
        return TextDelta(self._taken(len(self._rest))) if self._rest else None

    def _in_text(self) -> AnswerDelta | None:
        """In text that a call may follow; what parts the two is neither's."""
        at = self._rest.find(CALL)
        if at < 0:
            count = len(self._rest) - _begun(self._rest)
            return TextDelta(self._taken(count)) if count else None
        text = self._taken(at).removesuffix(BETWEEN)
        self._read = self._before_arguments
        return TextDelta(text) if text else None

    def _before_arguments(self) -> AnswerDelta | None:
        match = _HEADS[self._form].match(self._rest)
        if match is None:
            return None
        self._taken(match.end())
        self._index += 1
        self._end, self._read = ObjectEnd(), self._in_arguments
        return CallDelta(self._index, name=match[1], id=self._new_id())

    def _in_arguments(self) -> AnswerDelta | None:
        text = self._taken(self._end.within(self._rest))
        if text and self._end.depth == 0:
            self._read = self._behind_arguments
        return CallDelta(self._index, text) if text else None

    def _behind_arguments(self) -> None:
        if self._rest.startswith(self._form.closing):
            self._taken(len(self._form.closing))
            self._read = self._behind

    def _behind(self) -> None:
        """Behind a call that is whole; another one may follow, or what would part it from this one."""
        if self._rest.startswith(BETWEEN) and self._rest != BETWEEN:
            self._taken(len(BETWEEN))
            self._read = self._before_arguments


_State = Callable[[], AnswerDelta | None]
"""Reads on from one place of an answer."""


def _begun(text: str) -> int:
    """How many characters at the end of a text may be the beginning of a call."""
    begins = BETWEEN + CALL
    lengths = range(min(len(begins) - 1, len(text)), 0, -1)
    return next((n for n in lengths if begins.startswith(text[-n:]) or CALL.startswith(text[-n:])), 0)


def joined_calls(deltas: Sequence[AnswerDelta]) -> tuple[str, tuple[ToolCall, ...]]:
    """The text and the calls that deltas come to."""
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    parts = [delta for delta in deltas if isinstance(delta, CallDelta)]
    begun = [delta for delta in parts if delta.name]
    arguments = ["".join(part.arguments for part in parts if part.index == one.index) for one in begun]
    return text, tuple(ToolCall(one.name, said, one.id) for one, said in zip(begun, arguments, strict=True))
