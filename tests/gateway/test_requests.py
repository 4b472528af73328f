"""The wire: what the SDK and bare HTTP get from a gateway over a real upstream and a real pair."""

from __future__ import annotations

import json

import openai
import pytest

from blackbox_proxy.api import connect
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result
from tests.gateway.nonsense import UNOBEYED
from tests.standin.raw import Json, call, post

ASKED = {"model": "steered", "prompt": "the then", "max_tokens": 6, "temperature": 0}
CHAT = {"model": "steered", "messages": [{"role": "user", "content": "the then"}], "max_tokens": 6, "temperature": 0}


@pytest.fixture(scope="module")
def oracle(upstream: str, pair_file: object, closed: object) -> Result:
    """The same answer by the library."""
    tokenizer = f"gguf:{closed.path}"  # type: ignore[attr-defined]
    with connect(upstream, model="tiny", tokenizer=tokenizer) as api, load_pair(str(pair_file)) as pair:
        return steer(Prompt(text="the then"), api=api, offsets=pair, steering=Steering(alpha=0.5, max_tokens=6))


def test_a_completion_is_the_steered_answer(client: openai.OpenAI, oracle: Result) -> None:
    found = client.completions.create(model="steered", prompt="the then", max_tokens=6, temperature=0, logprobs=3)
    (choice,) = found.choices
    assert choice.text == oracle.text
    assert choice.logprobs
    assert choice.logprobs.token_logprobs == pytest.approx([step.logp_after for step in oracle.steps], abs=1e-3)
    assert found.usage
    assert found.usage.completion_tokens == len(oracle.steps)
    assert found.usage.steering["requests"] == oracle.usage.requests  # type: ignore[attr-defined]


