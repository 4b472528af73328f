"""One question to a hosted model, put in one of the adapter's ways after another until a reply can be used.

Where an endpoint is only asked in words to go on from a text and does not, or refuses a schema, there may be another
way. Knows no transport: whoever sends hands in what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

from blackbox_proxy.errors import ApiBusy, ApiRefused, PromptError, ReplyCut, ReplyError
from blackbox_proxy.ledger.attempts import BookedAttempts
from blackbox_proxy.remote.lengths import fewer_tokens
from blackbox_proxy.types import Adapter, Ask, Draw, Echo, Generate, Reply, Score, Usage, WireRequest

ECHO = -1
"""Stands among the ways for a draft that a schema demands; where that is refused, nothing is told of it."""

UNTOLD = Reply((), None, Usage())
"""Of a draft that is not sent again, or was refused."""

_OF_FIELDS = (400, 422)
_STUMBLE = 500
_UNPARSED = "does not match the expected"
"""What llama.cpp's server says where it cannot read what the model wrote inside its own grammar."""
_OF_SCHEMAS = ("response_format", "text.format", "schema", "pattern", "grammar", "structured output")
"""What a refusal of structured output names, in small letters."""
_OF_TOOLS = ("tool", "function")
"""What one of tools names."""


@final
@dataclass(slots=True)
class Question:
    """One question in the first way whose reply can be used.

    Attributes:
        ask: As it is put now.
        adapter: Translates it, and what came.
        attempts: Where its requests are counted and booked.
        refused: Ways that are not tried any more (`Api.refused_ways`).
        ways: Those in which it has not been asked yet.
        reply: The reply that can be used, once there is one.
    """

    ask: Ask
    adapter: Adapter
    attempts: BookedAttempts
    refused: set[int]
    ways: list[int] = field(default_factory=list)
    reply: Reply | None = None

    @classmethod
    def of(cls, ask: Ask, adapter: Adapter, attempts: BookedAttempts, *, refused: set[int]) -> Question:
        able = adapter.capabilities()
        attempts.repeats = isinstance(ask, Draw) or (able.chat and isinstance(ask, Echo | Score))
        if not isinstance(ask, Generate) or not ask.prefix.answer:
            return cls(ask, adapter, attempts, refused)
        attempts.repeats = able.chat
        first, *rest = [way for way in range(able.ways) if way not in refused] or [able.ways - 1]
        return cls(replace(ask, way=first), adapter, attempts, refused, rest)

    @property
    def is_moot(self) -> bool:
        """Whether it is a draft, and the endpoint has refused the schema of one."""
        return isinstance(self.ask, Echo) and ECHO in self.refused

    def request(self) -> WireRequest:
        return self.attempts.book(self.adapter.encode(self.ask), length=self.ask.length)

    def read(self, body: Mapping[str, object]) -> None:
        """Take the reply, or ask with more room, or in the next way. Raises ReplyError where nothing else is left."""
        try:
            self.reply = self.adapter.decode(body, self.ask)
        except ReplyError as error:
            if not (isinstance(error, ReplyCut) and self._makes_room()) and not self._goes_over():
                raise

    def refuse(self, error: ApiRefused | ApiBusy | PromptError) -> None:
        """Ask for fewer tokens where there is no room for so many; in the next way where a schema is refused.

        Or where the endpoint fails over a reply to one. Raises the error where it is another one.
        """
        if isinstance(self.ask, Generate | Draw) and (fewer := fewer_tokens(self.ask.length, error)) is not None:
            self.ask = replace(self.ask, length=fewer)
            return
        if isinstance(error, PromptError):
            raise error
        said, way = error.message.lower(), self.ask.way if isinstance(self.ask, Generate) else 0
        schema = error.status in _OF_FIELDS and any(word in said for word in _OF_SCHEMAS)
        failed = error.status == _STUMBLE and _UNPARSED in said
        if (schema or failed) and isinstance(self.ask, Echo):
            way, self.reply = ECHO, replace(UNTOLD, calls=tuple(self.attempts.calls))
        elif isinstance(self.ask, Generate | Draw) and self._is_unmet(error, schema=schema or failed):
            self._leave_out()
            return
        elif not (schema or failed) or not self._goes_over():
            raise error
        if schema:
            self.refused.add(way)

    def _is_unmet(self, error: ApiRefused | ApiBusy, *, schema: bool) -> bool:
        """Whether what the endpoint was to do by itself, hold to a schema or call tools, is what it refuses."""
        if not isinstance(self.ask, Generate | Draw):
            return False
        words = error.message.lower()
        tools = error.status in _OF_FIELDS and any(word in words for word in _OF_TOOLS)
        return bool((self.ask.schema and schema) or (self.ask.tools and (tools or schema)))

    def _leave_out(self) -> None:
        """Leave that out of a draw; of any other answer nothing is told then."""
        if isinstance(self.ask, Draw):
            self.ask = replace(self.ask, schema="", tools="")
        else:
            self.reply = replace(UNTOLD, calls=tuple(self.attempts.calls))

    def counted(self) -> Reply:
        """The reply with all attempts; one that stands for a refused draft has no attempt of its own."""
        if self.reply is None:
            raise TypeError("a question is counted when it is answered")
        return self.reply if self.reply.calls else self.attempts.counted([self.reply])[0]

    def _makes_room(self) -> bool:
        """Whether it had not been asked with more room."""
        if not isinstance(self.ask, Generate) or self.ask.roomy:
            return False
        self.ask = replace(self.ask, roomy=True)
        return True

    def _goes_over(self) -> bool:
        """Whether there was another way."""
        if not self.ways or not isinstance(self.ask, Generate):
            return False
        self.ask = replace(self.ask, way=self.ways.pop(0), roomy=False)
        return True
