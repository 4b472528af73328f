"""Properties of the limits beside a schema: any model's answer ends, what is shorter is not refused, all is valid."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blackbox_proxy.constraints import JsonSchema, Regex
from blackbox_proxy.core.jsontext import JsonLimits, JsonSpot, JsonSpots, limits_beside
from blackbox_proxy.guidance import ConstraintAcceptor, limits_of
from blackbox_proxy.run.notes import constraint_notes
from blackbox_proxy.steering import Steering

Schema = Mapping[str, Any]

SMALL = JsonLimits(string=5, number=4, items=3, depth=2)
HUGE = JsonLimits(10**6, 10**6, 10**6, 10**6)
ESCAPED = 6
"""Most bytes of a character in a string: a control character is written as `\\u0000`."""

leaves: st.SearchStrategy[Schema] = st.one_of(
    st.builds(lambda n: {"type": "string", "minLength": n}, st.integers(0, 9)),
    st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 9)),
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "number"},
            {"type": "integer"},
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "boolean"},
            {"enum": ["a", "ab", 7, None]},
            {},
            {"type": "object"},
            {"type": "array"},
        ]
    ),
)


def containers(parts: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Arrays and objects of some parts."""
    names = st.lists(st.sampled_from("abcd"), unique=True, max_size=4)
    return st.one_of(
        st.builds(lambda items, n: {"type": "array", "items": items, "minItems": n}, parts, st.integers(0, 5)),
        st.builds(
            lambda named, required, rest: {
                "type": "object",
                "properties": named,
                "required": [name for name in required if name in named],
                "additionalProperties": rest,
            },
            st.dictionaries(st.sampled_from("abcd"), parts, max_size=4),
            names,
            st.one_of(st.just(False), parts),
        ),
    )


schemas = st.recursive(leaves, containers, max_leaves=5)


def longest(schema: Schema, limits: JsonLimits, *, inside: int = 0) -> int:
    """Most bytes of any answer; obvious, and generous. inside: how many arrays and objects are open around it."""
    text: int = 2 + ESCAPED * max(limits.string, schema.get("minLength", 0), schema.get("maxLength", 0))
    number: int = limits.number + 3
    if "enum" in schema:
        return max(len(json.dumps(value)) for value in schema["enum"])
    kind = schema.get("type")
    if kind in {"string", "number", "integer", "boolean"}:
        return {"string": text, "boolean": 5}.get(kind, number)
    deep = inside >= limits.depth
    any_part = longest({}, limits, inside=inside + 1) if not deep else max(text, number)
    if kind is None:
        return max(text, number, 2 if deep else 2 + limits.items * (text + any_part + 4))
    if kind == "array":
        item = longest(schema["items"], limits, inside=inside + 1) if "items" in schema else any_part
        count: int = max(1 if deep else limits.items, schema.get("minItems", 0))
        return 2 + count * (item + 2)
    named = [longest(one, limits, inside=inside + 1) for one in schema.get("properties", {}).values()]
    rest = schema.get("additionalProperties", {})
    other = 0 if rest is False else text + (longest(rest, limits, inside=inside + 1) if rest else any_part) + 4
    return 2 + sum(size + 7 for size in named) + limits.items * other


def by_chance(schema: Schema, seed: int, limits: JsonLimits, *, most: int) -> tuple[bytes, bool]:
    """What a model that finds all bytes equally likely answers; and whether it came to an end."""
    rng, accepts, text = random.Random(seed), ConstraintAcceptor(JsonSchema.of(schema), limits=limits), b""
    while len(text) <= most:
        if accepts.is_over(text):
            return text, True
        if forced := accepts.forced(text):
            text += forced
            continue
        may_end = accepts.follows(text, b"")
        piece = rng.choice([*accepts.starts(text), *([b""] if may_end else [])])
        if not piece:
            return text, True
        text += piece
    return text, False


def satisfiable(schema: Schema) -> None:
    """Leave a schema out that nothing satisfies, or that llguidance does not take."""
    try:
        ConstraintAcceptor(JsonSchema.of(schema))
    except Exception:  # noqa: BLE001 (it is not what is tested)
        assume(False)


@given(schemas, st.integers(0, 2**16))
def test_an_answer_of_any_model_ends_within_a_number_of_bytes_and_is_valid(schema: Schema, seed: int) -> None:
    satisfiable(schema)
    bound = longest(schema, SMALL)
    text, ended = by_chance(schema, seed, SMALL, most=bound)
    assert ended, text
    jsonschema.validate(json.loads(text), schema)


