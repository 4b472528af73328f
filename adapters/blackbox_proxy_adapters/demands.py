"""The fields of a request that demand JSON of a schema. Pure; the module knows no answer."""

from __future__ import annotations

from collections.abc import Mapping

NAME = "answer"
"""What the schema is called on the wire."""


def schema_fields(schema: Mapping[str, object], *, strict: bool, responses: bool) -> dict[str, object]:
    """The fields that hold an answer to a schema.

    Args:
        schema: The schema.
        strict: Whether it is to be obeyed to the letter, which OpenAI does of closed ones alone.
        responses: Whether the route is /responses.
    """
    named = {"name": NAME, "strict": strict, "schema": schema}
    if responses:
        return {"text": {"format": {"type": "json_schema", **named}}}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def is_closed(schema: object) -> bool:
    """Whether every object of a schema has all its properties and no others: what OpenAI's strict mode asks for."""
    if isinstance(schema, list):
        return all(map(is_closed, schema))
    if not isinstance(schema, dict):
        return True
    properties, required = schema.get("properties"), schema.get("required")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    if isinstance(properties, dict) and (not isinstance(required, list) or any(p not in required for p in properties)):
        return False
    return all(map(is_closed, schema.values()))
