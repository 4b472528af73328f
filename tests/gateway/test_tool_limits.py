"""Limits inside the arguments of tools: any model's call ends, what is shorter is not refused, all of it is valid."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.constraints import Grammar, JsonSchema
from blackbox_proxy.core.jsonparts import JsonPart, PartLimits
from blackbox_proxy.core.jsontext import JsonLimits, JsonSpot, JsonSpots, reached
from blackbox_proxy.gateway.tool_grammar import held_to_tools
from blackbox_proxy.guidance import ConstraintAcceptor, limits_of
from blackbox_proxy.openai_http.tool_text import BARE, CALL, TAGGED
from blackbox_proxy.openai_http.tools import Tool, ToolMode, ToolSet
from blackbox_proxy.run.notes import constraint_notes
from blackbox_proxy.steering import Steering
from tests.properties.test_limit_properties import HUGE, SMALL, Schema, by_chance, longest, satisfiable, schemas

NOTES = Tool("note", parameters=json.dumps({"type": "object", "properties": {"text": {"type": "string"}}}))
arguments = st.dictionaries(st.sampled_from("ab"), schemas, max_size=2).map(
    lambda named: {
        "type": "object",
        "properties": named,
        "required": sorted(named),
        "additionalProperties": False,
    }
)


def held(schema: Schema, *, mode: ToolMode = "required") -> Grammar:
    """What one call of a tool with these arguments is held to."""
    tools = ToolSet((Tool("f", parameters=json.dumps(schema)),), mode, parallel=False)
    _, constraint = held_to_tools(tools, None)
    assert isinstance(constraint, Grammar)
    return constraint


@given(schema=arguments, seed=st.integers(0, 2**16), bare=st.booleans())
def test_a_call_of_any_model_ends_and_is_valid(schema: Schema, seed: int, bare: bool) -> None:  # noqa: FBT001
    satisfiable(schema)
    constraint = held(schema, mode="auto" if bare else "required")
    form = BARE if bare else TAGGED
    rng, accepts = random.Random(seed), ConstraintAcceptor(constraint, limits=SMALL)
    text, most = form.head("f").encode(), longest(schema, SMALL) + len(form.head("f") + form.closing)
    while not accepts.is_over(text) and len(text) <= most:
        text += accepts.forced(text) or rng.choice(accepts.starts(text))
    assert accepts.is_over(text), text
    written = text.decode().removeprefix(form.head("f")).removesuffix(form.closing)
    jsonschema.validate(json.loads(written), schema)


@given(schema=arguments, seed=st.integers(0, 2**16), size=st.integers(1, 12))
def test_arguments_may_be_what_an_answer_of_their_schema_may_be(schema: Schema, seed: int, size: int) -> None:
    satisfiable(schema)
    text, _ = by_chance(schema, seed, HUGE, most=80)
    alone, head = ConstraintAcceptor(JsonSchema.of(schema), limits=SMALL), TAGGED.head("f").encode()
    within = ConstraintAcceptor(held(schema), limits=SMALL)
    for at in range(len(text)):
        if at and not alone.follows(text[: at - 1], text[at - 1 : at]):
            break
        assert within.follows(head + text[:at], text[at : at + size]) == alone.follows(text[:at], text[at : at + size])


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("form", [TAGGED, BARE])
def test_a_string_of_arguments_ends_at_the_usual_limit_and_a_note_says_so(mode: ToolMode, form: object) -> None:
    call = TAGGED if form is TAGGED or mode == "required" else BARE
    _, constraint = held_to_tools(ToolSet((NOTES,), mode), None)
    assert constraint is not None
    accepts = ConstraintAcceptor(constraint)
    text = f'{call.head("note")}{{"text": "{"a" * 3_999}'.encode()
    assert accepts.follows(text, b"a")
    assert not accepts.follows(text, b"aa")
    assert accepts.follows(text + b"a", f'"}}{call.closing}'.encode())
    assert accepts.forced(text + b"a") == b'"'
    said = constraint_notes(Steering(constraint=constraint), "stop", text + b'a"}' + call.closing.encode())
    assert any("4,000 characters of a string" in note for note in said)


def test_each_tool_has_the_limits_that_its_own_schema_states() -> None:
    long = Tool("long", parameters=json.dumps({"properties": {"text": {"type": "string", "maxLength": 5_000}}}))
    _, constraint = held_to_tools(ToolSet((NOTES, long), "required"), None)
    assert constraint is not None
    accepts = ConstraintAcceptor(constraint)
    for name, most in (("note", 4_000), ("long", 5_000)):
        first = TAGGED.head("note") + '{"text": "a"}' + TAGGED.closing + "\n"
        for before in ("", first):
            text = f'{before}{TAGGED.head(name)}{{"text": "{"a" * (most - 1)}'.encode()
            assert accepts.follows(text, b"a")
            assert not accepts.follows(text, b"aa")


def test_text_before_a_call_has_no_limits() -> None:
    _, constraint = held_to_tools(ToolSet((NOTES,)), None)
    assert constraint is not None
    accepts = ConstraintAcceptor(constraint)
    for text in ('Say "' + "a" * 5_000, "9" * 99, "[" * 40, "{" + '"a": 1, ' * 300):
        assert accepts.follows(text.encode(), b"a")
        assert accepts.follows(text.encode(), f"\n{CALL}".encode())


def test_a_form_beside_tools_is_limited_as_without_them() -> None:
    _, constraint = held_to_tools(ToolSet((NOTES,)), JsonSchema('{"type": "string"}'))
    assert constraint is not None
    accepts = ConstraintAcceptor(constraint)
    assert not accepts.follows(b'"' + b"a" * 4_000, b"a")
    assert accepts.follows(b"", f'{TAGGED.head("note")}{{"text": "{"a" * 3_999}'.encode())
    assert limits_of(Grammar('start: "a"')) is None


def test_a_place_is_in_the_part_that_stands_there() -> None:
    limits = PartLimits([JsonPart(b"<a>", JsonLimits(string=3)), JsonPart(b"", JsonLimits(string=5), is_all=True)])
    spots = JsonSpots(limits.start)
    for text, words in (
        (b'"abcd', None),
        (b'"abcde', "5 characters of a string"),
        (b'<a>{"b": "abc', "3 characters of a string"),
        (b'<a>{"b": "ab', None),
        (b'<a>{"b": 1} "abcdef', None),
        (b'<a>{"b": 1} <a>{"b": "abc', "3 characters of a string"),
        (b"<a", None),
    ):
        assert limits.words(spots.at(text)) == words
    assert spots.at(b"<a>").spot == JsonSpot()
    assert reached(limits, b'<a>{"b": "abc"}<a>{"b": "abc"}') == ["3 characters of a string"]
