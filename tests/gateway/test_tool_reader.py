"""What the grammar of calls allows, and what the reader of answers makes of it: properties, against `json.loads`."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.constraints import Constraint, Grammar, JsonSchema, OneOf, Regex
from blackbox_proxy.gateway.tool_grammar import held_to_tools
from blackbox_proxy.guidance import ConstraintAcceptor
from blackbox_proxy.openai_http.tool_reader import AnswerReader, ToolFinish, joined_calls
from blackbox_proxy.openai_http.tool_text import BARE, BETWEEN, CALL, TAGGED, CallForm, written
from blackbox_proxy.openai_http.tools import Tool, ToolCall, ToolMode, ToolSet
from blackbox_proxy.openai_http.transcript import Finish

SCHEMAS = {
    "go": {
        "type": "object",
        "properties": {"to": {"type": "string", "maxLength": 3}, "by": {"enum": ["car", '"}<']}},
        "required": ["by"],
    },
    "go_on": {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 2}},
        "required": ["steps"],
        "additionalProperties": False,
    },
    "stop": {"type": "object", "properties": {}},
}
TOOLS = tuple(Tool(name, parameters=json.dumps(schema)) for name, schema in SCHEMAS.items())

said = st.text(st.sampled_from('ab \n<>{}"\\é'), max_size=12) | st.sampled_from(
    ["", "Well.", "<tool_cal", '{"name": "go', '{"name": "nobody", "arguments": {}}', "a\n\n", "<tool_call", "\n"]
)
arguments = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a"\\{}[]<>é\n'), max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
calls = st.builds(
    lambda name, value: ToolCall(name, json.dumps({"a": value}, ensure_ascii=False)),
    st.sampled_from(["go", "go_on", "stop"]),
    arguments,
)


def spelt(form: CallForm, listed: Sequence[ToolCall]) -> str:
    return BETWEEN.join(f"{form.head(call.name)}{call.arguments}{form.closing}" for call in listed)


def cut(text: str, places: Sequence[int]) -> list[str]:
    """A text in pieces."""
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in itertools.pairwise([0, *ends, len(text)])]


def read(
    pieces: Sequence[str], tools: ToolSet, finish: Finish = "stop"
) -> tuple[str, tuple[ToolCall, ...], ToolFinish]:
    numbers = itertools.count()
    reader = AnswerReader(lambda: f"id{next(numbers)}", tools)
    deltas = [delta for piece in pieces for delta in reader.take(piece)]
    last, ended = reader.close(finish)
    return *joined_calls([*deltas, *last]), ended


@given(said, st.lists(calls, max_size=3), st.sampled_from([TAGGED, BARE]), st.lists(st.integers(0), max_size=12))
def test_however_an_answer_is_cut_it_is_read_as_it_was_written(
    text: str, listed: list[ToolCall], form: CallForm, places: list[int]
) -> None:
    before = text if form is TAGGED else ""
    answer = BETWEEN.join(([before] if before else []) + ([spelt(form, listed)] if listed else []))
    seen, found, ended = read(cut(answer, places), ToolSet(TOOLS))
    expected = [ToolCall(call.name, call.arguments, f"id{at}") for at, call in enumerate(listed)]
    assert (seen, list(found), ended) == (before, expected, "tool_calls" if listed else "stop")


@given(st.lists(calls, min_size=1, max_size=2), st.integers(0), st.lists(st.integers(0), max_size=5))
def test_an_answer_that_is_cut_short_is_never_one_of_whole_calls(
    listed: list[ToolCall], place: int, places: list[int]
) -> None:
    whole = spelt(TAGGED, listed)
    answer = whole[: place % len(whole)]
    first = len(spelt(TAGGED, listed[:1]))
    ends_with_a_call = len(answer) == first or answer[first:] == BETWEEN
    _, found, ended = read(cut(answer, places), ToolSet(TOOLS, "required"))
    assert (ended == "tool_calls") == ends_with_a_call or answer in CALL
    for call, cut_short in zip(listed, found, strict=False):
        assert call.arguments.startswith(cut_short.arguments)
    assert read([answer], ToolSet(TOOLS, "required"), "length")[2] == "length"


def walk(constraint: Constraint, seed: int, *, begin: str = "", most: int = 900) -> str | None:
    """An answer that the constraint allows, byte by byte by chance; None where it became too long."""
    rng, acceptor, text = random.Random(seed), ConstraintAcceptor(constraint), begin.encode()
    while len(text) < most:
        if acceptor.is_over(text) or (acceptor.follows(text, b"") and rng.random() < 0.3):
            return text.decode("utf-8", "strict")
        forced = acceptor.forced(text)
        starts = [start for start in acceptor.starts(text) if start < b"\x80"]
        likely = [start for start in starts if start in b'"}]<\n']
        text += forced or (rng.choice(likely) if likely and rng.random() < 0.6 else rng.choice(starts))
    return None


FORMS: tuple[Constraint | None, ...] = (
    None,
    JsonSchema.of({"type": "object", "properties": {"a": {"const": CALL}}, "required": ["a"]}),
    Regex("[a<>_toolc]{0,20}"),
    OneOf(("yes", f"{CALL} no", "<")),
)
modes: st.SearchStrategy[ToolMode] = st.sampled_from(["auto", "required"])


@given(
    modes, st.sampled_from(FORMS), st.booleans(), st.integers(0, 2**32), st.sampled_from(["", CALL, BARE.head("go")])
)
def test_what_the_grammar_allows_is_read_as_calls_that_are_valid(
    mode: ToolMode,
    form: Constraint | None,
    parallel: bool,  # noqa: FBT001 (as hypothesis gives it)
    seed: int,
    begin: str,
) -> None:
    tools, constraint = held_to_tools(ToolSet(TOOLS, mode, parallel=parallel), form)
    assert constraint is not None
    if not ConstraintAcceptor(constraint).follows(b"", begin.encode() or b"<"):
        begin = ""
    answer = walk(constraint, seed, begin=begin)
    if answer is None:
        return
    text, found, ended = read(cut(answer, [seed, seed // 7, seed // 11]), tools)
    assert ended == ("tool_calls" if found else "stop")
    assert found or mode == "auto"
    assert parallel or len(found) <= 1
    for call in found:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    if not found:
        assert text == answer
        assert form is not None or CALL not in text
    elif tools.stands_alone or mode == "required":
        assert text == ""


@given(st.lists(calls, min_size=1, max_size=2), said)
def test_only_calls_of_the_schema_are_allowed_and_no_text_behind_them(listed: list[ToolCall], text: str) -> None:
    _, constraint = held_to_tools(ToolSet(TOOLS), None)
    assert constraint is not None
    answer = "\n".join(map(written, listed))
    acceptor = ConstraintAcceptor(constraint)

    def fits(call: ToolCall) -> bool:
        validator = jsonschema.Draft202012Validator(SCHEMAS[call.name])
        return bool(validator.is_valid(json.loads(call.arguments)))

    allowed = acceptor.follows(b"", answer.encode()) and acceptor.follows(answer.encode(), b"")
    assert not allowed or all(map(fits, listed))
    behind = f"{answer}\n{text}x".encode()
    assert not ConstraintAcceptor(constraint).follows(b"", behind)


@pytest.mark.parametrize("only", [(), ("go_on",)])
def test_a_named_tool_is_the_only_one_that_can_be_called(only: tuple[str, ...]) -> None:
    _, constraint = held_to_tools(ToolSet(TOOLS, "required", only), None)
    assert isinstance(constraint, Grammar)
    for name in SCHEMAS:
        begins = TAGGED.head(name).encode()
        assert ConstraintAcceptor(constraint).follows(b"", begins) == (not only or name in only)


def test_free_text_may_say_what_is_no_call_of_a_tool() -> None:
    _, constraint = held_to_tools(ToolSet(TOOLS), None)
    assert constraint is not None
    for text in ("", "<tool_call", '{"name": "Bob", "arguments": {}}', '{"name": "go", "arguments":{"x', "a <b> \n\n"):
        acceptor = ConstraintAcceptor(constraint)
        assert acceptor.follows(b"", text.encode() or b"a")
        assert acceptor.follows(text.encode(), b"")
        assert read([text], ToolSet(TOOLS)) == (text, (), "stop")
