"""JSON bodies in the legacy completions shape, as servers send them; each function spells one feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Json = dict[str, object]
RESPONSES: Mapping[str, object] = {
    "path": "/responses",
    "decoder": "openai_responses",
    "length_field": "max_output_tokens",
    "logprobs_kind": "include",
    "min_output": 16,
    "seed_field": "",
}
"""Options of an adapter for the route /responses."""

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


def row(token: str, logp: float | None, raw: bytes | None = b"?", *, top: Sequence[Json] = (), **more: object) -> Json:
    """A row of the chat shape. raw: its bytes, by default those of the string; None sends null."""
    told = token.encode() if raw == b"?" else raw
    found: Json = {"token": token, "logprob": logp, "bytes": None if told is None else list(told), **more}
    return {**found, "top_logprobs": list(top)} if top else found


def chosen(*top: Json, at: int = 0) -> Json:
    """A row whose sampled token is the one of its alternatives at that place."""
    return {**top[at], "top_logprobs": list(top)}


def chat(*rows: Json, finish: str | None = "length", **extra: object) -> Json:
    """A chat completion of one choice."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(str(one["token"]) for one in rows)},
        "finish_reason": finish,
        "logprobs": {"content": list(rows), "refusal": None} if rows else None,
    }
    usage = {"prompt_tokens": 5, "completion_tokens": len(rows)}
    return {"model": "m-1", "choices": [choice], "usage": usage, **extra}


def response(*rows: Json, status: str = "incomplete", reason: str | None = "max_output_tokens") -> Json:
    """A response of one message, after an item of reasoning."""
    text = "".join(str(one["token"]) for one in rows)
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": list(rows)}
    return {
        "object": "response",
        "model": "m-1",
        "status": status,
        "incomplete_details": None if reason is None else {"reason": reason},
        "error": None,
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "status": status, "content": [part]},
        ],
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": len(rows),
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def native(*rows: Json, tokens: Sequence[int] | None = None, stop: str = "limit", **extra: object) -> Json:
    """A reply of llama.cpp's /completion. tokens: all that were generated, by default those of the rows."""
    return {
        "content": "".join(str(one["token"]) for one in rows),
        "tokens": [one["id"] for one in rows] if tokens is None else list(tokens),
        "model": "m-1",
        "stop_type": stop,
        "tokens_evaluated": 11,
        "tokens_predicted": len(rows) if tokens is None else len(tokens),
        "timings": {"cache_n": 6, "prompt_n": 5},
        "completion_probabilities": list(rows),
        **extra,
    }