def test_a_stream_has_the_parts_that_openai_sends(served: str) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 2}
    *events, done = post(served, "/v1/chat/completions", body).events
    assert done == "[DONE]"
    chunks: list[Json] = [json.loads(event) for event in events]
    first, *middle, finish, usage = chunks
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(len(chunk["choices"]) == 1 and chunk["usage"] is None for chunk in chunks[:-1])
    assert finish["choices"][0]["delta"] == {}
    assert finish["choices"][0]["finish_reason"] in {"stop", "length"}
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 6
    whole = post(served, "/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2}).json
    said = whole["choices"][0]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == said["message"]["content"]
    tokens = [one for chunk in middle for one in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [one["bytes"] for one in tokens] == [one["bytes"] for one in said["logprobs"]["content"]]
    assert [one["logprob"] for one in tokens] == pytest.approx(
        [one["logprob"] for one in said["logprobs"]["content"]], abs=1e-3
    )
    assert b"".join(bytes(one["bytes"]) for one in tokens).decode("utf-8", "replace") == said["message"]["content"]


def test_the_sdk_reads_a_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    text = whole.choices[0].message.content
    turns = [{"role": "user", "content": "the then"}]
    asked: Json = {**CHAT, "messages": turns, "stop": text[3:5]}
    with client.chat.completions.stream(**asked) as stream:
        assert [event.type for event in stream][-1] == "content.done"
        assert stream.get_final_completion().choices[0].message.content == text[: text.index(text[3:5])]


def test_models_and_routes_without_v1(served: str, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["steered", "blind", "plain"]
    assert client.models.retrieve("blind").id == "blind"
    assert call(served, "/models").json == call(served, "/v1/models").json
    assert call(served, "/health").json == {"status": "ok"}


def test_a_slash_at_the_end_and_azures_prefix_are_the_same_routes(served: str) -> None:
    models = call(served, "/v1/models").json
    answer = post(served, "/v1/completions", ASKED).json["choices"]
    chat = post(served, "/v1/chat/completions", CHAT).json["choices"]
    for prefix in ("", "/v1", "/openai/v1"):
        assert call(served, f"{prefix}/models/").json == call(served, f"{prefix}/models").json == models
        for name in ("blind", "blind/"):
            assert call(served, f"{prefix}/models/{name}").json["id"] == "blind"
        for slash in ("", "/"):
            assert post(served, f"{prefix}/completions{slash}", ASKED).json["choices"] == answer
            assert post(served, f"{prefix}/chat/completions{slash}", CHAT).json["choices"] == chat
    assert call(served, "/v1/models/nobody").status == 404
    azure = served.removesuffix("/v1") + "/openai/v1/"
    with openai.OpenAI(base_url=azure, api_key="any", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["steered", "blind", "plain"]


@pytest.mark.parametrize(
    ("turn", "param", "code"),
    [
        ({"role": "assistant", "function_call": {"name": "f"}}, "function_call.arguments", "invalid_type"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "audio", "unsupported_parameter"),
        ({"role": "assistant", "content": None, "refusal": "No."}, "refusal", "unsupported_parameter"),
        ({"role": "function", "name": "weather", "content": "3"}, "name", "invalid_value"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_that_says_more_than_is_read_is_refused(
    served: str, turn: Json, param: str, code: str, *, stream: bool
) -> None:
    """What is dropped would be missed by nobody, and the answer be another one."""
    messages = [{"role": "user", "content": "the then"}, turn, {"role": "user", "content": "a"}]
    refused = post(served, "/v1/chat/completions", {**CHAT, "messages": messages, "stream": stream})
    assert (refused.status, refused.error["param"]) == (400, f"messages[1].{param}")
    assert refused.error["code"] == code


def test_a_turn_as_the_sdk_keeps_it_is_read(served: str) -> None:
    """A message that came from here, sent back whole: it has fields that say nothing."""
    said = post(served, "/v1/chat/completions", CHAT).json["choices"][0]["message"]
    empty: Json = {"tool_calls": [], "function_call": None, "audio": None, "refusal": None, "annotations": []}
    first, last = {"role": "user", "content": "the then"}, {"role": "user", "content": "a"}
    bare = [first, {"role": "assistant", "content": said["content"]}, last]
    full = [first, {**empty, **said}, last]
    one, other = (post(served, "/v1/chat/completions", {**CHAT, "messages": turns}).json for turns in (bare, full))
    assert one["choices"] == other["choices"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"functions": []}, 200),
        ({"function_call": "none"}, 200),
        ({"function_call": {"name": "f"}}, 400),
        ({"functions": [{"name": "f"}], "function_call": "none"}, 200),
        ({"functions": [{"name": "f f"}]}, 400),
    ],
)
def test_functions_that_declare_nothing_change_nothing(served: str, change: Json, status: int) -> None:
    answer = post(served, "/v1/chat/completions", {**CHAT, **change})
    assert answer.status == status
    if status != 200:
        assert answer.error["param"].startswith("function")


def test_the_tokenizer_is_told_where_it_is_known(served: str) -> None:
    told = post(served, "/tokenize", {"model": "steered", "prompt": "the then", "add_special_tokens": False}).json
    assert told["count"] == len(told["tokens"]) > 0
    by_text, by_ids = (
        post(served, "/v1/completions", {**ASKED, "prompt": prompt}).json["choices"]
        for prompt in ("the then", told["tokens"])
    )
    assert by_text == by_ids
    assert call(served, "/tokenizer_info?model=steered").json["eos_token"]
    for refused in (
        post(served, "/tokenize", {"model": "blind", "prompt": "a"}),
        call(served, "/tokenizer_info?model=blind"),
    ):
        assert (refused.status, refused.error["code"]) == (501, "tokenizer_unknown")
    assert post(served, "/v1/completions", {**ASKED, "model": "blind", "prompt": [1, 2]}).status == 400


def test_without_a_pair_and_at_alpha_0_nothing_is_steered(served: str) -> None:
    plain = post(served, "/v1/completions", {**ASKED, "model": "plain"}).json["choices"]
    zero = post(served, "/v1/completions", {**ASKED, "steering": {"alpha": 0}}).json["choices"]
    steered = post(served, "/v1/completions", {**ASKED, "steering": {"alpha": 3}}).json["choices"]
    assert plain == zero != steered


@pytest.mark.parametrize(
    ("model", "steering"),
    [("plain", {}), ("steered", {"alpha": 0}), ("steered", {"gate": "divergence", "threshold": 1})],
)
def test_where_nothing_is_steered_log_probs_are_the_upstreams_own(
    upstream: str, served: str, model: str, steering: Json
) -> None:
    asked = {**ASKED, "max_tokens": 1, "logprobs": 5}  # one token: what may follow it depends on whether it is text
    own = post(upstream, "/completions", {**asked, "model": "tiny"}).json["choices"][0]["logprobs"]
    found = post(served, "/v1/completions", {**asked, "model": model, "steering": steering}).json["choices"][0][
        "logprobs"
    ]
    assert found["tokens"] == own["tokens"]
    assert found["token_logprobs"] == pytest.approx(own["token_logprobs"], abs=1e-3)
    (told,), (wanted,) = found["top_logprobs"], own["top_logprobs"]
    both = told.keys() & wanted.keys()
    assert len(both) >= 3
    assert {token: told[token] for token in both} == pytest.approx({token: wanted[token] for token in both}, abs=1e-3)


def test_several_choices(served: str) -> None:
    greedy = post(served, "/v1/completions", {**ASKED, "n": 3, "prompt": ["the then", "a"]}).json
    texts = [choice["text"] for choice in greedy["choices"]]
    assert [choice["index"] for choice in greedy["choices"]] == list(range(6))
    assert texts[0] == texts[1] == texts[2] != texts[3]
    drawn = {**ASKED, "n": 4, "temperature": 1.5, "seed": 7}
    one, other = (post(served, "/v1/completions", drawn).json["choices"] for _ in range(2))
    assert one == other
    assert len({choice["text"] for choice in one}) > 1
    streamed = post(served, "/v1/completions", {**drawn, "stream": True}).events[:-1]
    parts: list[str] = [""] * 4
    for choice in (json.loads(event)["choices"][0] for event in streamed):
        parts[choice["index"]] += choice["text"]
    assert parts == [choice["text"] for choice in one]


def test_a_stop_string_ends_the_text_before_it(served: str, oracle: Result) -> None:
    stop = oracle.text[2:4]
    found = post(served, "/v1/completions", {**ASKED, "stop": stop}).json["choices"][0]
    assert found["text"] == oracle.text[: oracle.text.index(stop)]
    assert found["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"steering": {"alpah": 1}}, "steering.alpah"),
        ({"steering": {"alpha": "1"}}, "steering.alpha"),
        ({"steering": {"alpha": 1e9}}, "steering.alpha"),
        ({"steering": {"temperature": 1}}, "steering.temperature"),
        ({"steering": 3}, "steering"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 99}, "n"),
        ({"stop": [""]}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 100}}, "logit_bias"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"user": 3}, "user"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(served: str, change: dict[str, object], param: str) -> None:
    refused = post(served, "/v1/completions", {**ASKED, **change})
    assert refused.status == 400
    assert refused.error["param"] == param


def test_what_nobody_knows_is_ignored_and_parts_are_text(served: str) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "the"}, {"type": "text", "text": " then"}]}]
    odd = {**CHAT, "messages": parts, "store": False, "reasoning_effort": "low", "max_completion_tokens": 6}
    del odd["max_tokens"]
    assert (
        post(served, "/chat/completions", odd).json["choices"]
        == post(served, "/chat/completions", CHAT).json["choices"]
    )


