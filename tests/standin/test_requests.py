"""Requests: any JSON value is either read or refused in so many words, and what is read is what was meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.openai_http.fields import Refusal, read_body
from blackbox_proxy.standin import requests
from blackbox_proxy.standin.requests import StandinRequest, read_chat, read_completion
from blackbox_proxy.types import Message, Prompt
from tests.standin.raw import Json

T = TypeVar("T")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -1, 0, 1, 2])
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()), max_size=5)
    | st.sampled_from(["m", "user", "text", "", "\ud800"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "include_usage", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = [
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "n",
    "stop",
    "logprobs",
    "top_logprobs",
    "echo",
    "stream",
    "stream_options",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "best_of",
    "suffix",
    "tools",
    "functions",
    "response_format",
    "modalities",
    "audio",
    "user",
]
ASK: dict[str, Json] = {"model": "m", "prompt": "p"}
TALK: dict[str, Json] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Read(Protocol):
    def __call__(self, body: dict[str, Json], *, top_k: int) -> StandinRequest: ...


def valid(request: StandinRequest) -> bool:
    """What the rest of the server relies on."""
    return (
        bool(request.model and request.sources)
        and all(request.sources)
        and (request.max_tokens is None or request.max_tokens >= (not request.echo))
        and 0 <= request.temperature <= 2
        and 0 <= request.top_p <= 1
        and request.n >= 1
        and all(request.stops)
        and (request.top_k is None or 0 <= request.top_k <= 7)
    )


def outcome_of(read: Callable[[], T]) -> T | InputError:
    """What was read, or why not; anything else that is raised fails the test."""
    try:
        return read()
    except InputError as error:
        return error


def refused(refusal: InputError) -> bool:
    """As a client's fault, with a message that can be sent."""
    return isinstance(refusal, Refusal) and refusal.status == 400 and bool(str(refusal).encode())


@pytest.mark.parametrize(("read", "base"), [(read_completion, ASK), (read_chat, TALK)])
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_json_object_is_read_or_refused(read: Read, base: dict[str, Json], changes: dict[str, Json]) -> None:
    outcome = outcome_of(lambda: read({**base, **changes}, top_k=7))
    assert refused(outcome) if isinstance(outcome, InputError) else valid(outcome)


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_json_object_or_refused(raw: bytes) -> None:
    outcome = outcome_of(lambda: read_body(raw))
    assert refused(outcome) if isinstance(outcome, InputError) else outcome == json.loads(raw)


@pytest.mark.parametrize("raw", [b"[" * 200_000, b'{"a": ' + b"1" * 5000 + b"}", b'{"a": NaN}', b'"\xff"', b""])
def test_hostile_json_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal, match="could not parse"):
        read_body(raw)


@pytest.mark.parametrize(
    ("prompt", "sources"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        ([[1], "b"], ((1,), "b")),
    ],
)
def test_a_prompt_has_four_spellings(prompt: object, sources: tuple[object, ...]) -> None:
    assert read_completion({"model": "m", "prompt": prompt}, top_k=5).sources == sources


@pytest.mark.parametrize("prompt", ["", [], [""], [[]], None, ["a", ""], [[1], []]])
def test_an_empty_prompt_is_refused(prompt: object) -> None:
    with pytest.raises(Refusal, match="empty"):
        read_completion({"model": "m", "prompt": prompt}, top_k=5)


def test_the_defaults_are_those_of_the_api() -> None:
    request = read_completion(ASK, top_k=5)
    assert (request.max_tokens, request.temperature, request.top_p, request.n) == (16, 1.0, 1.0, 1)
    assert request.top_k is None
    assert read_chat(TALK, top_k=5).max_tokens is None


def test_null_is_as_if_the_field_were_absent() -> None:
    nulls = dict.fromkeys(set(FIELDS) - {"model", "prompt", "messages"})
    assert read_completion({**nulls, **ASK}, top_k=5) == read_completion(ASK, top_k=5)
    assert read_chat({**nulls, **TALK}, top_k=5) == read_chat(TALK, top_k=5)


