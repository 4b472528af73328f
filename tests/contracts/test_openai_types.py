"""Requests for OpenAI's routes are valid by the types that OpenAI's SDK has of its own description of them.

Every shipped profile that speaks these routes, every model rule of it, and asks as hypothesis draws them. Strictly: a
field that the description does not have is refused, and so is a value that would do only after a conversion. What other
providers add to the description is named by their profile or by the adapter, and nothing else may be added.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as Chat
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as Completion
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as Response
from pydantic import TypeAdapter, ValidationError

from blackbox_proxy.openai_http.turns import FLAGS
from blackbox_proxy.remote.profiles.finding import Profile, all_profiles
from blackbox_proxy.remote.profiles.rules import laid_over, settle
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.types import Adapter, Ask, Continuation, Draw, Generate, Message, Prefix, Reveal, Sampling
from blackbox_proxy_adapters.options import Options

TYPES: Mapping[str, TypeAdapter[object]] = {
    "/chat/completions": TypeAdapter(Chat),
    "/completions": TypeAdapter(Completion),
    "/responses": TypeAdapter(Response),
}
MESSAGES = TypeAdapter(list[ChatCompletionMessageParam])

OPENAIS_OWN = frozenset({"openai", "azure"})
MOST_TOP = 20
"""`top_logprobs` in OpenAI's description."""

ADDED = frozenset(
    {"continue_final_message", "add_generation_prompt", "logprob_token_ids", "return_tokens_as_token_ids"}
)
"""What the adapters add for servers that go on from a partial turn, or tell the log-probs of chosen ids."""

RESPONSES = {
    "path": "/responses",
    "decoder": "openai_responses",
    "logprobs_kind": "include",
    "length_field": "max_output_tokens",
    "min_output": 16,
    "seed_field": "",
}


@dataclass(frozen=True)
class Spoken:
    """One model of a profile, by one adapter; more: what the profile itself says is sent besides."""

    name: str
    model: str
    codec: Adapter
    more: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name}:{self.model}:{self.codec.name}"


def models_of(profile: Profile) -> list[str]:
    """A name for each rule by which a model may be steered."""
    allowed = [rule.names[0] for rule in profile.document.models if not rule.deny]
    return [name.replace("*", "") for name in allowed] or ["some-model"]


def spoken(profile: Profile, model: str, **options: object) -> Spoken:
    known = settle(profile, model, today=dt.date(2026, 11, 22), base_url="https://api.example.com/v1")
    taken = laid_over(known.options, options)
    extra, seed = taken.get("extra_body"), taken.get("seed_field", "seed")
    more = {*(extra if isinstance(extra, Mapping) else ()), str(seed)}
    if taken.get("logprobs_kind") == "bool" and taken.get("path") == "/completions":
        more |= {"logprobs", "top_logprobs"}  # Fireworks asks on this route as chats are asked
    return Spoken(profile.name, model, load_adapter(known.adapter, **taken), frozenset(more))


def all_spoken() -> Iterator[Spoken]:
    """Every profile on every rule, but for routes that OpenAI does not have; OpenAI also on /responses."""
    for profile in all_profiles(folder=Path("no such folder"), packages=None):
        said = profile.document
        if said.profile.supported and said.options.decoder != "llama_native":
            yield from (spoken(profile, model) for model in models_of(profile))
        if profile.name in OPENAIS_OWN:
            for strategy in ("draft", "replay"):
                yield spoken(profile, models_of(profile)[-1], strategies=(strategy,))
        if profile.name == "compatible":
            yield spoken(profile, "some-model", token_ids=True, reveal="bias")
        if profile.name == "openai":
            for strategy in ("instruct", "draft", "replay"):
                yield spoken(profile, models_of(profile)[0], strategies=(strategy,), **RESPONSES)


ALL = tuple(all_spoken())

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
samplings = st.builds(
    Sampling,
    st.just(0.0) | st.floats(0.01, 2.0),
    st.just(1.0) | st.floats(0.01, 1.0),
    st.none() | st.integers(0, 2**63 - 1),
)
turns = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "system"]), texts), max_size=3)


