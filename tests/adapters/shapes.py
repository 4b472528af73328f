"""JSON bodies in the legacy completions shape, as servers send them; each function spells one feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Json = dict[str, object]
Row = tuple[str, float | None, Mapping[str, float | None] | None]


def body(*rows: Row, finish: str | None = "length", **extra: object) -> Json:
    """A reply of one choice; a row is (token, its log-prob, its top_logprobs)."""
    choice: Json = {
        "index": 0,
        "text": "".join(token for token, _, _ in rows),
        "finish_reason": finish,
        "logprobs": logprobs(rows),
    }
    usage = {"prompt_tokens": 7, "completion_tokens": len(rows), "total_tokens": 7 + len(rows)}
    return {"id": "cmpl-1", "object": "text_completion", "model": "m-1", "choices": [choice], "usage": usage, **extra}


def logprobs(rows: Sequence[Row]) -> Json:
    """The `logprobs` object of a choice."""
    return {
        "tokens": [token for token, _, _ in rows],
        "token_logprobs": [logp for _, logp, _ in rows],
        "top_logprobs": [None if top is None else dict(top) for _, _, top in rows],
        "text_offset": list(range(len(rows))),
    }
