"""Prompts as digests: a cassette that shows nobody what was asked, and still knows when it is asked again. Pure.

A digest hides a text from readers, not from guessers: whoever has the same text gets the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import cast

from blackbox_proxy.errors import InputError

PROMPTS = ("prompt", "messages", "input", "instructions", "suffix", "system", "system_prompt", "input_prefix")
"""Fields of a request, or of a reply that repeats it, that hold what is asked."""

_STRUCTURE = frozenset({"role", "type"})
_ECHOES = ("echo", "prompt_logprobs", "return_prompt", "return_text_in_logprobs")
"""Fields of a request that ask for the prompt to be given back."""

_QUOTED = 8
"""Least length of a prompt's text that is looked for in the words of an error."""


def hashed(body: Mapping[str, object]) -> dict[str, object]:
    """A request's body whose prompts are digests: texts one by one, token ids a list at a time."""
    return {name: _hashed(value) if name in PROMPTS else value for name, value in body.items()}


def check_hashable(body: Mapping[str, object]) -> None:
    """Raises InputError for a request whose reply gives the prompt back token by token."""
    asked = next((name for name in _ECHOES if body.get(name)), None)
    if asked is not None:
        raise InputError(
            f"prompts cannot be hashed where the endpoint gives them back, and the request asks for that: {asked}",
            hint="record prompts as they are, or ask without an echo (another drafter)",
        )


def hashed_reply(raw: bytes, body: Mapping[str, object], *, status: int) -> bytes:
    """A reply's body without the prompts that it repeats: in fields of their own, or in the words of an error."""
    try:
        reply: object = json.loads(raw)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict) and any(reply.get(name) for name in PROMPTS):
        raw = json.dumps(hashed(cast(Mapping[str, object], reply))).encode("ascii")
    if status >= 400:
        for text in sorted(set(_texts(body)), key=len, reverse=True):
            for spelt in {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}:
                raw = raw.replace(spelt.encode("utf-8", "surrogatepass"), digest(text).encode("ascii"))
    return raw


def digest(value: object) -> str:
    """What stands for a text, or for a list of token ids."""
    spelt = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(spelt.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _hashed(value: object) -> object:
    if isinstance(value, str):
        return digest(value) if value else ""
    if isinstance(value, list | tuple):
        ids = bool(value) and all(isinstance(part, int) and not isinstance(part, bool) for part in value)
        return digest(list(value)) if ids else [_hashed(part) for part in value]
    if isinstance(value, Mapping):
        fields = cast(Mapping[str, object], value)
        return {name: part if name in _STRUCTURE else _hashed(part) for name, part in fields.items()}
    return value


def _texts(body: Mapping[str, object]) -> Iterator[str]:
    """The texts of the prompts that are long enough to be looked for."""
    waiting: list[object] = [body[name] for name in PROMPTS if name in body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and len(value) >= _QUOTED:
            yield value
        elif isinstance(value, Mapping):
            waiting.extend(part for name, part in value.items() if name not in _STRUCTURE)
        elif isinstance(value, list | tuple):
            waiting.extend(value)
