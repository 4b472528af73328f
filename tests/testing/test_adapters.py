"""The check of adapters: ours pass it, and an adapter that breaks one rule is told which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.testing import check_adapter
from blackbox_proxy.types import (
    Adapter,
    Ask,
    Candidate,
    Capabilities,
    Draw,
    Echo,
    Generate,
    Kind,
    Message,
    Position,
    Prefix,
    Reply,
    Sampling,
    Score,
    Usage,
    WireRequest,
)
from tests.adapters.shapes import RESPONSES, Json, body, chat, chosen, native, response, row
from tests.adapters.test_wire_bodies import FULL, NATIVE

ROWS = (
    chosen(row(" Paris", -0.25, id=1), row(" Lyon", -3.0, id=3)),
    row("\ufffd", -9.0, b"\xe2", top=[row(".", -0.5, id=4), row("", -9.0, b"", id=2)], id=5),
    chosen(row(".", -0.5, id=4)),
)
LEGACY = body((" Paris", -0.25, {" Lyon": -3.0, " Paris": -0.25}), (".", -0.5, {".": -0.5}))
ASKED = Generate("m", Prefix("Q"), 5, 3)
CHATTED = Generate("m", Prefix("", messages=(Message("user", "Q"),)), 5, 3)
ECHOED = body((" a", -1.0, {" a": -1.0}), (" b", -2.0, {" b": -2.0}), (" c", -0.5, {" c": -0.5}))

Case = tuple[str, Mapping[str, object], Sequence[tuple[Ask, Json]]]
OURS: Mapping[str, Case] = {
    "completions": ("completions", {}, [(ASKED, LEGACY)]),
    "completions, all that it can": (
        "completions",
        {**FULL, "prompt_lists": True},
        [(ASKED, LEGACY), (Echo("m", Prefix(" a"), 5, b" b"), ECHOED), (Score("m", b" a b", 5), ECHOED)],
    ),
    "completions, llama.cpp": ("completions", NATIVE, [(ASKED, native(*ROWS))]),
    "completions, chat shape": ("completions", {"decoder": "openai_chat"}, [(ASKED, chat(*ROWS))]),
    "chat_prefill": ("chat_prefill", {"prefill": "flag_pair"}, [(CHATTED, chat(*ROWS))]),
    "chat_continue": ("chat_continue", {}, [(CHATTED, chat(*ROWS))]),
    "responses": ("chat_continue", RESPONSES, [(CHATTED, response(*ROWS))]),
    "whole answers of a chat": (
        "chat_continue",
        {"logprobs": False, "answers_at_once": 2},
        [(Draw("m", CHATTED.prefix, Sampling(1.0), 5), chat(*ROWS))],
    ),
    "whole answers of a partial turn": (
        "chat_prefill",
        {"answers_at_once": 2},
        [(Draw("m", CHATTED.prefix, Sampling(1.0), 5), chat(*ROWS))],
    ),
    "whole answers of raw text": (
        "completions",
        {"logprobs": False},
        [(Draw("m", Prefix("a"), Sampling(1.0), 5), LEGACY)],
    ),
    "whole answers of llama.cpp": (
        "completions",
        {**NATIVE, "logprobs": False},
        [(Draw("m", Prefix("a"), Sampling(1.0), 5), native(*ROWS))],
    ),
    "whole answers of responses": (
        "chat_continue",
        {**RESPONSES, "logprobs": False},
        [(Draw("m", CHATTED.prefix, Sampling(1.0), 5), response(*ROWS))],
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_ours_hold(name: str) -> None:
    adapter, options, recorded = OURS[name]
    check_adapter(load_adapter(adapter, **options), replies=recorded)


@dataclass
class Small:
    """A small adapter that holds to the rules: the reply is a list of tokens with their log-probs."""

    name: str = "small"
    able: Capabilities = field(default_factory=Capabilities)

    def capabilities(self) -> Capabilities:
        return self.able

    def encode(self, ask: Ask) -> WireRequest:
        if isinstance(ask, Score):
            return WireRequest("/score", {"text": ask.text.decode()})
        return WireRequest("/go", {"text": ask.prefix.prompt + ask.prefix.answer.decode(), "ids": ask.prefix.ids})

    def decode(self, body: Mapping[str, object], _ask: Ask) -> Reply:
        tokens = body.get("tokens")
        rows = tokens if isinstance(tokens, list) else []
        positions = tuple(_place(one) for one in rows if isinstance(one, str) and one)
        return Reply(positions, "length", Usage(output=len(positions)))


def _place(token: str, *others: Candidate, tail: float = 0.5) -> Position:
    sampled = Candidate(token.encode(), -0.6931471805599453)
    return Position(sampled, (sampled, *others), tail, -0.6931471805599453)


def replies() -> Sequence[tuple[Ask, Json]]:
    return [(ASKED, {"tokens": ["a", "b"]})]


def test_a_small_adapter_holds() -> None:
    check_adapter(Small(), replies=replies())
    check_adapter(Small(able=Capabilities(token_ids=True)), replies=replies())


@dataclass
class Bent(Small):
    """The small adapter, one of whose answers is changed."""

    request: Callable[[WireRequest], WireRequest] = lambda request: request
    reply: Callable[[Reply], Reply] = lambda reply: reply

    def encode(self, ask: Ask) -> WireRequest:
        return self.request(super().encode(ask))

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        return self.reply(super().decode(body, ask))


def first(change: Callable[[Position], Position]) -> Callable[[Reply], Reply]:
    """A reply whose first position is changed."""
    return lambda reply: replace(reply, positions=(*map(change, reply.positions[:1]), *reply.positions[1:]))


A, LIKELY, NAMELESS = Candidate(b"a", -0.6931471805599453), Candidate(b"c", -0.1), Candidate(b"", -1.0)

FAULTS: Mapping[str, Adapter] = {
    "the adapter has no name": Small(name=""),
    "top_k is 0": Small(able=Capabilities(top_k=0)),
    "there are 0 ways": Small(able=Capabilities(ways=0)),
    "it takes lists of prompts": Small(able=Capabilities(prompt_lists=True)),
    "which does not start with /": Bent(request=lambda request: replace(request, path="go")),
    "is no JSON": Bent(request=lambda request: replace(request, body={"n": float("inf")})),
    "does not hold 'the-answer-so-far'": Bent(
        request=lambda request: replace(request, body={"text": str(request.body["text"])[:24]})
    ),
    "does not hold 'the-draft-behind-it'": Small(able=Capabilities(echo=True)),
    "does not begin with the most probable": Bent(reply=first(lambda place: replace(place, top=(A, LIKELY)))),
    "names a token twice": Bent(reply=first(lambda place: replace(place, top=(A, A)))),
    r"add up to 0\.6": Bent(reply=first(lambda place: replace(place, tail=0.1))),
    "the ceiling of position 0": Bent(reply=first(lambda place: replace(place, ceiling=0.5))),
    "a log-prob at position 0": Bent(reply=first(lambda place: replace(place, sampled=replace(A, logp=0.3)))),
    "a token of text at position 0": Bent(reply=first(lambda place: replace(place, sampled=NAMELESS))),
    "the reply counts -1 tokens of output": Bent(reply=lambda reply: replace(reply, usage=Usage(output=-1))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_that_is_broken_is_named(fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_adapter(FAULTS[fault], replies=replies())


def test_an_end_needs_no_bytes() -> None:
    end = replace(NAMELESS, kind=Kind.END)
    check_adapter(Bent(reply=first(lambda place: replace(place, sampled=end))), replies=replies())


class Changing(Small):
    """What a request looks like, and a reply, depends on how often it was asked."""

    count = 0

    def encode(self, ask: Ask) -> WireRequest:
        self.count += 1
        return replace(super().encode(ask), path=f"/go/{self.count}")


class Careless(Small):
    """It takes the tokens out of the body, and trusts that they are there."""

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        return super().decode({"tokens": list(body["tokens"])}, ask)  # type: ignore[call-overload]


class Greedy(Small):
    """It empties the body that it reads."""

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        reply = super().decode(body, ask)
        tokens = body["tokens"]
        assert isinstance(tokens, list)
        tokens.clear()
        return reply


@pytest.mark.parametrize(
    ("adapter", "fault"),
    [
        (Changing(), "one Generate becomes WireRequest"),
        (Careless(), r"KeyError \('tokens'\) leaves `decode`"),
        (Greedy(), "reading a reply changed its body"),
    ],
)
def test_what_is_not_pure_or_lets_foreign_errors_through_is_named(adapter: Adapter, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_adapter(adapter, replies=replies())
