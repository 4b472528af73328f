"""Quirks of requests: what a body turns into before it is read, or why it is refused, and what is read otherwise.

Every one is a pure function; a value of the wrong type is left alone, for the reader to refuse. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as ChatFields
from openai.types.completion_create_params import CompletionCreateParamsStreaming as CompletionFields
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming as ResponseFields

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.turns import FLAGS, Unfinished
from blackbox_proxy.standin.quirks import Quirks
from blackbox_proxy.standin.requests import Source, StandinRequest
from blackbox_proxy.types import Message, Prompt

RouteName = Literal["completions", "chat", "responses"]

KNOWN: Mapping[RouteName, frozenset[str]] = {
    "completions": CompletionFields.__required_keys__ | CompletionFields.__optional_keys__,
    "chat": ChatFields.__required_keys__ | ChatFields.__optional_keys__,
    "responses": ResponseFields.__required_keys__ | ResponseFields.__optional_keys__,
}
"""The fields that OpenAI's own client sends."""

IN_MESSAGES = frozenset(
    (
        "role",
        "content",
        "name",
        "refusal",
        "audio",
        "function_call",
        "tool_calls",
        "tool_call_id",
        "type",
        "id",
        "status",
    )
)
LIMITS: Mapping[RouteName, tuple[str, ...]] = {
    "completions": ("max_tokens",),
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
}
ALTERNATIVES: Mapping[RouteName, str] = {
    "completions": "logprobs",
    "chat": "top_logprobs",
    "responses": "top_logprobs",
}
_OF_LOGPROBS = ("logprobs", "top_logprobs", "include", "logprob_token_ids")


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it came, with what is to be done to it."""

    route: RouteName
    body: Body
    quirks: Quirks


def apply_to_body(body: Body, *, route: RouteName, quirks: Quirks) -> Body:
    """The body as the reader is to see it. Raises Refusal where a quirk refuses it."""
    for name, change in REQUEST_QUIRKS.items():
        if name in quirks:
            body = change(RawRequest(route, body, quirks))
    return body


def apply_to_request(request: StandinRequest, *, quirks: Quirks) -> StandinRequest:
    """The request as the model is to answer it."""
    return replace(request, sources=tuple(_changed_source(source, quirks) for source in request.sources))


def _changed_source(source: Source, quirks: Quirks) -> Source:
    if isinstance(source, str) and "templated-completions" in quirks:
        return Prompt(messages=(Message("user", source),))
    if isinstance(source, Unfinished):
        trimmed = source.partial.rstrip() if "trimmed-prefill" in quirks else source.partial
        return replace(source, partial=trimmed, repeated="echoed-prefix" in quirks)
    return source


def _close_route(raw: RawRequest) -> Body:
    if raw.route in raw.quirks.names("closed-routes"):
        raise Refusal("Invalid URL: this route is not there.", status=404)
    return raw.body


def _refuse_unknown(raw: RawRequest) -> Body:
    status = int(raw.quirks.word("strict-fields"))
    unknown = [name for name in raw.body if name not in KNOWN[raw.route]]
    if unknown:
        words = ", ".join(map(fields.shown, unknown[:5]))
        raise Refusal(f"Unrecognized request argument supplied: {words}", status=status, param=unknown[0][:60])
    for at, turn in enumerate(_turns(raw.body)):
        for name in turn.keys() - IN_MESSAGES if isinstance(turn, dict) else ():
            message = f"Additional properties are not allowed ({fields.shown(name)} was unexpected) - 'messages.{at}'"
            raise Refusal(message, status=status, param=f"messages[{at}]")
    return raw.body


def _turns(body: Body) -> list[object]:
    turns = body.get("messages")
    return turns if isinstance(turns, list) else []


def _refuse_named(raw: RawRequest) -> Body:
    for name in raw.quirks.names("refused-fields"):
        if raw.body.get(name) is None:
            continue
        if name in KNOWN[raw.route]:
            raise _unsupported(name)
        raise Refusal(f"Unrecognized request argument supplied: {name}")
    return raw.body


def _unsupported(name: str, more: str = "") -> Refusal:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{more}"
    return Refusal(message, param=name, code="unsupported_parameter")


def _refuse_older_limit(raw: RawRequest) -> Body:
    if raw.route == "chat" and raw.body.get("max_tokens") is not None:
        raise _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    return raw.body


def _need_no_effort(raw: RawRequest) -> Body:
    """Without reasoning everything is as usual; with it, whatever looks at the next token's distribution is refused."""
    reasoning = raw.body.get("reasoning")
    nested = reasoning.get("effort") if isinstance(reasoning, dict) else None
    effort = nested if raw.route == "responses" else raw.body.get("reasoning_effort")
    if raw.route == "completions" or effort == "none":
        return raw.body
    for name in ("logprobs", "top_logprobs", "include"):
        if raw.body.get(name):
            raise _unsupported(name)
    for name in ("temperature", "top_p"):
        value = raw.body.get(name)
        if value not in (None, 1):
            raise Refusal(
                f"Unsupported value: '{name}' does not support {fields.shown(value)} with this model."
                " Only the default (1) value is supported.",
                param=name,
                code="unsupported_value",
            )
    return raw.body


