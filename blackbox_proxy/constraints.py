"""What an answer may be held to: a JSON schema, a regular expression, a few strings, or a grammar. Frozen data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from blackbox_proxy.errors import InputError


def _too_deep() -> InputError:
    return InputError("the schema is nested too deeply to be read", hint="name its parts in $defs, and refer to them")


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer is JSON that a schema describes.

    White space is fixed: a blank after each comma and colon, and none elsewhere.

    Attributes:
        text: The schema, as JSON.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            schema = json.loads(self.text)
        except ValueError as error:
            raise InputError(f"the schema is no JSON: {error}", hint="give a JSON object that is a schema") from None
        except RecursionError:
            raise _too_deep() from None
        if not isinstance(schema, dict):
            raise InputError(
                f"a schema is a JSON object, not {self.text[:40]!r}", hint='for instance {"type": "object"}'
            )

    @classmethod
    def of(cls, schema: Mapping[str, object]) -> JsonSchema:
        """The constraint of a schema that is a mapping.

        >>> JsonSchema.of({"type": "integer"}).text
        '{"type": "integer"}'
        """
        try:
            return cls(json.dumps(schema, ensure_ascii=False))
        except RecursionError:
            raise _too_deep() from None


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole answer matches a regular expression, of the kind that has no look-around and no references back.

    Attributes:
        pattern: The expression.
    """

    pattern: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """The answer is one of a few strings.

    Attributes:
        options: The strings.
    """

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.options or not all(self.options):
            raise InputError(f"an answer can be one of some strings that are not empty, not of {self.options}")


@dataclass(frozen=True, slots=True)
class JsonWithin:
    """JSON that stands in a text of another form.

    Attributes:
        before: What stands in front of it.
        schema: Its schema, as JSON.
        is_all: Whether nothing else stands in front, since the beginning of the text or the JSON before.
    """

    before: str
    schema: str
    is_all: bool = False


@dataclass(frozen=True, slots=True)
class Grammar:
    """The answer is a sentence of a context-free grammar.

    Attributes:
        lark: The grammar, in the form of Lark as llguidance reads it; its first rule is `start`.
        parts: Where JSON stands in a sentence, which is limited as an answer that is JSON; empty where nobody says.
    """

    lark: str
    parts: tuple[JsonWithin, ...] = ()


Constraint = JsonSchema | Regex | OneOf | Grammar
"""What an answer may be held to."""
