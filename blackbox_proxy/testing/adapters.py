"""What any adapter must hold to (`types.Adapter`), as a check for a test of one's own.

def test_my_adapter() -> None:
    check_adapter(MyAdapter(), replies=[(ask, json.loads(Path("reply.json").read_text()))])
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import cast

from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.testing.checking import expect
from blackbox_proxy.types import (
    Adapter,
    Ask,
    Candidate,
    Capabilities,
    Continuation,
    Draw,
    Echo,
    Generate,
    Kind,
    ListAdapter,
    Message,
    Position,
    Prefix,
    Reply,
    Reveal,
    Sampling,
    Score,
    WireRequest,
)

Json = Mapping[str, object]

CLOSE = 1e-3
"""How far the probabilities of a position may be from 1 in all: endpoints round."""

PROMPT, ANSWER, DRAFT = "the-prompt-of-this-check", "the-answer-so-far", "the-draft-behind-it"

WRONG: Sequence[object] = (None, "text", -1, 1e400, True, [], {}, [None], {"a": 1})
"""What a field of a reply may turn out to be."""


def check_adapter(adapter: Adapter, *, replies: Sequence[tuple[Ask, Json]] = ()) -> None:
    """Check that the engine can rely on an adapter.

    What is asked: its capabilities do not change; each kind of question that they name becomes a path and a JSON body,
    the same each time, with the text to go on from in it; each reply is read the same each time and is left as it was;
    its positions are distributions; a reply that is cut or bent in any one field is read too, or refused by an error of
    ours.

    Args:
        adapter: The adapter.
        replies: JSON bodies as the endpoint sends them, each with the question that it answers.

    Raises:
        AssertionError: For the first rule that does not hold, with the values.
    """
    able = adapter.capabilities()
    expect(adapter.name, "the adapter has no name")
    expect(able == adapter.capabilities(), "the capabilities are others when they are asked for again")
    expect(able.top_k >= 1, f"top_k is {able.top_k}, and steering needs 1 at least")
    expect(able.ways >= 1, f"there are {able.ways} ways to ask, and one is the least")
    for ask in _asks(able):
        _check_request(adapter.encode(ask), adapter.encode(ask), ask)
    _check_lists(adapter, able)
    for ask, body in replies:
        _check_reply(adapter, ask, body)
        for bent in _bent(body):
            _check_bent(adapter, ask, bent)


def _asks(able: Capabilities) -> Iterator[Ask]:
    """One question of each kind that the capabilities name."""
    prompt = Prefix("" if able.chat else PROMPT, messages=(Message("user", PROMPT),))
    begun = replace(prompt, answer=ANSWER.encode())
    if not able.logprobs or able.answers_at_once > 1:
        yield Draw("model", prompt, Sampling(1.0, seed=3), 7, able.answers_at_once)
        if able.continuation in (Continuation.EXACT, Continuation.PREFILL):
            yield Draw("model", begun, Sampling(1.0, seed=3), 7, able.answers_at_once)
    if not able.logprobs:
        return
    yield Generate("model", prompt, able.top_k)
    yield Generate("model", prompt, able.top_k, 7, Sampling(0.7, 0.9, seed=3))
    if able.continuation is not Continuation.NONE:
        for way in range(able.ways):
            yield Generate("model", begun, able.top_k, way=way)
    if able.token_ids:
        yield Generate("model", replace(begun, ids=(1, 2, 3)), able.top_k)
    if able.reveal != "none":
        yield Reveal("model", prompt, able.top_k, (5,))
    if able.echo:
        yield Echo("model", begun, able.top_k, DRAFT.encode(), length=2)
        yield Score("model", DRAFT.encode(), able.top_k)


def _check_request(request: WireRequest, again: WireRequest, ask: Ask) -> None:
    kind = type(ask).__name__
    expect(request == again, f"one {kind} becomes {request!r}, and then {again!r}")
    expect(request.path.startswith("/"), f"a {kind} goes to {request.path!r}, which does not start with /")
    sent = _dumped(request, kind)
    for text in _texts(ask):
        expect(text in sent, f"the request of a {kind} does not hold {text!r}: {sent[:500]}")


def _dumped(request: WireRequest, kind: str) -> str:
    try:
        return json.dumps(dict(request.body), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the body of a {kind} is no JSON: {error}") from error


def _texts(ask: Ask) -> Iterator[str]:
    """What a request for a question must hold, where it is sent as text."""
    if isinstance(ask, Score):
        yield DRAFT
        return
    if ask.prefix.ids is not None:
        return
    yield PROMPT
    if ask.prefix.answer:
        yield ANSWER
    if isinstance(ask, Echo):
        yield DRAFT


def _check_lists(adapter: Adapter, able: Capabilities) -> None:
    if not able.prompt_lists:
        return
    fault = "it takes lists of prompts (`prompt_lists`), and has no `encode_list` and `decode_list`"
    expect(isinstance(adapter, ListAdapter), fault)
    asks = [Generate("model", Prefix(f"{PROMPT}-{i}"), able.top_k) for i in range(2)]
    sent = _dumped(cast(ListAdapter, adapter).encode_list(asks), "list of two")
    expect(all(f"{PROMPT}-{i}" in sent for i in range(2)), f"a list of two prompts does not hold both: {sent[:500]}")


def _check_reply(adapter: Adapter, ask: Ask, body: Json) -> None:
    before = deepcopy(body)
    reply = adapter.decode(body, ask)
    expect(body == before, "reading a reply changed its body")
    expect(reply == adapter.decode(body, ask), "a reply that is read again is another")
    _check_valid(reply)


def _check_bent(adapter: Adapter, ask: Ask, body: Json) -> None:
    try:
        reply = adapter.decode(body, ask)
    except BlackboxProxyError:
        return
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} ({error}) leaves `decode` for the body {body!r}") from error
    _check_valid(reply)


def _check_valid(reply: Reply) -> None:
    for at, position in enumerate((*reply.positions, *reply.given, *(echoed.position for echoed in reply.echoed))):
        _check_position(position, f"position {at} ({position.sampled.piece!r})")
    counts = {name: getattr(reply.usage, name) for name in ("input", "cached", "cache_write", "output")}
    for name, count in counts.items():
        expect(isinstance(count, int) and count >= 0, f"the reply counts {count!r} tokens of {name}")


def _check_position(position: Position, where: str) -> None:
    for candidate in (position.sampled, *position.top, *position.requested):
        _check_candidate(candidate, where)
    logps = [candidate.logp for candidate in position.top]
    expect(logps == sorted(logps, reverse=True), f"the top-k of {where} does not begin with the most probable: {logps}")
    tokens = [(candidate.piece, candidate.kind, candidate.id) for candidate in position.top]
    expect(len(set(tokens)) == len(tokens), f"the top-k of {where} names a token twice: {tokens}")
    expect(0.0 <= position.tail <= 1.0, f"the tail of {where} is {position.tail}")
    expect(position.ceiling <= CLOSE, f"the ceiling of {where} is {position.ceiling}, above log 1")
    shown = math.fsum(math.exp(min(candidate.logp, 0.0)) for candidate in (*position.top, *position.requested))
    whole = shown + position.tail
    expect(not logps or shown > 1.0 or abs(whole - 1.0) <= CLOSE, f"the probabilities of {where} add up to {whole}")


def _check_candidate(candidate: Candidate, where: str) -> None:
    logp = candidate.logp
    expect(isinstance(candidate.piece, bytes), f"a piece at {where} is {candidate.piece!r}, not bytes")
    expect(not math.isnan(logp) and logp <= CLOSE, f"a log-prob at {where} is {logp}")
    expect(candidate.kind is not Kind.TEXT or candidate.piece, f"a token of text at {where} has no bytes")


def _bent(body: Json) -> Iterator[Json]:
    """The body with one field left out, or with something else in its place; each field of it in turn."""
    for path in _paths(body):
        for value in (_MISSING, *WRONG):
            yield cast(Json, _with(body, path, value))


_MISSING = object()


def _paths(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where each field of a JSON value stands; of a list the first and the last item."""
    if path:
        yield path
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _paths(value, (*path, key))
    elif isinstance(node, Sequence) and not isinstance(node, str) and node:
        for at in {0, len(node) - 1}:
            yield from _paths(node[at], (*path, at))


def _with(node: object, path: tuple[str | int, ...], value: object) -> object:
    """A copy of a JSON value, with another one at a path, or nothing."""
    copy = deepcopy(node)
    inner: dict[str | int, object] = cast(dict[str | int, object], copy)
    for key in path[:-1]:
        inner = cast(dict[str | int, object], inner[key])
    if value is _MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy
