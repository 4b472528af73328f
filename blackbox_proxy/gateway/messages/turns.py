"""The messages of a request to /messages: their blocks become the turns of a chat. Pure."""

from __future__ import annotations

import json

from blackbox_proxy.gateway.turns import Turn, Turns, role_of, unsupported
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

FAILED = "The tool failed:\n"
"""What stands before a result that says of itself that it is an error."""

_ROLES = ("user", "assistant", "system")
_BLOCKS = "this server reads blocks of type 'text', an assistant's 'tool_use' and a user's 'tool_result'"


def read_messages(body: Body) -> Turns:
    """The turns of `system` and `messages`. Raises Refusal for blocks that hold no text."""
    read, given = Turns(), body.get("messages")
    if body.get("system") is not None:
        read.add({"role": "system", "content": text_of(body["system"], "system")}, "system")
    if not isinstance(given, list):
        raise fields.wrong_type("messages", "an array of objects", given)
    if not given:
        raise Refusal("Invalid 'messages': empty array. Expected at least 1 message.", param="messages")
    for at, item in enumerate(given):
        _read_message(fields.mapping(item, f"messages[{at}]"), f"messages[{at}]", read)
    if read.turns[-1]["role"] == "assistant":
        raise Refusal(
            "Unsupported: the last message is an assistant's, and a turn cannot be gone on with here. "
            "End with a message of role 'user'.",
            param="messages",
            code="unsupported_value",
        )
    read.places.append(f"messages[{len(given)}]")
    return read


def _read_message(item: Body, place: str, read: Turns) -> None:
    role, content = role_of(item, place, _ROLES), item.get("content")
    if isinstance(content, str):
        read.add({"role": role, "content": fields.text(content, f"{place}.content")}, place)
        return
    if not isinstance(content, list) or not content:
        raise fields.wrong_type(f"{place}.content", "a string or an array of blocks", content)
    begin = len(read.turns)
    for at, value in enumerate(content):
        where = f"{place}.content[{at}]"
        block = fields.mapping(value, where)
        match block.get("type"):
            case "text":
                _add_text(
                    {"role": role, "content": fields.text(block.get("text"), f"{where}.text")}, where, read, begin=begin
                )
            case "tool_use" if role == "assistant":
                read.add_call(_call(block, where), where)
            case "tool_result" if role == "user":
                read.add(_result(block, where), where)
            case other:
                raise unsupported(f"{where}.type", f"{fields.shown(other)} in a message of role '{role}': {_BLOCKS}")


def _add_text(turn: Turn, place: str, read: Turns, *, begin: int) -> None:
    """Blocks of text that follow each other in one message, whose turns begin at `begin`, are one text."""
    last = read.turns[-1] if len(read.turns) > begin else {}
    if last.get("role") == turn["role"] and "tool_calls" not in last:
        last["content"] += turn["content"]
    else:
        read.add(turn, place)


def _call(block: Body, place: str) -> Turn:
    name, call_id = (fields.text(block.get(key), f"{place}.{key}") for key in ("name", "id"))
    try:
        arguments = json.dumps(fields.mapping(block.get("input"), f"{place}.input"), ensure_ascii=False)
    except RecursionError:
        raise Refusal(f"Invalid '{place}.input': nested too deeply.", param=f"{place}.input") from None
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(block: Body, place: str) -> Turn:
    """What a tool gave; one that failed says so, since a chat has no other place for it."""
    said = "" if block.get("content") is None else text_of(block["content"], f"{place}.content")
    failed = FAILED if fields.boolean({"is_error": block.get("is_error")}, "is_error") else ""
    call = fields.text(block.get("tool_use_id"), f"{place}.tool_use_id")
    return {"role": "tool", "tool_call_id": call, "content": failed + said}


def text_of(content: object, place: str) -> str:
    """A string, or blocks of text."""
    if not isinstance(content, list):
        return fields.text(content, place)
    texts = []
    for at, value in enumerate(content):
        block = fields.mapping(value, f"{place}[{at}]")
        if block.get("type") != "text":
            raise unsupported(f"{place}[{at}].type", f"{fields.shown(block.get('type'))}: {_BLOCKS}")
        texts.append(fields.text(block.get("text"), f"{place}[{at}].text"))
    return "".join(texts)
