"""Replies of one choice or more: legacy completions, chat completions, and Together's mixture of both.

A server may answer one route in the other's shape (llama.cpp's on /completions, Together on either), so the log-probs
themselves tell which it is: `content` is the chat's, `tokens` the legacy one.
"""

from __future__ import annotations

from collections.abc import Mapping

from blackbox_proxy.core.logprobs import in_columns
from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import FILTERED, Reply, Said, Usage
from blackbox_proxy_adapters.fields import as_list, as_mapping
from blackbox_proxy_adapters.positions import Dialect, unknown

from .envelope import WHOLE, first_choice, read_fingerprint, read_finish, read_model
from .legacy import NO_LOGPROBS, read_columns
from .rows import Rows, read_rows
from .spoken import heard

NO_CHAT_LOGPROBS = f"this model may give none; choose one that returns logprobs on /chat/completions, or {WHOLE}"

MOST_BYTES = 4
"""Bytes of the longest character; the beginning of one has fewer, and so no more tokens than that."""

_PLAIN = Dialect()


def legacy_completions(body: Mapping[str, object], dialect: Dialect = _PLAIN) -> Reply:
    """The whole body of a legacy completion; its first choice is read."""
    return _read(body, dialect, hint=NO_LOGPROBS)


def openai_chat(body: Mapping[str, object], dialect: Dialect = _PLAIN) -> Reply:
    """The whole body of a chat completion; its first choice is read."""
    return _read(body, dialect, hint=NO_CHAT_LOGPROBS)


def together(body: Mapping[str, object], dialect: Dialect = _PLAIN) -> Reply:
    """A body of Together's, of either route; both are asked with a number (`logprobs_kind="count"`)."""
    return _read(body, dialect, hint="choose a model that returns top_logprobs; streamed replies never do")


def _read(body: Mapping[str, object], dialect: Dialect, *, hint: str) -> Reply:
    """Raises `ReplyError` for anything of another shape, and for text without log-probabilities."""
    choice = first_choice(body)
    finish = read_finish(choice.get("finish_reason"))
    usage = read_usage(body.get("usage")).usage
    listed, whole = _rows(choice.get("logprobs"), dialect, ended=finish == "stop")
    if not listed and _open_ended(body, usage):
        listed, whole = (unknown(),), False
    if not listed and (finish not in ("stop", FILTERED) or text_of_choice(choice)):
        raise ReplyError("the reply holds no log-probabilities", hint=hint)
    text = _said(choice)
    answer = heard(listed, text, dialect, ended=finish == "stop")
    return Reply(
        answer.positions,
        finish if whole and answer.whole else "length",
        usage,
        read_model(body),
        exact=answer.exact,
        fingerprint=read_fingerprint(body),
        said=None if text is None else Said(text, finish),
    )


def _rows(logprobs: object, dialect: Dialect, *, ended: bool) -> Rows:
    """No positions for null."""
    if logprobs is None:
        return Rows((), whole=True)
    listed = as_mapping(logprobs, "logprobs")
    if in_columns(listed):
        return Rows(read_columns(listed, dialect), whole=True)
    content = listed.get("content")
    return read_rows(as_list([] if content is None else content, "logprobs.content"), dialect, ended=ended)


def _open_ended(body: Mapping[str, object], usage: Usage) -> bool:
    """Whether all that was said is the beginning of a character: llama.cpp's server then sends no log-probs at all.

    It is known by its `timings`; the text does not tell, since a chat leaves the beginning of a character out.
    """
    return "timings" in body and 1 <= usage.output < MOST_BYTES


def _said(choice: Mapping[str, object]) -> str | None:
    """The text that the log-probs should be of; None where nobody says it, or it is no string."""
    text = text_of_choice(choice)
    if text is None or text == "":
        return "" if "text" in choice or "message" in choice else None
    return text if isinstance(text, str) else None


def text_of_choice(choice: Mapping[str, object]) -> object:
    """What was said: a completion's text or a chat's content, or its refusal."""
    message = as_mapping(choice.get("message") or {}, "message")
    return choice.get("text") or message.get("content") or message.get("refusal")
