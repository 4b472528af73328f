"""Answers that are held to a schema, an expression or a list: by OpenAI's field, and by vLLM's and llama.cpp's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.standin.raw import post

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["kind", "legs"],
    "additionalProperties": False,
}


def nested(depth: int) -> dict[str, Any]:
    """A schema inside of so many others."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


ASKED = {"model": "steered", "messages": [{"role": "user", "content": "the then"}], "max_tokens": 60}


def fits(text: str) -> bool:
    value = json.loads(text)
    return set(value) == {"kind", "legs"} and value["kind"] in {"cat", "dog"} and 0 <= value["legs"] <= 9


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize(
    "wanted",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        {"structured_outputs": {"json": SCHEMA}},
        {"guided_json": SCHEMA},
        {"json_schema": SCHEMA},
    ],
)
def test_a_schema_holds_the_answer(served: str, wanted: dict[str, Any], temperature: int) -> None:
    reply = post(served, "/v1/chat/completions", {**ASKED, **wanted, "temperature": temperature, "seed": 3})
    assert reply.status == 200, reply.body
    (choice,) = reply.json["choices"]
    assert fits(choice["message"]["content"])
    assert choice["finish_reason"] == "stop"


def test_a_stream_is_held_to_it_too(served: str) -> None:
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
    lines = post(served, "/v1/chat/completions", {**ASKED, **wanted, "stream": True}).events
    chunks = [json.loads(line) for line in lines[:-1]]
    assert fits("".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]))


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ({"guided_choice": ["yes", "no", "né"]}, {"yes", "no", "né"}),
        ({"structured_outputs": {"choice": ["yes"]}}, {"yes"}),
        ({"guided_regex": "(a|b)-[0-3]"}, {f"{a}-{n}" for a in "ab" for n in range(4)}),
        ({"structured_outputs": {"grammar": 'start: "x" ("y" | "z")'}}, {"xy", "xz"}),
    ],
)
def test_other_constraints_hold_it(served: str, wanted: dict[str, Any], allowed: set[str]) -> None:
    for route, prompt in (("chat/completions", {}), ("completions", {"prompt": "the then", "messages": None})):
        reply = post(served, f"/v1/{route}", {**ASKED, **prompt, **wanted})
        assert reply.status == 200, reply.body
        choice = reply.json["choices"][0]
        assert (choice["message"]["content"] if "message" in choice else choice["text"]) in allowed


@pytest.mark.parametrize("format_", [{"type": "text"}, None])
def test_text_is_not_held_to_anything(served: str, format_: object) -> None:
    plain = post(served, "/v1/chat/completions", ASKED).json["choices"]
    assert post(served, "/v1/chat/completions", {**ASKED, "response_format": format_}).json["choices"] == plain


@pytest.mark.parametrize(
    ("wanted", "param", "said"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "object"),
        ({"guided_json": {"type": "array", "uniqueItems": True}}, "guided_json", "uniqueItems"),
        ({"guided_json": nested(100)}, "guided_json", "recursion"),
        ({"guided_regex": "(?=a)b"}, "guided_regex", "look-around"),
        ({"guided_regex": "a" * 200_001}, "guided_regex", "200,000"),
        ({"guided_choice": []}, "guided_choice", "list"),
        ({"guided_choice": ["a", ""]}, "guided_choice", "empty"),
        ({"structured_outputs": {"json": {}, "regex": "a"}}, "structured_outputs", "one of"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice", "exclude"),
        ({"grammar": "root ::= x"}, "grammar", "not supported"),
        ({"top_k": 5}, "top_k", "not supported"),
        ({"min_tokens": 3}, "min_tokens", "not supported"),
        ({"bad_words": ["a"]}, "bad_words", "not supported"),
        ({"response_format": {"type": "json_object"}, "steering": {"way": "answers"}}, None, "constraint"),
    ],
)
def test_what_cannot_be_obeyed_is_a_400_that_names_it(
    served: str, wanted: dict[str, Any], param: str | None, said: str
) -> None:
    reply = post(served, "/v1/chat/completions", {**ASKED, **wanted})
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param
    assert said in reply.json["error"]["message"]
