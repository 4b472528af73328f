"""What a hosted model says by itself, and what it shows: the ceiling of what steering can take from it.

Knows no pair, no form and no wire format.
"""

from __future__ import annotations

from blackbox_proxy.api import Endpoint
from blackbox_proxy.types import Generate, Kind, Prefix, Prompt, Reply


def text_of(reply: Reply) -> str:
    """The plain text of an unsteered reply."""
    sampled = (position.sampled for position in reply.positions)
    return b"".join(s.piece for s in sampled if s.kind is not Kind.END).decode("utf-8", "replace")


def go_on(api: Endpoint, prompt: Prompt, answer: bytes, *, length: int) -> Reply:
    """What the model says by itself after the beginning of an answer; greedily, at most `length` tokens."""
    able = api.capabilities()
    text = "" if able.chat else api.text(prompt)
    return api.send(Generate(api.model, Prefix(text, answer, prompt.messages), able.top_k, length))


def shows(api: Endpoint, prompt: Prompt, answer: bytes, *, text: bytes) -> bool:
    """Whether the model shows a text after the beginning of an answer: each of its tokens in the top-k there.

    What is not shown is guessed by the pair. Of the tokens that fit, the longest is taken each time.
    """
    while text:
        (position,) = go_on(api, prompt, answer, length=1).positions[:1]
        pieces = [c.piece for c in position.top if c.kind is Kind.TEXT and c.piece and text.startswith(c.piece)]
        if not pieces:
            return False
        longest = max(pieces, key=len)
        answer, text = answer + longest, text[len(longest) :]
    return True