def test_unknown_fields_and_neutral_ones_change_nothing() -> None:
    harmless = {"user": "u", "x": [1], "frequency_penalty": 0, "logit_bias": {}, "presence_penalty": 0.0}
    assert read_completion({**ASK, **harmless, "best_of": 1}, top_k=5) == read_completion(ASK, top_k=5)
    extra = {**harmless, "tools": [], "response_format": {"type": "text"}}
    assert read_chat({**TALK, **extra}, top_k=5) == read_chat(TALK, top_k=5)


@pytest.mark.parametrize("field", [{"best_of": 2}, {"suffix": "x"}, {"presence_penalty": 0.1}])
def test_a_field_that_nothing_here_obeys_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(Refusal) as caught:
        read_completion({**ASK, **field}, top_k=5)
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param == next(iter(field))


def test_parts_of_a_message_are_joined_and_a_developer_speaks_as_system() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None},
    ]
    request = read_chat({"model": "m", "messages": messages}, top_k=5)
    spoken = (Message("system", "be brief"), Message("user", "ab"), Message("assistant", ""))
    assert request.sources == (Prompt(messages=spoken),)


def test_the_newer_name_of_the_limit_wins() -> None:
    assert read_chat({**TALK, "max_tokens": 5, "max_completion_tokens": 7}, top_k=5).max_tokens == 7


def test_stop_is_one_string_or_up_to_four() -> None:
    assert read_completion({**ASK, "stop": "é"}, top_k=5).stops == ("é".encode(),)
    assert read_completion({**ASK, "stop": ["a", "b"]}, top_k=5).stops == (b"a", b"b")
    with pytest.raises(Refusal, match="at most 4"):
        read_completion({**ASK, "stop": list("abcde")}, top_k=5)


def test_no_more_alternatives_than_the_server_gives() -> None:
    assert read_completion({**ASK, "logprobs": 5}, top_k=5).top_k == 5
    with pytest.raises(Refusal, match="Expected a value <= 5, but got 6"):
        read_completion({**ASK, "logprobs": 6}, top_k=5)
    with pytest.raises(Refusal, match="only allowed when 'logprobs'"):
        read_chat({**TALK, "top_logprobs": 1}, top_k=5)


def test_too_many_prompts_are_refused() -> None:
    with pytest.raises(Refusal, match="prompts"):
        read_completion({**ASK, "prompt": ["a"] * (requests.MOST_PROMPTS + 1)}, top_k=5)


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ({"logit_bias": {"x": 1}}, "Invalid key in 'logit_bias'"),
        ({"logit_bias": {"5": 101}}, "not between -100 and 100"),
        ({"logit_bias": {"5": "1"}}, "expected an object of decimals"),
        ({"logit_bias": [5]}, "expected an object"),
        ({"logprob_token_ids": [1.5], "logprobs": 1}, "expected a list of token ids"),
        ({"logprob_token_ids": [1]}, "only allowed with 'logprobs'"),
        ({"logprob_token_ids": list(range(1025)), "logprobs": 1}, "at most 1024"),
    ],
)
def test_chosen_ids_and_biases_are_checked(field: dict[str, object], fault: str) -> None:
    with pytest.raises(Refusal, match=fault):
        read_completion({"model": "m", "prompt": "a", **field}, top_k=5)


def test_chosen_ids_and_biases_are_read() -> None:
    fields = {"logit_bias": {"5": -2, "7": 0.5}, "logprob_token_ids": [3, 1, 3], "return_tokens_as_token_ids": True}
    request = read_completion({"model": "m", "prompt": "a", "logprobs": 0, **fields}, top_k=5)
    assert (request.bias, request.also, request.as_ids) == (((5, -2.0), (7, 0.5)), (3, 1), True)
