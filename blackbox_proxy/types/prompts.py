"""What is asked: chats and raw text, checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blackbox_proxy.errors import InputError, PromptError


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    Attributes:
        role: `system`, `user` or `assistant`, as the endpoint knows it.
        content: Its text.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        _require_text(self.role, "the role of a message")
        _require_text(self.content, "the content of a message")


WRITTEN = (
    'Prompt.ask("Hello") is a chat of one turn, Prompt((Message("user", "Hello"),)) one of any length, and '
    'Prompt(text="Once upon a time") is raw text'
)
"""How a prompt is written from Python."""


def _require_text(value: object, what: str) -> None:
    """Raise PromptError where a value is no text: annotations bind nobody."""
    if not isinstance(value, str):
        raise PromptError(f"{what} must be a str, not {value!r:.60}", hint=WRITTEN)


def _turns(given: object) -> tuple[Message, ...]:
    """The messages of a prompt. Raises PromptError for what is no list of them, such as a question by itself."""
    if not isinstance(given, tuple | list):
        raise PromptError(f"the messages of a prompt are a tuple of Message, not {given!r:.60}", hint=WRITTEN)
    for one in given:
        if not isinstance(one, Message):
            raise PromptError(f"a message of a prompt must be a Message, not {one!r:.60}", hint=WRITTEN)
    return tuple(given)


def _check_text(text: str) -> None:
    """Raise PromptError for what no UTF-8 text can hold: half a surrogate pair."""
    half = re.search("[\ud800-\udfff]", text)
    if half:
        raise PromptError(
            f"the prompt is not UTF-8: it holds {ascii(half[0])[1:-1]} at character {half.start()}",
            hint="remove that character, or convert the text, with iconv for instance",
        )


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that an answer may call.

    Attributes:
        name: What it is called.
        schema: The schema of its arguments, as JSON.
        opening: What stands in an answer before the arguments of a call of it.
    """

    name: str
    schema: str
    opening: str


@dataclass(frozen=True, slots=True)
class ToolChat:
    """A chat as an endpoint that knows tools by itself is sent it (`Capabilities.tools`), and how calls are written.

    Attributes:
        fields: The fields of the request that tell the turns and the tools, as one JSON object.
        offered: The tools that may be called.
        mark: What a call begins with, and no text holds.
        closing: What stands behind the arguments of a call.
        between: What stands between two calls, and between text and a call.
    """

    fields: str
    offered: tuple[OfferedTool, ...]
    mark: str
    closing: str
    between: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model reads before the answer: a chat, or raw text in the model's own form.

    Attributes:
        messages: Turns, rendered by a chat template where an endpoint takes raw text.
        text: Raw text, in place of messages.
        tools: The same chat for an endpoint that knows tools, where the messages describe some; None elsewhere.
    """

    messages: tuple[Message, ...] = ()
    text: str = ""
    tools: ToolChat | None = None

    def __post_init__(self) -> None:
        _require_text(self.text, "the text of a prompt")
        object.__setattr__(self, "messages", _turns(self.messages))
        if self.messages and self.text:
            raise InputError("a prompt is either a list of messages or raw text, not both")
        for text in (self.text, *(message.content + message.role for message in self.messages)):
            _check_text(text)

    @classmethod
    def ask(cls, question: str, *, system: str | None = None) -> Prompt:
        """A chat of one user turn, with an optional system turn before it."""
        _require_text(question, "a question")
        before = (Message("system", system),) if system else ()
        return cls(messages=(*before, Message("user", question)))
