"""Reply shapes -> `Reply`, as pure functions that are found by name.

    legacy_completions   choices[0].logprobs = {tokens, token_logprobs, top_logprobs: [{str: float}]}
    openai_chat          choices[0].logprobs.content = [{token, bytes, logprob, top_logprobs: [...]}]
    together             the legacy shape with token_ids, or the chat shape
    openai_responses     output[].content[].logprobs = [{token, bytes, logprob, top_logprobs: [...]}]
    llama_native         completion_probabilities = [{id, bytes, logprob, top_logprobs: [...]}]

Most servers send no entry for the token that ends the text. Then the positions simply stop and `finish` is "stop":
that, with no `end` position, is what tells the reader of the hidden end; its log-prob is unknown. A reply with text and
no log-probs at all is a `ReplyError`.

The package knows no request, no provider and no tokenizer.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Reply
from blackbox_proxy_adapters.pieces import Piece, kind_of, read_piece
from blackbox_proxy_adapters.positions import Dialect

from .choices import legacy_completions, openai_chat, together
from .drawn import read_drawn
from .echo import read_echo, read_given
from .envelope import choices_apart
from .legacy import read_requested
from .llama import llama_native
from .responses import openai_responses

Decoder = Callable[[Mapping[str, object], Dialect], Reply]
"""A whole body and what its shape leaves open -> a reply. Raises ReplyError for a body of another shape."""

DECODERS: Mapping[str, Decoder] = {
    "legacy_completions": legacy_completions,
    "openai_chat": openai_chat,
    "together": together,
    "openai_responses": openai_responses,
    "llama_native": llama_native,
}

__all__ = [
    "DECODERS",
    "Decoder",
    "Dialect",
    "Piece",
    "choices_apart",
    "decoder_named",
    "kind_of",
    "legacy_completions",
    "llama_native",
    "openai_chat",
    "openai_responses",
    "read_drawn",
    "read_echo",
    "read_given",
    "read_piece",
    "read_requested",
    "together",
]


def decoder_named(name: str) -> Decoder:
    """The decoder called `name`. Raises InputError with the nearest name for one that there is not."""
    decoder = DECODERS.get(name)
    if decoder is None:
        close = difflib.get_close_matches(name, DECODERS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"there is no decoder {name!r}", hint=f"{meant}there are: {', '.join(sorted(DECODERS))}")
    return decoder
