"""Structured output: what a request demands of an answer's form, and the mask that keeps an answer to it.

    {"response_format": {"type": "json_schema", "json_schema": {"name", "strict", "schema"}}}      chat
    {"text": {"format": {"type": "json_schema", "name", "strict", "schema"}}}                      responses

`json_object` is any JSON object. The module knows no HTTP; the grammar is llguidance's (`guidance`).
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import anyio
import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.standin.guidance import Guidance, GuidedMatcher, allowed, schema_text
from blackbox_proxy.types import Logits

OBJECT = schema_text({"type": "object"})
"""The schema of `json_object`."""


def read_chat_format(body: Body) -> str:
    """The schema that a chat demands; "" for none. Raises Refusal for a format that is none."""
    form = body.get("response_format")
    if form is None:
        return ""
    given = fields.mapping(form, "response_format")
    if given.get("type") == "json_schema":
        nested = fields.mapping(given.get("json_schema"), "response_format.json_schema")
        return _schema(nested, "response_format.json_schema")
    return _plain(given, "response_format")


def read_response_format(body: Body) -> str:
    """The same of /responses, where only the format may be said of `text`."""
    text = body.get("text")
    form = None if text is None else fields.mapping(text, "text").get("format")
    if form is None:
        return ""
    given = fields.mapping(form, "text.format")
    return _schema(given, "text.format") if given.get("type") == "json_schema" else _plain(given, "text.format")


def _schema(given: Body, where: str) -> str:
    if not given.get("name"):
        raise Refusal(f"Missing required parameter: '{where}.name'.", param=f"{where}.name")
    return schema_text(fields.mapping(given.get("schema"), f"{where}.schema"))


def _plain(given: Body, where: str) -> str:
    if given.get("type") == "json_object":
        return OBJECT
    if given.get("type") == "text":
        return ""
    message = f"Invalid value: {fields.shown(given.get('type'))}. Supported: 'json_schema', 'json_object' and 'text'."
    raise Refusal(message, param=f"{where}.type", code="invalid_value")


@final
class AnswerMask:
    """Keeps one answer to a schema. Used by one thread at a time."""

    def __init__(self, matcher: GuidedMatcher) -> None:
        self._matcher = matcher

    def over(self, logits: Logits) -> Logits:
        """The logits where what may not come next has none, shape (V,)."""
        masked: Logits = np.where(allowed(self._matcher, len(logits)), logits, np.float32(-np.inf))
        return masked

    def take(self, token: int) -> None:
        """Note the token that comes next."""
        self._matcher.consume_token(token)


@final
class Formats:
    """The masks of one vocabulary, whose tokens llguidance reads at the first schema.

    free: what is forced may be spelt in any tokens. delay: seconds that the first use of a schema takes.
    """

    def __init__(self, vocabulary: Vocabulary, *, free: bool = False, delay: float = 0.0) -> None:
        self._vocabulary = vocabulary
        self._free = free
        self._delay = delay
        self._seen: set[str] = set()

    @cached_property
    def _guidance(self) -> Guidance:
        return Guidance(self._vocabulary)

    def check(self, schema: str) -> None:
        """Raises Refusal for a schema that cannot be obeyed, or where llguidance is not installed."""
        if schema:
            self.begin(schema)

    async def wait(self, schema: str) -> None:
        """Take the time of a schema that is new; for `json_object` and for no schema nobody has to wait."""
        if self._delay and schema not in ("", OBJECT) and schema not in self._seen:
            await anyio.sleep(self._delay)
            self._seen.add(schema)

    def begin(self, schema: str) -> AnswerMask | None:
        """The mask of a new answer; None where nothing is demanded."""
        if not schema:
            return None
        try:
            return AnswerMask(self._guidance.begin(schema, free=self._free))
        except InputError as error:
            message = f"Invalid schema for response_format: {error.message} ({error.hint})."
            raise Refusal(message, param="response_format", code="invalid_schema") from error