def test_penalties_and_a_top_k_are_those_of_the_library(served: str, upstream: str, pair_file: object) -> None:
    """The fields of a request are knobs of the steering."""
    fields: Json = {"presence_penalty": -2, "frequency_penalty": -1.5, "max_tokens": 12}
    asked = {**ASKED, "model": "blind"}
    with connect(upstream, model="tiny") as api, load_pair(str(pair_file)) as pair:
        wanted = steer(Prompt(text="the then"), api=api, offsets=pair, steering=Steering(**fields))
    found, plain = (post(served, "/v1/completions", {**asked, **one}).json for one in (fields, {"max_tokens": 12}))
    assert found["choices"][0]["text"] == wanted.text != plain["choices"][0]["text"]
    # Five tokens: the sixth opens a character, and what finishes it is nearly a tie, decided by how the pair rounds.
    asked["max_tokens"] = 5
    plain = post(served, "/v1/completions", asked).json
    assert plain["choices"][0]["text"] != wanted.text[:5]
    for same in (
        {"temperature": 2, "top_k": 1},
        {"presence_penalty": 0, "top_k": -1},
        {"frequency_penalty": None, "top_k": 0},
    ):
        assert post(served, "/v1/completions", {**asked, **same}).json["choices"] == plain["choices"]


@pytest.mark.parametrize("model", ["steered", "plain"])
@pytest.mark.parametrize("route", ["completions", "chat/completions"])
def test_no_field_that_would_change_the_answer_is_ignored(served: str, model: str, route: str) -> None:
    asked = {**(CHAT if "chat" in route else ASKED), "model": model, "max_tokens": 1}
    for name, values in UNOBEYED.items():
        for value in values:
            refused = post(served, f"/v1/{route}", {**asked, name: value})
            assert (refused.status, refused.error["param"]) == (400, name), (name, value)


@pytest.mark.parametrize("content", ["", " ", [], [{"type": "text", "text": ""}]], ids=str)
@pytest.mark.parametrize("model", ["steered", "plain"])
def test_a_turn_that_says_nothing_is_a_turn(served: str, model: str, content: Json) -> None:
    """As at OpenAI. The template writes it down, so that the model is asked."""
    messages = [{"role": "user", "content": content}]
    assert post(served, "/v1/chat/completions", {**CHAT, "model": model, "messages": messages}).status == 200
    nobody = post(served, "/v1/chat/completions", {**CHAT, "model": model, "messages": []})
    assert (nobody.status, nobody.error["param"]) == (400, "messages")


def test_unknown_models(served: str) -> None:
    refused = post(served, "/v1/completions", {**ASKED, "model": "nobody"})
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")
    assert post(served, "/v1/completions", {"prompt": "a"}).status == 400
