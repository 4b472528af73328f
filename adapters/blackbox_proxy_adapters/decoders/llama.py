"""The shape of the route /completion of llama.cpp's server: rows with ids and true bytes.

    {completion_probabilities: [{id, token, bytes, logprob, top_logprobs: [...]}], tokens: [int], stop_type, ...}

* Special tokens have no bytes, so only an id tells an end; the reply itself names one where it stopped at it.
* There is no row for a token that leaves a character open. `tokens` tells where one is missing: rows after it cannot be
  placed, and are left out; where it is the first token, nothing is known of its position.
* A probability of 0 is -3.4e38.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Reply, Said, Usage
from blackbox_proxy_adapters.fields import as_count, as_id, as_list, as_mapping
from blackbox_proxy_adapters.positions import Dialect, unknown

from .envelope import check_no_error, read_fingerprint, read_model
from .rows import read_rows

_PLAIN = Dialect()
_FINISHES = {"eos": "stop", "word": "stop_word", "limit": "length"}


def llama_native(body: Mapping[str, object], dialect: Dialect = _PLAIN) -> Reply:
    """The whole body. Raises `ReplyError` for tokens without log-probs, and for another shape."""
    check_no_error(body)
    rows = [as_mapping(row, "completion_probabilities") for row in _list(body, "completion_probabilities")]
    tokens = [as_count(token, f"tokens[{at}]") for at, token in enumerate(_list(body, "tokens"))]
    _check(body, rows, tokens=tokens)
    finish = _finish(body.get("stop_type"))
    kept = _placed(rows, tokens)
    whole = len(kept) == len(rows) >= len(tokens)
    dialect = replace(dialect, ends=dialect.ends - {b""})
    known = read_rows(kept, dialect, where="completion_probabilities", ended=whole and finish == "stop")
    whole = whole and known.whole
    positions = known.positions if known.positions or whole else (unknown(tokens[0]),)
    text, named = body.get("content"), read_fingerprint(body)
    said = Said(text, finish) if isinstance(text, str) else None
    reason = finish if whole else "length"
    return Reply(positions, reason, native_usage(body), read_model(body), fingerprint=named, said=said)


def _list(body: Mapping[str, object], name: str) -> Sequence[object]:
    return as_list([] if body.get(name) is None else body[name], name)


def _check(body: Mapping[str, object], rows: Sequence[Mapping[str, object]], *, tokens: Sequence[int]) -> None:
    if any("prob" in row or "top_probs" in row for row in rows):
        raise ReplyError(
            "the reply holds probabilities after sampling in place of log-probabilities",
            hint="leave post_sampling_probs out of the request",
        )
    if not rows and not tokens and (body.get("content") or body.get("stop_type") != "eos"):
        raise ReplyError(
            "the reply holds no log-probabilities",
            hint="they are asked for by n_probs on llama.cpp's own route /completion; is this one?",
        )


def _placed(rows: Sequence[Mapping[str, object]], tokens: Sequence[int]) -> Sequence[Mapping[str, object]]:
    """The rows before the first one that is missing.

    One whose token leaves a character open is never there, so a row's id is never that of a missing one before it.
    """
    ids = [as_id(row.get("id"), "completion_probabilities.id") for row in rows]
    wrong = [at for at, pair in enumerate(zip(ids, tokens, strict=False)) if pair[0] != pair[1]]
    return rows[: wrong[0]] if wrong else rows


def _finish(stop: object) -> str | None:
    return _FINISHES.get(stop) if isinstance(stop, str) else None


def native_finish(body: Mapping[str, object]) -> str | None:
    """Why the text stopped, in the words of a chat."""
    return _finish(body.get("stop_type"))


def native_usage(body: Mapping[str, object]) -> Usage:
    """`tokens_evaluated` counts the whole prompt; `timings` tells what of it was cached."""
    timings = body.get("timings")
    cached = timings.get("cache_n") if isinstance(timings, Mapping) else None
    counts = {"input_tokens": body.get("tokens_evaluated"), "output_tokens": body.get("tokens_predicted")}
    return read_usage({**counts, "cached_tokens": cached}).usage