@st.composite
def asks(draw: st.DrawFn, model: str, told: Adapter) -> Ask:
    """What the engine may ask of such an endpoint."""
    can = told.capabilities()
    ids = draw(st.none() | st.lists(st.integers(0, 200_000), min_size=1, max_size=5)) if can.token_ids else None
    most = {"none": 0, "bias": 1, "ids": 4}[can.reveal]
    # A chat that begins a new turn with every reply draws whole answers alone.
    begun = can.logprobs or can.continuation is not Continuation.APPROXIMATE
    prefix = Prefix(
        draw(texts),
        draw(st.just("") | texts if begun else st.just("")).encode(),
        (*draw(turns), Message("user", draw(texts))) if can.chat else (),
        None if ids is None else tuple(ids),
    )
    top_k = draw(st.integers(1, 40))
    chosen = tuple(draw(st.lists(st.integers(0, 200_000), max_size=most, unique=True)))
    if not can.logprobs:
        return Draw(model, prefix, draw(samplings), draw(st.integers(1, 64)))
    if chosen:
        return Reveal(model, prefix, top_k, chosen)
    drawn = st.none() if isinstance(told, Options) and told.pinned else st.none() | samplings
    return Generate(model, prefix, top_k, draw(st.integers(1, 64)), draw(drawn))


def check(path: str, body: Mapping[str, object]) -> None:
    """Raise ValidationError unless the description has each of these fields, with a value of just this type."""
    TYPES[path].validate_python(dict(body), strict=True, extra="forbid")
    # Messages are described as an Iterable, which is not looked into.
    MESSAGES.validate_python(body.get("messages", []), strict=True, extra="forbid")


@pytest.mark.parametrize("case", [case for case in ALL if case.name in OPENAIS_OWN], ids=str)
@settings(max_examples=12)
@given(data=st.data())
def test_openais_own_routes_are_sent_what_they_describe(case: Spoken, data: st.DataObject) -> None:
    request = case.codec.encode(data.draw(asks(case.model, case.codec)))
    check(request.path, request.body)
    top = request.body.get("top_logprobs", 1 if not case.codec.capabilities().logprobs else None)
    assert isinstance(top, int)
    assert 1 <= top <= MOST_TOP


@pytest.mark.parametrize("case", [case for case in ALL if case.name not in OPENAIS_OWN], ids=str)
@settings(max_examples=12)
@given(data=st.data())
def test_other_providers_are_sent_no_more_than_their_profile_names(case: Spoken, data: st.DataObject) -> None:
    request = case.codec.encode(data.draw(asks(case.model, case.codec)))
    more = case.more | ADDED
    check(request.path, {name: unflagged(value) for name, value in request.body.items() if name not in more})


def unflagged(value: object) -> object:
    """Messages without the flags by which Mistral and Kimi, and others, go on from one; anything else as it is."""
    if not isinstance(value, list) or not value or not isinstance(value[-1], dict):
        return value
    return [*value[:-1], {name: field for name, field in value[-1].items() if name not in FLAGS}]


def test_all_of_openais_routes_are_among_the_cases() -> None:
    """So that a profile that is renamed does not leave these tests without anything to test."""
    prefix = Prefix("text", messages=(Message("user", "question"),))
    ask, drawn = Generate("m", prefix, 5), Draw("m", prefix, Sampling(1.0))
    asked = ((case, ask if case.codec.capabilities().logprobs else drawn) for case in ALL)
    paths = {(case.name, case.codec.encode(question).path) for case, question in asked}
    assert {("openai", "/chat/completions"), ("openai", "/responses"), ("azure", "/chat/completions")} <= paths
    assert ("compatible", "/completions") in paths


@pytest.mark.parametrize(
    "change",
    [
        {"n_probs": 1},
        {"temperature": "0"},
        {"logit_bias": {"7": 99.5}},
        {"logit_bias": {7: 100}},
        {"top_logprobs": 5.0},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "assistant", "content": "so far", "prefix": True}]},
        {"reasoning_effort": "nothing"},
    ],
    ids=str,
)
def test_the_description_refuses_what_is_not_in_it(change: Mapping[str, object]) -> None:
    good = load_adapter("chat_continue").encode(Generate("m", Prefix("", messages=(Message("user", "question"),)), 5))
    check(good.path, good.body)
    with pytest.raises(ValidationError):
        check(good.path, {**good.body, **change})
