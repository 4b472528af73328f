"""Answers that are held to a schema, an expression or a list: by OpenAI's field, and by vLLM's and llama.cpp's."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.nonsense import WRONG
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
        ({"top_k": -2}, "top_k", ">= -1"),
    ],
)
def test_what_cannot_be_obeyed_is_a_400_that_names_it(
    served: str, wanted: dict[str, Any], param: str | None, said: str
) -> None:
    reply = post(served, "/v1/chat/completions", {**ASKED, **wanted})
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param
    assert said in reply.json["error"]["message"]


def test_whole_answers_are_held_to_it_or_it_is_said_that_none_fits(served: str) -> None:
    drawn = {**ASKED, "steering": {"way": "answers"}, "max_tokens": 4, "seed": 3}
    anything = post(served, "/v1/chat/completions", {**drawn, "guided_regex": "(?s:.*)"})
    assert anything.status == 200, anything.body
    plain = post(served, "/v1/chat/completions", drawn).json["choices"]
    assert anything.json["choices"] == plain
    none = post(served, "/v1/chat/completions", {**drawn, "response_format": {"type": "json_object"}})
    assert none.status == 422, none.body
    assert none.json["error"]["code"] == "constraint_unsatisfied"
    assert "constraint asks for" in none.json["error"]["message"]


WRONG_ONES = [
    (field, value)
    for field in ("guided_json", "guided_grammar", "guided_regex", "guided_choice", "structured_outputs")
    for value in WRONG[field]
]


def test_each_that_cannot_be_obeyed_is_a_400_on_both_routes(served: str) -> None:
    for number, (field, value) in enumerate(WRONG_ONES):
        route = ("/v1/chat/completions", "/v1/completions")[number % 2]
        asked = ASKED if "chat" in route else {"model": "steered", "prompt": "the then", "max_tokens": 60}
        reply = post(served, route, {**asked, field: value})
        assert reply.status == 400, (field, str(value)[:200], reply.body[:300])
        assert reply.json["error"]["message"]


def resident() -> int:
    """Bytes of memory of this process, in which the gateway runs."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


HEAVY: list[dict[str, Any]] = [
    {"guided_json": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1_000)}}},
    {"guided_json": {"enum": [f"value {n}" for n in range(8_000)]}},
    {"guided_json": {"type": "string", "allOf": [{"pattern": f"(a|b)*a(a|b){{{n}}}"} for n in range(4, 16)]}},
    {"guided_json": {"prefixItems": [{"type": "string", "pattern": f"(a|b)*a(a|b){{9}}{n}"} for n in range(900)]}},
    {"guided_json": {"type": "integer", "multipleOf": 9_973}},
    {"guided_json": {"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}}},
    {"guided_regex": "((a{1,100}){1,100}){1,100}"},
    {"guided_regex": "|".join(f"(a|b)*a(a|b){{{n % 10}}}{n}" for n in range(5_000))},
    {
        "guided_grammar": "start: "
        + " | ".join(f"r{n}" for n in range(2_000))
        + "".join(f'\nr{n}: "a{n}"' for n in range(2_000))
    },
    {"guided_grammar": 'start: x\nx: x x x | x x | "a" | ""'},
]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read where Linux tells it")
def test_hostile_ones_are_answered_in_time_and_leave_no_memory_behind(served: str) -> None:
    """Each by a 400 that says why, or held to; a client that waits is told within its time.

    The first rounds fill what is kept: the compiled ones, and a heap for each thread.
    """
    asked = {**ASKED, "max_tokens": 1}
    for wanted in HEAVY * 3:
        post(served, "/v1/chat/completions", {**asked, **wanted})
    before = resident()
    for wanted in HEAVY * 2:
        reply = post(served, "/v1/chat/completions", {**asked, **wanted})
        assert reply.status in {200, 400}, reply.body[:300]
    assert resident() - before < 32 << 20
