"""Says what drawing whole answers is expected to cost, before `auto` begins with it where nobody asked for it.

By the logger of this module, as a warning, once for each model and set of knobs: a library's own way to say something
before it acts. Whoever says it otherwise tells so (`mark_foretold`).
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.money.estimating import BYTES_PER_TOKEN, FRAME_TOKENS
from blackbox_proxy.run.sources import Rated, draws_whole, whole_knobs
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt

_LOG = logging.getLogger(__name__)

_Key: TypeAlias = tuple[str, int, int]
_foretold: set[_Key] = set()


def foretell(api: Endpoint, prompt: Prompt, steering: Steering) -> None:
    """Say what an answer is expected to take, where `auto` draws several whole ones; nothing anywhere else."""
    key = _key(api, steering)
    if steering.way != "auto" or not draws_whole(steering, api) or key[1] < 2 or key in _foretold:
        return
    _foretold.add(key)
    _, samples, tokens = key
    calls = -(-samples // max(api.capabilities().answers_at_once, 1))
    _LOG.warning(
        "%s shows no log-probs, so up to %d whole answers are drawn for each question: %d calls, up to %d tokens each; "
        "%s. way='answers' says that this is meant, samples limits it",
        *(api.model, samples, calls, tokens),
        _dollars(api, prompt, read=calls, written=samples * tokens),
    )


def mark_foretold(api: Endpoint, steering: Steering) -> None:
    """Note that somebody else has said what an answer is expected to take."""
    _foretold.add(_key(api, steering))


def _key(api: Endpoint, steering: Steering) -> _Key:
    knobs = whole_knobs(steering)
    return api.model, knobs.samples, knobs.max_tokens


def _dollars(api: Endpoint, prompt: Prompt, *, read: int, written: int) -> str:
    """What this many readings of the prompt and written tokens cost. Tokens of reasoning are among those written."""
    rates = api.rates() if isinstance(api, Rated) else None
    if rates is None:
        return "at unknown cost, since no ledger says what a token costs"
    said = ("".join(message.content for message in prompt.messages) or prompt.text).encode("utf-8", "replace")
    tokens = len(api.vocabulary.spell(said)) if api.vocabulary else -(-len(said) // BYTES_PER_TOKEN)
    return f"up to about {read * (FRAME_TOKENS + tokens) * rates.input + written * rates.output:.2g} USD for this one"
