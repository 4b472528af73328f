"""Where a keyword stands in a schema, and what of a schema is too much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_proxy.constraints import Grammar, JsonSchema, OneOf, Regex
from blackbox_proxy.core.schemaplaces import subschemas
from blackbox_proxy.errors import InputError
from blackbox_proxy.guidance import ConstraintAcceptor
from blackbox_proxy.rehearsal import rehearse


@pytest.mark.parametrize(
    ("schema", "said", "place"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "/uniqueItems"),
        ({"properties": {"not": {"items": {"not": {}}}}}, "not", "/properties/not/items/not"),
        ({"$defs": {"a/b": {"format": "x"}}, "$ref": "#/$defs/a~1b"}, "format: x", "/$defs/a~1b/format"),
        ({"allOf": [{}, {"properties": {"a": {"contains": {}}}}]}, "contains", "/allOf/1/properties/a/contains"),
        ({"items": {"$ref": "https://example.com/x"}}, "example.com", "/items/$ref"),
        ({"items": {"type": ["what", "null"]}}, "what", "/items/type"),
        ({"items": {"minLength": 1.5}}, "minLength", "/items/minLength"),
        ({"prefixItems": [{"oneOf": [{"minimum": 1}, {"type": "number"}]}]}, "oneOf", "/prefixItems/0/oneOf"),
        ({"properties": {"a": {}}, "maxProperties": 3}, "maxProperties", "/maxProperties"),
        ({"enum": [{"not": 1}, {}], "dependentRequired": {}}, "dependentRequired", "/dependentRequired"),
        ({"items": {"multipleOf": 99_991}}, "multipleOf", "/items/multipleOf"),
        ({"items": {"properties": {f"p{n}": {} for n in range(2_001)}}}, "2,000 fields", "/items/properties"),
    ],
)
def test_a_keyword_that_cannot_be_obeyed_is_named_with_its_place(
    schema: Mapping[str, Any], said: str, place: str
) -> None:
    with pytest.raises(InputError) as refused:
        ConstraintAcceptor(JsonSchema.of(schema))
    assert said in refused.value.message
    assert f"(at {place})" in refused.value.message


def test_only_schemas_are_looked_at() -> None:
    schema = {"enum": [{"items": {}}], "const": {"not": {}}, "properties": {"enum": {"anyOf": [{}, True]}}}
    assert [pointer for pointer, _ in subschemas(schema)] == ["", "/properties/enum", "/properties/enum/anyOf/0"]


@pytest.mark.parametrize(
    "constraint",
    [
        JsonSchema.of({"$ref": "#"}),
        JsonSchema.of({"allOf": [{"$ref": "#"}]}),
        JsonSchema.of({"type": "integer", "minimum": 3, "maximum": 2}),
        JsonSchema.of({"not": {}}),
        Grammar('start: "a" start'),
    ],
)
def test_what_nothing_satisfies_is_refused(constraint: JsonSchema | Grammar) -> None:
    with pytest.raises(InputError, match="cannot be obeyed"):
        ConstraintAcceptor(constraint)


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    for depth in (200, 2_000, 100_000):
        with pytest.raises(InputError, match=r"deep|recursion"):
            ConstraintAcceptor(JsonSchema('{"items": ' * depth + "{}" + "}" * depth))
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"items": deep}
    with pytest.raises(InputError, match="deep"):
        JsonSchema.of(deep)


@pytest.mark.parametrize(
    "constraint",
    [
        JsonSchema.of({"enum": [f"value number {n}" for n in range(10_000)]}),
        JsonSchema.of({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1_000)}}),
        Regex("((a{1,100}){1,100}){1,100}"),
        Regex("(a|b)*a(a|b){30}"),
        OneOf(tuple(f"option {n}" for n in range(1_000))),
        Grammar('start: start start | "a"'),
    ],
)
def test_large_ones_are_held_to(constraint: JsonSchema | Regex | OneOf | Grammar) -> None:
    accepts = ConstraintAcceptor(constraint)
    text = b""
    for _ in range(12):
        text += accepts.forced(text) or next(iter(accepts.starts(text)), b"")
    assert text


def json_grammar(schema: Mapping[str, Any]) -> str:
    """As llguidance writes it."""
    return json.dumps({"grammars": [{"json_schema": schema}]})


def test_a_grammar_that_takes_too_long_or_too_much_is_stopped() -> None:
    fields = {f"p{n}": {"type": "string"} for n in range(2_000)}
    with pytest.raises(InputError, match="too much memory"):
        rehearse(json_grammar({"type": "object", "properties": fields}), "the schema", growth=1 << 20)
    many = {f"p{n}": {"type": "string"} for n in range(12_000)}
    with pytest.raises(InputError, match="more than 1 seconds"):
        rehearse(json_grammar({"type": "object", "properties": many}), "the schema", cpu_seconds=1)
    assert rehearse(json_grammar({"type": "string"}), "the schema") == ""
    assert "uniqueItems" in rehearse(json_grammar({"uniqueItems": True}), "the schema")
