"""Says what drawing whole answers is expected to cost, before `auto` begins with it where nobody asked for it.

By the logger of this module, as a warning, once for each model and set of knobs: a library's own way to say something
before it acts. Whoever says it otherwise tells so (`mark_foretold`).
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.money.estimating import FRAME_TOKENS, Work, token_count
from blackbox_proxy.run.sources import Rated, draws_whole, whole_knobs
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt

_LOG = logging.getLogger(__name__)

_Key: TypeAlias = tuple[str, int, int]
_foretold: set[_Key] = set()


def foretell(api: Endpoint, prompt: Prompt, steering: Steering) -> None:
    """Say what an answer is expected to take, where `auto` draws several whole ones; nothing anywhere else."""
    key = _key(api, steering)
    if steering.way != "auto" or key[1] < 2 or key in _foretold or (work := drawn_work(api, prompt, steering)) is None:
        return
    _foretold.add(key)
    _, samples, tokens = key
    _LOG.warning(
        "%s shows no log-probs, so up to %d whole answers are drawn for each question: %d calls, up to %d tokens each; "
        "%s. way='answers' says that this is meant, samples limits it",
        *(api.model, samples, work.calls, tokens),
        _dollars(api, work),
    )


def mark_foretold(api: Endpoint, steering: Steering) -> None:
    """Note that somebody else has said what an answer is expected to take."""
    _foretold.add(_key(api, steering))


def drawn_work(api: Endpoint, prompt: Prompt, steering: Steering) -> Work | None:
    """The most calls and tokens that whole answers or chunks take; None where an answer is steered token by token.

    Where a model reasons, what it reasons counts among the tokens of its answer. The cost is left out.
    """
    if not draws_whole(steering, api):
        return None
    steering, at_once = whole_knobs(steering), max(api.capabilities().answers_at_once, 1)
    rounds = chunk_rounds(steering, at_once) if steering.way == "chunks" else [(-(-steering.samples // at_once), 0)]
    calls, length = sum(calls for calls, _ in rounds), prompt_length(api, prompt)
    read = sum(calls * (length + behind) for calls, behind in rounds)
    return Work(calls, read, drawn_at_most(steering), None)


def chunk_rounds(steering: Steering, at_once: int) -> list[tuple[int, int]]:
    """The most calls of each round of chunks, and how many tokens of the answer each of them reads.

    at_once: continuations that one request may draw.
    """
    starts = range(0, steering.max_tokens, steering.chunk)
    first = -(-steering.beams * steering.samples // at_once)
    later = steering.beams * -(-steering.samples // at_once)
    return [(later if at else first, at) for at in starts]


def drawn_at_most(steering: Steering) -> int:
    """The most tokens that whole answers, or chunks, may have together."""
    texts = steering.samples * (steering.beams if steering.way == "chunks" else 1)
    return texts * steering.max_tokens


def prompt_length(api: Endpoint, prompt: Prompt) -> int:
    """Tokens of a prompt with what is written around it; assumed where the endpoint's tokenizer is not known."""
    text = "".join(message.content for message in prompt.messages) or prompt.text
    return FRAME_TOKENS + token_count(text.encode("utf-8", "replace"), api.vocabulary)


def _key(api: Endpoint, steering: Steering) -> _Key:
    knobs = whole_knobs(steering)
    return api.model, knobs.samples, knobs.max_tokens


def _dollars(api: Endpoint, work: Work) -> str:
    """What this many tokens cost, in words. Tokens of reasoning are among those written."""
    rates = api.rates() if isinstance(api, Rated) else None
    if rates is None:
        return "at unknown cost, since no ledger says what a token costs"
    return f"up to about {work.input * rates.input + work.output * rates.output:.2g} USD for this one"
