"""The requests that a question of the core becomes; knows no wire format and no price."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.events import (
    ApiAnswers,
    ApiChunks,
    ApiDraft,
    ApiEcho,
    ApiPrefixes,
    ApiReveal,
    ApiText,
    Asking,
    Drawing,
)
from blackbox_proxy.run.chunks import drawing
from blackbox_proxy.types import Ask, Echo, Generate, Prefix, Reveal, Sampling, Score, TokenPath


def asks_of(
    event: Asking | ApiReveal | Drawing,
    api: Endpoint,
    prefix: Callable[[bytes, TokenPath], Prefix],
    *,
    schema: str,
    tools: str,
) -> Sequence[Ask]:
    """The requests, to be sent at once.

    Args:
        event: The question.
        api: Whom it is put to.
        prefix: What is gone on from, by the answer so far and its ids.
        schema: What whole answers are to hold to; "" for none.
        tools: The fields of the chat with tools that they answer; "" for none.
    """
    model, top_k = api.model, api.capabilities().top_k
    match event:
        case ApiDraft(answer, path, length=length):
            sampling, before = _sampling(event), prefix(answer, path)
            return [Generate(model, before, top_k, length, sampling, schema=event.schema, tools=event.tools)]
        case ApiPrefixes(answers):
            return [Generate(model, prefix(answer.text, answer.path), top_k) for answer in answers]
        case ApiEcho(answer, path, draft, drafted, length):
            before = prefix(answer, path)
            return [Echo(model, before, top_k, draft, () if before.ids is None else drafted, length)]
        case ApiText(text, ids):
            return [Score(model, text, top_k, ids)]
        case ApiReveal(answer, path, ids):
            return [Reveal(model, prefix(answer, path), top_k, ids)]
        case ApiAnswers() | ApiChunks():
            return drawing(event, api, prefix(b"", ()), schema=schema, tools=tools)


def _sampling(event: ApiDraft) -> Sampling | None:
    """None for a greedy draft: only an answer that is kept as it is, or drawn, needs the very temperature."""
    drawn = event.unsteered or event.temperature > 0.0
    return Sampling(event.temperature, event.top_p, event.seed) if drawn else None
