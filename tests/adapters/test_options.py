"""What a request says for each option, and that options which cannot work are refused where they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import get_type_hints

import pytest
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as Chat
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as Completion
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as Response
from pydantic import TypeAdapter, ValidationError

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.types import Adapter, Ask, Draw, Generate, Message, Prefix, Reveal, Sampling, WireRequest
from blackbox_proxy_adapters.chat_continue import ChatContinue
from blackbox_proxy_adapters.chat_prefill import ChatPrefill
from blackbox_proxy_adapters.completions import Completions
from tests.adapters.shapes import RESPONSES, Json

CHAT = (Message("user", "Hello"),)
ASK = Generate("gpt-4o", Prefix("Hello", b"The capital of Alb", CHAT), 30, 4)
SEEDED = replace(ASK, sampling=Sampling(0.0, seed=3))
ADAPTERS = (Completions, ChatPrefill, ChatContinue)

NATIVE: Json = {
    "path": "/completion",
    "decoder": "llama_native",
    "length_field": "n_predict",
    "logprobs_kind": "n_probs",
    "token_ids": True,
}


def answered(answer: bytes, *, seed: int | None = None) -> Ask:
    """The same, behind this beginning of an answer."""
    sampling = None if seed is None else Sampling(0.0, seed=seed)
    return replace(ASK, prefix=Prefix("Hello", answer, CHAT), sampling=sampling)


def build(name: str, **options: object) -> Adapter:
    return load_adapter(name, **options)


def test_the_three_are_installed_and_known_by_name() -> None:
    for name in ("completions", "chat_prefill", "chat_continue"):
        assert build(name).name == name


def test_llamas_own_route() -> None:
    codec = build("completions", **NATIVE, extra_body={"cache_prompt": False, "id_slot": 1})
    assert codec.encode(SEEDED) == WireRequest(
        "/completion",
        {
            "return_tokens": True,
            "cache_prompt": False,
            "id_slot": 1,
            "model": "gpt-4o",
            "prompt": "HelloThe capital of Alb",
            "n_predict": 4,
            "temperature": 0.0,
            "n_probs": 20,
            "seed": 3,
        },
    )
    assert codec.encode(replace(ASK, prefix=Prefix("", ids=(5, 6)))).body["prompt"] == [5, 6]


def test_the_responses_route() -> None:
    sent = build("chat_continue", **RESPONSES).encode(answered(b"", seed=3))
    assert sent == WireRequest(
        "/responses",
        {
            "model": "gpt-4o",
            "input": [{"role": "user", "content": "Hello"}],
            "max_output_tokens": 16,
            "temperature": 0.0,
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 20,
        },
    )


@pytest.mark.parametrize("name", ["completions", "chat_prefill", "chat_continue"])
def test_options_that_all_adapters_share(name: str) -> None:
    options: Json = {"top_k": 5, "min_output": 200, "seed_field": "random_seed", "query_temperature": 1.0}
    more: Json = {"length_field": "max_completion_tokens", "extra_body": {"reasoning_effort": "none"}}
    codec = build(name, **options, **more)
    greedy, drawn = codec.encode(ASK).body, codec.encode(replace(ASK, sampling=Sampling(0.5, seed=7))).body
    for body in (greedy, drawn):
        assert body["max_completion_tokens"] == 200
        assert body["reasoning_effort"] == "none"
        assert body.get("top_logprobs", body["logprobs"]) == 5
        assert "seed" not in body
    assert (greedy["temperature"], "random_seed" in greedy) == (1.0, False)
    assert (drawn["temperature"], drawn["random_seed"]) == (0.5, 7)


@pytest.mark.parametrize("name", ["completions", "chat_prefill", "chat_continue"])
def test_a_temperature_that_is_named_is_sent_as_it_is(name: str) -> None:
    """Also 0, where log-probs at 0 are worth nothing; top_p where it cuts anything off."""
    codec = build(name, query_temperature=1.0)
    exact, whole = (codec.encode(replace(ASK, sampling=one)).body for one in (Sampling(0.0, 0.9), Sampling(0.7)))
    assert (exact["temperature"], exact["top_p"]) == (0.0, 0.9)
    assert (whole["temperature"], "top_p" in whole, "seed" in whole) == (0.7, False, False)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("options", "words", "hint"),
    [
        ({"top_k": 0}, "top_k must be at least 1, not 0", "alternatives"),
        ({"min_output": 0}, "min_output must be at least 1, not 0", "1 is"),
        ({"query_temperature": 3.0}, "query_temperature must be between 0 and 2, not 3.0", "one-hot"),
        ({"decoder": "openai"}, "no decoder 'openai'", "openai_chat"),
        ({"logprobs_kind": "counts"}, "no logprobs_kind 'counts'", "did you mean 'count'"),
        ({"bytes_trust": "loss"}, "no bytes_trust 'loss'", "did you mean 'lossy'"),
        ({"path": "completions"}, "path must start with /", "/chat/completions"),
        ({"length_field": ""}, "length_field hold a name", "max_tokens"),
        ({"end_pieces": ["</s>"]}, "end_pieces must be bytes", "b'</s>'"),
        ({"end_ids": ["2"]}, "end_ids must be whole numbers", "2"),
        ({"extra_body": {"stream": True}}, "extra_body sets stream", "remove it"),
        (
            {"extra_body": {"top_logprobs": 5, "logit_bias": {}}},
            "extra_body sets logit_bias, top_logprobs",
            "remove it",
        ),
        ({"length_field": "n", "extra_body": {"n": 2}}, "extra_body sets n", "remove it"),
        (
            {"extra_body": {"response_format": {}}},
            "sets response_format, with which log-probs are not",
            "own distribution",
        ),
    ],
)
def test_what_cannot_work_is_refused(adapter: Callable[..., Adapter], options: Json, words: str, hint: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        adapter(**options)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["completions", "chat_prefill", "chat_continue"])
def test_a_misspelt_option_is_answered_with_all_that_there_are(name: str) -> None:
    with pytest.raises(InputError, match="unexpected keyword argument 'end_piece'") as caught:
        load_adapter(name, end_piece=())
    assert "end_pieces" in caught.value.hint


MESSAGES = TypeAdapter(list[ChatCompletionMessageParam])
described = cache(TypeAdapter)


def check(params: type, body: Mapping[str, object]) -> None:
    """Raise unless OpenAI's description of a request has each of these fields, with a value of this type."""
    assert body.keys() <= get_type_hints(params).keys()
    described(params).validate_python(dict(body))
    # Messages are described as an Iterable, which is not looked into.
    MESSAGES.validate_python(body.get("messages", []))