def _cap_alternatives(raw: RawRequest) -> Body:
    fields.integer(raw.body, ALTERNATIVES[raw.route], low=0, high=raw.quirks.whole("top-k-cap") or 0)
    return raw.body


def _cut_alternatives(raw: RawRequest) -> Body:
    name, most = ALTERNATIVES[raw.route], raw.quirks.whole("top-k-cut") or 0
    asked = raw.body.get(name)
    if isinstance(asked, int) and not isinstance(asked, bool) and asked > most:
        return {**raw.body, name: most}
    return raw.body


def _need_output(raw: RawRequest) -> Body:
    least = raw.quirks.whole("min-output") or 0
    for name in LIMITS[raw.route]:
        fields.integer(raw.body, name, low=least)
    return raw.body


def _refuse_ids(raw: RawRequest) -> Body:
    prompt = raw.body.get("prompt")
    of_text = isinstance(prompt, list) and prompt and all(isinstance(item, str) for item in prompt)
    if raw.route == "completions" and isinstance(prompt, list) and not of_text:
        raise fields.wrong_type("prompt", "a string", prompt)
    return raw.body


def _without(*names: str) -> Callable[[RawRequest], Body]:
    return lambda raw: {name: value for name, value in raw.body.items() if name not in names}


def _is_open(body: Body) -> bool:
    """Whether the last turn is the assistant's, and no flag says anything about it."""
    last = (_turns(body) or [None])[-1]
    if not isinstance(last, dict) or last.get("role") != "assistant":
        return False
    return body.get("continue_final_message") is None and all(last.get(name) is None for name in FLAGS)


def _continue_open(raw: RawRequest) -> Body:
    if not _is_open(raw.body) or raw.body.get("add_generation_prompt") is True:
        return raw.body
    return {**raw.body, "continue_final_message": True}


def _hand_over_open(raw: RawRequest) -> Body:
    if not _is_open(raw.body):
        return raw.body
    *turns, last = _turns(raw.body)
    return {**raw.body, "messages": [*turns, {**fields.mapping(last, "messages"), "role": "user"}]}


def _ignore_flags(raw: RawRequest) -> Body:
    body = _without("continue_final_message", "add_generation_prompt")(raw)
    if not _turns(body):
        return body
    plain = [{k: v for k, v in t.items() if k not in FLAGS} if isinstance(t, dict) else t for t in _turns(body)]
    return {**body, "messages": plain}


def _schema_of(raw: RawRequest) -> object:
    """The schema that a body demands, whatever it is; None for none."""
    form = raw.body.get("response_format" if raw.route == "chat" else "text")
    for name in ("json_schema", "schema") if raw.route == "chat" else ("format", "schema"):
        form = form.get(name) if isinstance(form, dict) else None
    return form


def _patterned(schema: object) -> bool:
    """Whether a schema has a pattern anywhere."""
    if isinstance(schema, dict):
        return "pattern" in schema or any(map(_patterned, schema.values()))
    return isinstance(schema, list) and any(map(_patterned, schema))


def _refuse_pattern(raw: RawRequest) -> Body:
    if _patterned(_schema_of(raw)):
        message = "Invalid schema for response_format: 'pattern' is not permitted."
        raise Refusal(message, param="response_format", code="invalid_schema")
    return raw.body


def _refuse_formatted_logprobs(raw: RawRequest) -> Body:
    if _schema_of(raw) is not None and any(raw.body.get(name) for name in _OF_LOGPROBS):
        raise Refusal("logprobs are not supported together with a response_format of json_schema.", param="logprobs")
    return raw.body


def _ignore_format(raw: RawRequest) -> Body:
    return _without("response_format" if raw.route == "chat" else "text")(raw)


REQUEST_QUIRKS: Mapping[str, Callable[[RawRequest], Body]] = {
    "closed-routes": _close_route,
    "strict-fields": _refuse_unknown,
    "refused-fields": _refuse_named,
    "max-completion-tokens-only": _refuse_older_limit,
    "needs-effort-none": _need_no_effort,
    "min-output": _need_output,
    "no-ids": _refuse_ids,
    "top-k-cap": _cap_alternatives,
    "top-k-cut": _cut_alternatives,
    "no-pattern": _refuse_pattern,
    "no-formatted-logprobs": _refuse_formatted_logprobs,
    "ignored-format": _ignore_format,
    "no-seed": _without("seed"),
    "ignored-bias": _without("logit_bias"),
    "ignored-logprobs": _without(*_OF_LOGPROBS),
    "no-prefill": _ignore_flags,
    "prefill-as-user": _hand_over_open,
    "implicit-prefill": _continue_open,
}
"""In this order: first what refuses, as the client sent it, then what changes."""
