"""The provider's own counts of tokens, as the books read them from the usage of a reply.

The adapters read it too, for the answer that they are decoding, and are strict about it; here it is read for its own
sake, so that a reply is booked whether or not it can be steered with. A test holds that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping

from blackbox_proxy.types import Usage

DETAILS = ("prompt_tokens_details", "input_tokens_details")


def read_usage(raw: Mapping[str, object] | None) -> Usage | None:
    """What a `usage` object counts, by the names of chat, completions, Responses and DeepSeek; None where it is none.

    `input` includes what was read from the cache and what was written to it.

    >>> read_usage({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}})
    Usage(input=9, cached=4, cache_write=0, output=2, requests=1, wasted=0, local_seconds=0.0, lost=0)
    >>> read_usage({"total_tokens": 11}) is None
    True
    """
    if raw is None:
        return None
    read, written = (_first(raw, names) for names in (("prompt_tokens", "input_tokens"), WRITTEN))
    if read is None or written is None:
        return None
    details: Mapping[str, object] = next((found for name in DETAILS if isinstance(found := raw.get(name), Mapping)), {})
    cached = _first(details, ("cached_tokens",))
    hits = _first(raw, ("prompt_cache_hit_tokens",))
    return Usage(
        input=read,
        cached=(cached if cached is not None else hits) or 0,
        cache_write=_first(details, ("cache_write_tokens",)) or 0,
        output=written,
        requests=1,
    )


WRITTEN = ("completion_tokens", "output_tokens")


def _first(raw: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    """The first of the named fields that is a count."""
    found = (raw.get(name) for name in names)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n >= 0), None)