STRATEGIES = [(strategy, answer) for strategy in ("instruct", "draft", "replay") for answer in (b"", b"So far", b"One")]


@pytest.mark.parametrize(("strategy", "answer"), STRATEGIES)
def test_chat_requests_are_valid_by_openais_own_description(strategy: str, answer: bytes) -> None:
    reasoning: Json = {"length_field": "max_completion_tokens", "extra_body": {"reasoning_effort": "none"}}
    for options, seed in (({}, None), ({}, 3), (reasoning, 3)):
        codec = build("chat_continue", strategies=(strategy,), **options)
        check(Chat, codec.encode(answered(answer, seed=seed)).body)


@pytest.mark.parametrize(("strategy", "answer"), STRATEGIES)
def test_response_requests_are_valid_by_openais_own_description(strategy: str, answer: bytes) -> None:
    check(Response, build("chat_continue", strategies=(strategy,), **RESPONSES).encode(answered(answer)).body)


@pytest.mark.parametrize("ids", [None, (1, 2)])
def test_completion_requests_are_valid_by_openais_own_description(ids: tuple[int, ...] | None) -> None:
    codec = build("completions", top_k=5, token_ids=True, reveal="bias")
    prefix = replace(ASK.prefix, ids=ids)
    for ask in (replace(SEEDED, prefix=prefix), Reveal("gpt-4o", prefix, 30, (7,))):
        check(Completion, codec.encode(ask).body)


def test_openais_description_can_refuse() -> None:
    good = build("chat_continue").encode(ASK).body
    with pytest.raises(AssertionError):
        check(Chat, {**good, "n_probs": 1})
    for bad in ({"temperature": "hot"}, {"messages": [{"role": "user"}]}):
        with pytest.raises(ValidationError):
            check(Chat, {**good, **bad})


PINNED = {"temperature": 1.0, "top_p": 0.95}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_an_endpoint_fixes_is_never_sent(adapter: Callable[..., Adapter]) -> None:
    codec = adapter(pinned=PINNED)
    drawn = Draw("m", Prefix("Hello", messages=CHAT), Sampling(0.7, 0.9, 5), 8)
    for ask in (replace(ASK, prefix=Prefix("Hello", messages=CHAT)), drawn):
        body = codec.encode(ask).body
        assert not body.keys() & PINNED.keys()
        assert body["max_tokens"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_token_is_not_drawn_otherwise_than_the_endpoint_draws(adapter: Callable[..., Adapter]) -> None:
    """Its draw would be taken for one of another distribution."""
    codec, plain = adapter(pinned=PINNED), replace(ASK, prefix=Prefix("Hello", messages=CHAT))
    codec.encode(replace(plain, sampling=Sampling(1.0, 0.95, 1)))
    with pytest.raises(InputError, match=r"fixes top_p at 0\.95") as caught:
        codec.encode(replace(plain, sampling=Sampling(1.0, 1.0, 1)))
    assert "greedy answers that are steered" in caught.value.hint
    with pytest.raises(InputError, match=r"fixes temperature at 1 and top_p at 0\.95"):
        codec.encode(replace(plain, sampling=Sampling(0.5)))


def test_only_what_is_sent_can_be_fixed() -> None:
    with pytest.raises(InputError, match="there is no pinned field 'topp'") as caught:
        ChatContinue(pinned={"topp": 1.0})
    assert "did you mean 'top_p'?" in caught.value.hint
