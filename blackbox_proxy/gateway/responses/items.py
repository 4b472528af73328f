"""The input of a request to /responses: its items become the turns of a chat. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from blackbox_proxy.gateway.turns import Turn, Turns, role_of, unsupported
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text")


def read_input(body: Body) -> Turns:
    """The turns that `instructions` and `input` hold: instructions are a system's turn before everything."""
    read, given = Turns(), body.get("input")
    if body.get("instructions") is not None:
        read.add({"role": "system", "content": fields.text(body["instructions"], "instructions")}, "instructions")
    if isinstance(given, str):
        read.add({"role": "user", "content": fields.text(given, "input")}, "input")
        return read
    if not isinstance(given, list):
        raise fields.wrong_type("input", "a string or an array of items", given)
    if not given:
        raise Refusal("Invalid 'input': empty array. Expected at least 1 item.", param="input")
    for at, item in enumerate(given):
        _read_item(fields.mapping(item, f"input[{at}]"), f"input[{at}]", read)
    if not read.turns:
        raise Refusal("Invalid 'input': it has no message.", param="input")
    read.places.append(f"input[{len(given)}]")
    return read


def _read_item(item: Body, place: str, read: Turns) -> None:
    match item.get("type"):
        case None | "message":
            read.add(_message(item, place), place)
        case "function_call":
            read.add_call(_call(item, place), place)
        case "function_call_output":
            read.add(_output(item, place), place)
        case "reasoning":
            _refuse_thoughts(item, place)
        case "item_reference":
            raise unsupported(f"{place}.type", "'item_reference': this server keeps no items; send the item itself")
        case other:
            raise unsupported(
                f"{place}.type",
                f"{fields.shown(other)}: this server reads items of type 'message', 'function_call' and "
                "'function_call_output'",
            )


def _message(item: Body, place: str) -> Turn:
    return {"role": role_of(item, place, _ROLES), "content": _text(item.get("content"), f"{place}.content")}


def _call(item: Body, place: str) -> Turn:
    name, arguments = (fields.text(item.get(key), f"{place}.{key}") for key in ("name", "arguments"))
    function = {"name": name, "arguments": arguments}
    return {"id": fields.text(item.get("call_id"), f"{place}.call_id"), "type": "function", "function": function}


def _output(item: Body, place: str) -> Turn:
    call = fields.text(item.get("call_id"), f"{place}.call_id")
    return {"role": "tool", "tool_call_id": call, "content": _text(item.get("output"), f"{place}.output")}


def _text(content: object, place: str) -> str:
    """A string, or parts that hold text."""
    if isinstance(content, list):
        return "".join(
            _part(fields.mapping(part, f"{place}[{at}]"), f"{place}[{at}]") for at, part in enumerate(content)
        )
    if not isinstance(content, str):
        raise fields.wrong_type(place, "a string or an array of parts", content)
    return fields.text(content, place)


def _part(part: Body, place: str) -> str:
    kind = part.get("type")
    if kind == "refusal" and part.get("refusal") in (None, ""):
        return ""
    if kind not in _TEXTS:
        raise unsupported(
            f"{place}.type", f"{fields.shown(kind)}: this server reads parts of type 'input_text' and 'output_text'"
        )
    return fields.text(part.get("text"), f"{place}.text")


def _refuse_thoughts(item: Body, place: str) -> None:
    """Raises Refusal for reasoning that says something: no template here writes it down."""
    for name in ("summary", "content", "encrypted_content"):
        if _says_something(item.get(name)):
            raise unsupported(f"{place}.{name}", "reasoning is not given to this model; leave the item out")


def _says_something(value: object) -> bool:
    """Whether a field has text: a string, or parts of which one has some."""
    if isinstance(value, list):
        return any(not isinstance(part, Mapping) or bool(part.get("text")) for part in value)
    return bool(value)