@given(schemas, st.integers(0, 2**16))
def test_nothing_that_is_shorter_than_the_limits_is_refused(schema: Schema, seed: int) -> None:
    satisfiable(schema)
    text, _ = by_chance(schema, seed, SMALL, most=400)
    wide = JsonLimits(string=60, number=60, items=60, depth=60)
    limited, free = (ConstraintAcceptor(JsonSchema.of(schema), limits=one) for one in (wide, HUGE))
    for size in range(len(text) + 1):
        assert limited.starts(text[:size]) == free.starts(text[:size])
        assert limited.forced(text[:size]) == free.forced(text[:size])
        assert limited.follows(text[:size], b"") == free.follows(text[:size], b"")


@given(schemas, st.integers(0, 2**16), st.integers(1, 12))
def test_a_piece_is_allowed_where_its_bytes_are_one_by_one(schema: Schema, seed: int, size: int) -> None:
    satisfiable(schema)
    accepts = ConstraintAcceptor(JsonSchema.of(schema), limits=SMALL)
    text, _ = by_chance(schema, seed, HUGE, most=60)
    legal = next((at for at in range(len(text)) if not accepts.follows(text[:at], text[at : at + 1])), len(text))
    for at in range(legal):
        assert accepts.follows(text[:at], text[at : at + size]) == (at + min(size, len(text) - at) <= legal)


@given(st.recursive(st.text(max_size=8) | st.floats(allow_nan=False) | st.none(), st.lists, max_leaves=6))
def test_a_place_counts_what_is_open(value: object) -> None:
    places, text = JsonSpots(JsonSpot()), json.dumps(value, ensure_ascii=False).encode()
    whole = places.at(text)
    assert whole.opened == ()
    for size in range(len(text)):
        fresh = JsonSpot()
        for byte in text[:size]:
            fresh = fresh.after(byte)
        assert places.at(text[:size]) == fresh


@given(st.text(max_size=12))
def test_a_string_is_as_long_as_its_meaning(text: str) -> None:
    for escaped in (False, True):
        spelt = json.dumps(text, ensure_ascii=escaped).encode()[:-1]
        beyond = sum(ord(letter) > 0xFFFF for letter in text) if escaped else 0
        assert JsonSpots(JsonSpot()).at(spelt).run == len(text) + beyond


@pytest.mark.parametrize(
    ("schema", "limits"),
    [
        ({"type": "string"}, JsonLimits()),
        ({"maxLength": 9_000}, JsonLimits(string=9_000)),
        ({"items": {"minLength": 5_000}, "maxItems": 3}, JsonLimits(string=5_000)),
        ({"anyOf": [{"maxItems": 1_000}, {"minProperties": 2_000}]}, JsonLimits(items=2_000)),
        ({"maximum": 10**40}, JsonLimits(number=41)),
        ({"maxLength": 1e999, "maxItems": True, "minimum": "x"}, JsonLimits()),
    ],
)
def test_a_limit_of_the_schemas_wins(schema: Schema, limits: JsonLimits) -> None:
    assert limits_beside(schema) == limits


def test_a_text_that_the_schema_allows_to_be_longer_than_usual_is_written() -> None:
    accepts = ConstraintAcceptor(JsonSchema('{"type": "string", "maxLength": 5000}'))
    assert accepts.follows(b'"' + b"a" * 4_999, b"a")
    assert accepts.forced(b'"' + b"a" * 5_000) == b'"'
    usual = ConstraintAcceptor(JsonSchema('{"type": "string"}'))
    assert not usual.follows(b'"' + b"a" * 4_000, b"a")
    assert usual.forced(b'"' + b"a" * 4_000) == b'"'


def test_only_a_schema_has_limits() -> None:
    assert limits_of(Regex("a*")) is None
    assert ConstraintAcceptor(Regex("a*")).follows(b"a" * 100_000, b"a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'"abc"', ""),
        (b'"' + b"a" * 4_000 + b'"', "4,000 characters of a string"),
        (b"[" + b"1, " * 255 + b"1]", "256 items"),
        (b"1" * 32, "32 characters of a number"),
        (b"[" * 17 + b"]" * 17, "16 arrays"),
    ],
)
def test_a_limit_that_was_reached_is_said(text: bytes, said: str) -> None:
    notes = constraint_notes(Steering(constraint=JsonSchema("{}")), "stop", text)
    assert bool(notes) == bool(said)
    assert said in "".join(notes)


@pytest.mark.parametrize("option", [{"lenient": True}, {"whitespace_flexible": True}, {"whitespace_pattern": " +"}])
def test_a_schema_cannot_turn_off_what_holds_for_all(option: Schema) -> None:
    plain = ConstraintAcceptor(JsonSchema('{"type": "array"}'))
    with_option = ConstraintAcceptor(JsonSchema.of({"x-guidance": option, "type": "array"}))
    for text in (b"", b"[", b"[1", b"[1,", b"[1, 2]"):
        assert with_option.starts(text) == plain.starts(text)
    with pytest.raises(Exception, match="uniqueItems"):
        ConstraintAcceptor(JsonSchema.of({"x-guidance": option, "type": "array", "uniqueItems": True}))
