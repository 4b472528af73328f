"""Replies that are read for their texts: whole answers, with the log-probs of their own tokens where those are shown.

A reply of any shape has one answer; those with `choices` may have several. Log-probs that cannot be read, or are not of
the whole text, are left out: an answer that was drawn is an answer without them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import FILTERED, CalledTool, DrawnAnswer, Kind, Reply
from blackbox_proxy_adapters.fields import as_list, as_mapping, as_text

from .choices import text_of_choice
from .envelope import check_no_error, read_fingerprint, read_finish, read_model
from .llama import native_finish, native_usage
from .responses import responses_finish, text_of_response

_CALLED = ("tool_calls", "function_call")
"""An endpoint's words for an answer that ended with calls."""

Reads = Callable[[Mapping[str, object]], Reply]
"""A whole body of one answer -> its positions. Raises ReplyError."""


def read_drawn(body: Mapping[str, object], read: Reads) -> Reply:
    """The answers of a reply. Raises ReplyError for one that holds none, and for text in another form."""
    check_no_error(body)
    answers = tuple(_answer(one, read) for one in _bodies(body))
    if not answers:
        raise ReplyError("the reply holds no answer", hint="try again; if it stays, choose another endpoint")
    usage = native_usage(body) if "tokens_predicted" in body else read_usage(body.get("usage")).usage
    return Reply((), None, usage, read_model(body), drawn=answers, fingerprint=read_fingerprint(body))


def _bodies(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """A body for each answer, in the order in which they are listed."""
    if "choices" not in body:
        yield body
        return
    for choice in as_list(body["choices"], "choices"):
        yield {**body, "choices": [choice]}


def _answer(body: Mapping[str, object], read: Reads) -> DrawnAnswer:
    text, finish = _said(body)
    if calls := tuple(_calls(body)):
        return DrawnAnswer(text or "", "stop" if finish in _CALLED else finish, calls=calls)
    if text is None:
        text, finish = "", FILTERED
    known = _logp(body, read, text)
    return DrawnAnswer(text, finish) if known is None else replace(known, text=text, finish=finish)


def _said(body: Mapping[str, object]) -> tuple[str | None, str | None]:
    """The text and why it stopped; no text where it was withheld."""
    if "choices" in body:
        (one,) = as_list(body["choices"], "choices")
        choice = as_mapping(one, "choices")
        said = text_of_choice(choice)
        finish = read_finish(choice.get("finish_reason"))
        return (None if finish == FILTERED and not said else as_text(said or "", "content")), finish
    if "output" in body:
        return text_of_response(body), responses_finish(body)
    return as_text(body.get("content"), "content"), native_finish(body)


def _calls(body: Mapping[str, object]) -> Iterator[CalledTool]:
    """The tools that a chat's answer calls. Raises ReplyError for what is no call."""
    for choice in as_list(body.get("choices") or [], "choices"):
        message = as_mapping(as_mapping(choice, "choices").get("message") or {}, "message")
        for one in as_list(message.get("tool_calls") or [], "tool_calls"):
            function = as_mapping(as_mapping(one, "tool_calls").get("function"), "tool_calls.function")
            name, arguments = (
                as_text(function.get(key), f"tool_calls.function.{key}") for key in ("name", "arguments")
            )
            yield CalledTool(name, arguments)


def _logp(body: Mapping[str, object], read: Reads, text: str) -> DrawnAnswer | None:
    """The sum of the log-probs of the answer's tokens and their number; None where they are not those of the text."""
    try:
        sampled = [position.sampled for position in read(body).positions]
    except ReplyError:
        return None
    spoken = b"".join(one.piece for one in sampled if one.kind is not Kind.END)
    logp = math.fsum(one.logp for one in sampled)
    if not sampled or spoken != text.encode("utf-8", "replace") or not math.isfinite(logp):
        return None
    return DrawnAnswer(text, None, logp, len(sampled))
