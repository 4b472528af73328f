"""The shape of OpenAI's Responses: items, of which those of kind `message` hold the text.

    {status, incomplete_details: {reason}, output: [{type: "message", content: [{text, logprobs}]}]}

`logprobs` are rows as in a chat (`rows`). Items of other kinds (reasoning) hold nothing to steer by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import FILTERED, Reply, Said
from blackbox_proxy_adapters.fields import as_list, as_mapping
from blackbox_proxy_adapters.positions import Dialect

from .envelope import WHOLE, check_no_error, read_finish, read_model
from .rows import read_rows
from .spoken import heard

_PLAIN = Dialect()


def openai_responses(body: Mapping[str, object], dialect: Dialect = _PLAIN) -> Reply:
    """The whole body of a response. Raises `ReplyError` for text without log-probs, and for another shape."""
    check_no_error(body)
    parts = list(_parts(body))
    rows = [row for part in parts for row in as_list(part.get("logprobs") or [], "logprobs")]
    finish = responses_finish(body)
    if not rows and (
        finish not in ("stop", FILTERED) or any(part.get("text") or part.get("refusal") for part in parts)
    ):
        raise ReplyError(
            "the reply holds no log-probabilities",
            hint='ask for them with include=["message.output_text.logprobs"]; a model that reasons gives none: '
            + WHOLE,
        )
    listed, whole = read_rows(rows, dialect, where="logprobs", ended=finish == "stop")
    text = _text(parts)
    answer = heard(listed, text, dialect, ended=finish == "stop")
    return Reply(
        answer.positions,
        finish if whole and answer.whole else "length",
        read_usage(body.get("usage")).usage,
        read_model(body),
        exact=answer.exact,
        said=None if text is None else Said(text, finish),
    )


def _text(parts: Sequence[Mapping[str, object]]) -> str | None:
    """What all parts say; None where one says it in another way."""
    said = [part.get("text") or part.get("refusal") or "" for part in parts]
    texts = [text for text in said if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(said) else None


def text_of_response(body: Mapping[str, object]) -> str | None:
    """What all messages of a response say; None where one says it in another way."""
    return _text(list(_parts(body)))


def _parts(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The parts of all messages, in order."""
    for item in as_list(body.get("output"), "output"):
        message = as_mapping(item, "output")
        if message.get("type") == "message":
            for part in as_list(message.get("content"), "output.content"):
                yield as_mapping(part, "output.content")


def responses_finish(body: Mapping[str, object]) -> str | None:
    """In the words of a chat."""
    if body.get("status") == "completed":
        return "stop"
    reason = as_mapping(body.get("incomplete_details") or {}, "incomplete_details").get("reason")
    if reason == "max_output_tokens":
        return "length"
    return read_finish(reason) if isinstance(reason, str) else None
