"""What an endpoint is left to do by itself, where it can: hold an answer to a JSON schema, and call tools.

It is not believed: what it writes is held against the constraint here. Knows no wire format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from blackbox_proxy.api import Endpoint
from blackbox_proxy.constraints import Grammar, JsonSchema
from blackbox_proxy.core.decoding.api_answer import SchemaDemand
from blackbox_proxy.guidance import UNLIMITED, ConstraintAcceptor, is_allowed, respelt
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import CalledTool, DrawnAnswer, OfferedTool, Prompt, Reply, ToolChat


def demand_of(steering: Steering, api: Endpoint) -> SchemaDemand | None:
    """The schema that an endpoint can hold its whole answer to by itself; None where there is none, or it cannot."""
    constraint = steering.constraint
    if not schema_of(steering, api) or not isinstance(constraint, JsonSchema) or not steering.chooses_nothing:
        return None
    return SchemaDemand(constraint.text, lambda text, whole: is_allowed(constraint, text, whole=whole))


def schema_of(steering: Steering, api: Endpoint) -> str:
    """The schema that an endpoint can be given beside a question, as text; "" where there is none, or it takes none."""
    able = api.capabilities().schemas and steering.event == "bytes" and not steering.stop
    return steering.constraint.text if able and isinstance(steering.constraint, JsonSchema) else ""


@final
@dataclass(frozen=True, slots=True)
class NativeTools:
    """A chat with tools that an endpoint is sent as such, and the grammar that its answers are held to.

    Attributes:
        chat: What is sent, and how calls are written.
        grammar: What the answer is held to, as a text.
    """

    chat: ToolChat
    grammar: Grammar

    @classmethod
    def of(cls, prompt: Prompt, steering: Steering, api: Endpoint) -> NativeTools | None:
        """The tools of a prompt; None where it has none, the endpoint knows none, or a stop string could cut a call."""
        able = api.capabilities().tools and steering.event == "bytes" and not steering.stop and steering.way != "chunks"
        if not able or prompt.tools is None or not isinstance(steering.constraint, Grammar):
            return None
        return cls(prompt.tools, steering.constraint)

    def written(self, drawn: DrawnAnswer) -> bytes | None:
        """An answer as text, with its calls; None for one that the grammar does not allow.

        Arguments are spelt as they would be here; those of a call that was cut are left as they are.
        """
        whole, calls = drawn.finish == "stop", drawn.calls
        cut = calls[-1] if calls and not whole else None
        parts = [drawn.text] if drawn.text else []
        for call in calls if cut is None else calls[:-1]:
            if (said := self._call(call)) is None:
                return None
            parts.append(said)
        if cut is None:
            return self._allowed(self.chat.between.join(parts), "", whole=whole)
        tool = self._tool(cut)
        if tool is None or not is_allowed(JsonSchema(tool.schema), cut.arguments.encode(), whole=False):
            return None
        return self._allowed(self.chat.between.join([*parts, tool.opening]), cut.arguments, whole=False)

    def _tool(self, call: CalledTool) -> OfferedTool | None:
        return next((tool for tool in self.chat.offered if tool.name == call.name), None)

    def _call(self, call: CalledTool) -> str | None:
        """A call as text; None for one of no tool, or with other arguments than its schema has."""
        tool = self._tool(call)
        if tool is None:
            return None
        spells = ConstraintAcceptor(JsonSchema(tool.schema), limits=UNLIMITED)
        arguments = respelt(call.arguments.encode("utf-8", "replace"), spells)
        return None if arguments is None else f"{tool.opening}{arguments.decode()}{self.chat.closing}"

    def _allowed(self, text: str, behind: str, *, whole: bool) -> bytes | None:
        """A text, with what stands behind it, where the grammar allows the text."""
        said = text.encode("utf-8", "replace")
        return said + behind.encode("utf-8", "replace") if is_allowed(self.grammar, said, whole=whole) else None

    def as_texts(self, reply: Reply) -> Reply:
        """A reply with the calls of its answers written as text; of one that is not allowed, what it calls."""
        return replace(reply, drawn=tuple(map(self._as_text, reply.drawn)))

    def _as_text(self, drawn: DrawnAnswer) -> DrawnAnswer:
        written = self.written(drawn)
        text = self._shown(drawn) if written is None else written.decode()
        return replace(drawn, text=text, calls=(), logp=None if drawn.calls else drawn.logp)

    def _shown(self, drawn: DrawnAnswer) -> str:
        """What an answer says and calls, for somebody to read; with calls it is none that the grammar allows."""
        calls = (f"{self.chat.mark}{call.name}: {call.arguments}" for call in drawn.calls)
        return self.chat.between.join([*([drawn.text] if drawn.text else []), *calls])
