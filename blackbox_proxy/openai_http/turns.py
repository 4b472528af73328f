"""Reads the turns of a chat, and whether its last one is to be gone on with instead of answered.

An assistant's turn at the end is finished unless something says otherwise: `continue_final_message` in the request, or
`prefix` or `partial` in the message. Calls of tools and their results are refused here (`tool_turns` reads them): a
template that is given the text alone would show an empty turn and an answer to nothing. The module is pure; it knows no
template and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body
from blackbox_proxy.types import Message, Prompt

ROLES = ("system", "developer", "user", "assistant")
FLAGS = ("prefix", "partial")
"""Fields of a last message that ask for it to be gone on with: Mistral's and DeepSeek's, Kimi's and Qwen's."""
OF_TOOLS = ("tool", "function")
"""Roles of results that tools give."""

_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "tool_calls": ([],),
    "function_call": (),
    "audio": (),
    "refusal": ("",),
}
"""What a turn may hold besides its text, and what it holds where it says nothing."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A chat whose last turn is to be gone on with. partial: what the assistant has said of it so far.

    repeated: whether the answer begins with `partial` once more.
    """

    turns: tuple[Message, ...]
    partial: str
    repeated: bool = False


def read_turns(body: Body) -> Prompt | Unfinished:
    """The messages of a request."""
    messages = read_messages(body.get("messages"), "messages")
    if not is_continued(body):
        return Prompt(messages=messages)
    *turns, last = messages
    if last.role != "assistant":
        raise _refused("Only a final message of role 'assistant' can be continued.", param="messages")
    return Unfinished(tuple(turns), last.content)


def is_continued(body: Body) -> bool:
    """Whether something asks for the last turn to be gone on with. Raises Refusal where that makes no sense."""
    asked = fields.boolean(body, "continue_final_message")
    if asked and fields.boolean(body, "add_generation_prompt"):
        raise _refused("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    given = body.get("messages")
    turns = given if isinstance(given, list) else []
    flagged = [(at, name) for at, turn in enumerate(turns) for name in FLAGS if _is_flagged(turn, at, name)]
    if any(at < len(turns) - 1 for at, _ in flagged):
        at, name = flagged[0]
        raise _refused(f"Only the last message may have '{name}'.", param=f"messages[{at}].{name}")
    continued = asked or bool(flagged)
    if not continued and body.get("add_generation_prompt") is False:
        raise _refused("'add_generation_prompt' may only be false with 'continue_final_message'.")
    return continued


def _is_flagged(turn: object, at: int, name: str) -> bool:
    if not isinstance(turn, dict) or turn.get(name) is None:
        return False
    if not isinstance(turn[name], bool):
        raise fields.wrong_type(f"messages[{at}].{name}", "a boolean", turn[name])
    return bool(turn[name])


def _refused(message: str, *, param: str = "add_generation_prompt") -> fields.Refusal:
    return fields.Refusal(message, param=param, code="invalid_value")


def read_messages(value: object, param: str, *, parts: Collection[str] = ("text",)) -> tuple[Message, ...]:
    """The turns of an array. parts: the types of parts that hold text. Raises Refusal for anything else."""
    return tuple(
        read_message(item, f"{param}[{at}]", parts=parts) for at, item in enumerate(check_messages(value, param))
    )


def check_messages(value: object, param: str) -> Sequence[object]:
    """An array that is not empty. Raises Refusal for anything else."""
    if not isinstance(value, list):
        raise fields.wrong_type(param, "an array of objects", value)
    if not value:
        raise fields.Refusal(f"Invalid '{param}': empty array. Expected at least 1 message.", param=param)
    return value


def read_message(value: object, param: str, *, parts: Collection[str] = ("text",)) -> Message:
    """One turn. A `developer` speaks as `system`, the word that chat templates know."""
    message = fields.mapping(value, param)
    role = message.get("role")
    if role in OF_TOOLS:
        raise fields.Refusal(
            f"Unsupported value: '{param}.role' does not support '{role}' with this model: it calls no tools.",
            param=f"{param}.role",
            code="unsupported_value",
        )
    if role not in ROLES:
        raise fields.Refusal(
            f"Invalid value: {fields.shown(role)}. Supported values are: {', '.join(map(repr, ROLES))}.",
            param=f"{param}.role",
            code="invalid_value",
        )
    fields.refuse_unsupported(message, _NEUTRAL, within=f"{param}.")
    content = read_content(message.get("content"), f"{param}.content", parts=parts, nothing=role == "assistant")
    return Message("system" if role == "developer" else str(role), content)


def read_content(content: object, param: str, *, parts: Collection[str] = ("text",), nothing: bool) -> str:
    """What a message says, as a string or as an array of texts. nothing: whether it may be null."""
    if content is None:
        if not nothing:
            raise fields.wrong_type(param, "a string or an array of text parts", content)
        return ""
    if isinstance(content, list):
        return "".join(_text_part(part, f"{param}[{at}]", parts) for at, part in enumerate(content))
    return fields.text(content, param)


def _text_part(value: object, param: str, parts: Collection[str]) -> str:
    part = fields.mapping(value, param)
    if part.get("type") not in parts:
        expected = " and ".join(map(repr, parts))
        raise fields.Refusal(
            f"Invalid value: {fields.shown(part.get('type'))}. This model reads parts of type {expected} only.",
            param=f"{param}.type",
            code="invalid_value",
        )
    return fields.text(part.get("text"), f"{param}.text")
