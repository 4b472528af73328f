"""Reads what a request holds its answer to: OpenAI's `response_format`, and the fields of vLLM and llama.cpp. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blackbox_proxy.constraints import Constraint, Grammar, JsonSchema, OneOf, Regex
from blackbox_proxy.errors import InputError
from blackbox_proxy.guidance import ConstraintAcceptor
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

LONGEST = 200_000
"""Most characters of a schema, an expression or a grammar that a stranger may have compiled."""

MOST_OPTIONS = 1000
"""Most strings of which an answer may be one."""

_ANY_OBJECT: Body = {"type": "object"}


def read_constraint(body: Body) -> Constraint | None:
    """What the answer is held to; None where it is not.

    Raises Refusal for what cannot be obeyed, in the words of the grammar engine, and for more than one constraint.
    """
    given = {param: read(body) for param, read in _READERS.items()}
    constraints = {param: constraint for param, constraint in given.items() if constraint is not None}
    if len(constraints) > 1:
        names = " and ".join(f"'{param}'" for param in constraints)
        raise Refusal(f"{names} exclude each other; send one of them.", param=[*constraints][1])
    for param, constraint in constraints.items():
        _check(constraint, param)
        return constraint
    return None


def _check(constraint: Constraint, param: str) -> None:
    try:
        ConstraintAcceptor(constraint)
    except InputError as error:
        raise Refusal(f"Invalid '{param}': {error.message}.", param=param, code="invalid_value") from None


def _response_format(body: Body) -> Constraint | None:
    if body.get("response_format") is None:
        return None
    requested = fields.mapping(body["response_format"], "response_format")
    match requested.get("type"):
        case "text":
            return None
        case "json_object":
            return _schema(_ANY_OBJECT, "response_format")
        case "json_schema":
            described = fields.mapping(requested.get("json_schema"), "response_format.json_schema")
            return _schema(described.get("schema"), "response_format.json_schema.schema")
        case other:
            raise Refusal(
                f"Invalid 'response_format.type': {other!r:.60}; there are 'text', 'json_object' and 'json_schema'.",
                param="response_format.type",
                code="invalid_value",
            )


def _structured_outputs(body: Body) -> Constraint | None:
    """vLLM's `structured_outputs`, an object with one of the kinds."""
    if body.get("structured_outputs") is None:
        return None
    requested = fields.mapping(body["structured_outputs"], "structured_outputs")
    kinds = [name for name in requested if requested[name] not in (None, False)]
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        raise Refusal(
            f"Invalid 'structured_outputs': it must have one of {', '.join(_KINDS)}.", param="structured_outputs"
        )
    return _KINDS[kinds[0]](requested[kinds[0]], f"structured_outputs.{kinds[0]}")


def _guided(name: str) -> Callable[[Body], Constraint | None]:
    """The reader of a field of its own: vLLM's older `guided_...`, and llama.cpp's `json_schema`."""
    kind = name.removeprefix("guided_").removesuffix("_schema")

    def read(body: Body) -> Constraint | None:
        return None if body.get(name) is None else _KINDS[kind](body[name], name)

    return read


def _schema(value: object, param: str) -> Constraint:
    schema = fields.mapping(value, param)
    constraint = JsonSchema.of(schema)
    _check_length(constraint.text, param)
    return constraint


def _regex(value: object, param: str) -> Constraint:
    return Regex(_check_length(fields.text(value, param), param))


def _choice(value: object, param: str) -> Constraint:
    if not isinstance(value, list) or not value:
        raise fields.wrong_type(param, "a list of strings", value)
    if len(value) > MOST_OPTIONS:
        raise Refusal(f"Invalid '{param}': {len(value)} strings; at most {MOST_OPTIONS} are read.", param=param)
    options = tuple(fields.text(option, param) for option in value)
    if not all(options):
        raise Refusal(f"Invalid '{param}': an empty string.", param=param, code="invalid_value")
    _check_length("".join(options), param)
    return OneOf(options)


def _grammar(value: object, param: str) -> Constraint:
    return Grammar(_check_length(fields.text(value, param), param))


def _any_object(_value: object, param: str) -> Constraint:
    return _schema(_ANY_OBJECT, param)


def _check_length(text: str, param: str) -> str:
    if len(text) > LONGEST:
        raise Refusal(
            f"Invalid '{param}': {len(text):,} characters; at most {LONGEST:,} are read.",
            param=param,
            code="invalid_value",
        )
    return text


_KINDS: Mapping[str, Callable[[object, str], Constraint]] = {
    "json": _schema,
    "json_object": _any_object,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
}
"""What constrains an answer, as vLLM names it."""

_READERS: Mapping[str, Callable[[Body], Constraint | None]] = {
    "response_format": _response_format,
    "structured_outputs": _structured_outputs,
    **{
        name: _guided(name)
        for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "json_schema")
    },
}
"""The fields that constrain, with their readers."""
