"""/v1/responses through the SDK: the same numbers as in a chat, in another shape."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseIncludable, ResponseOutputMessage, ResponseOutputText

from blackbox_proxy.errors import InputError
from blackbox_proxy.standin.responses import read_response
from blackbox_proxy.types import Message, Prompt
from tests.standin.conftest import client_of
from tests.standin.raw import Json, post
from tests.standin.test_requests import VALUES, outcome_of, refused, valid
from tests.standin.toy import Api, entries, served

LOGPROBS: list[ResponseIncludable] = ["message.output_text.logprobs"]
FIELDS = [
    *("model", "input", "instructions", "include", "top_logprobs", "max_output_tokens", "temperature", "top_p"),
    *("stream", "tools", "text", "reasoning", "store", "background", "seed", "stop", "n", "truncation", "prompt"),
]
ASK: dict[str, Json] = {"model": "m", "input": "hi"}


@pytest.fixture(scope="module")
def toy() -> Iterator[Api]:
    with served() as api:
        yield api


def said(reply: Response) -> ResponseOutputText:
    """The one text of a reply."""
    (message,) = reply.output
    assert isinstance(message, ResponseOutputMessage)
    (part,) = message.content
    assert isinstance(part, ResponseOutputText)
    return part


def test_the_numbers_are_those_of_a_chat(tiny_client: openai.OpenAI) -> None:
    """Special tokens have no bytes: null in a chat, an empty list here."""
    asked: dict[str, Json] = {"model": "tiny", "temperature": 0, "top_logprobs": 20}
    reply = tiny_client.responses.create(input="abc", max_output_tokens=20, include=LOGPROBS, **asked)
    chat = tiny_client.chat.completions.create(
        messages=[{"role": "user", "content": "abc"}], max_tokens=20, logprobs=True, **asked
    )
    part, choice = said(reply), chat.choices[0]
    assert part.text == choice.message.content == reply.output_text
    assert choice.logprobs
    told = [entry.model_dump() for entry in choice.logprobs.content or ()]
    for entry in told:
        for one in (entry, *entry["top_logprobs"]):
            one["bytes"] = one["bytes"] or []
    assert part.logprobs
    assert [entry.model_dump() for entry in part.logprobs] == told
    assert reply.usage
    assert chat.usage
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    assert (reply.status, reply.incomplete_details and reply.incomplete_details.reason) in {
        ("incomplete", "max_output_tokens"),
        ("completed", None),
    }


def test_an_answer_that_ends_is_complete_and_one_that_is_cut_says_why(toy: Api) -> None:
    with client_of(toy.url) as client:
        cut = client.responses.create(model="toy", input="o", temperature=0, max_output_tokens=16)
        ended = client.responses.create(model="toy", input="o", temperature=1, max_output_tokens=2000)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (ended.status, ended.incomplete_details) == ("completed", None)
    assert said(cut).logprobs == []
    assert cut.id.startswith("resp_")
    assert cut.usage
    assert cut.usage.output_tokens == 16


def test_log_probs_come_only_with_include(toy: Api) -> None:
    assert toy.response(include=None).json["output"][0]["content"][0]["logprobs"] == []
    listed = toy.response(top_logprobs=None).json["output"][0]["content"][0]["logprobs"]
    assert [entry["top_logprobs"] for entry in listed] == [[]] * 16
    (first, *_) = toy.response().json["output"][0]["content"][0]["logprobs"]
    assert [first] == entries(toy.chat())


def test_an_input_is_text_or_turns() -> None:
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b"}, {"type": "output_text", "text": "c"}]},
    ]
    turns = (Message("system", "be brief"), Message("user", "a"), Message("assistant", "bc"))
    assert read_response({"model": "m", "input": items}, top_k=5).sources == (Prompt(messages=turns),)
    spoken = read_response({**ASK, "instructions": "be kind"}, top_k=5).sources
    assert spoken == (Prompt(messages=(Message("system", "be kind"), Message("user", "hi"))),)


def test_an_assistants_turn_at_the_end_is_finished(toy: Api) -> None:
    turns = [{"role": "user", "content": "o"}, {"role": "assistant", "content": "go"}]
    reply = toy.response(turns, top_logprobs=None, include=None).json
    assert reply["output"][0]["content"][0]["text"].startswith("f")


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
        ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"seed": 1}, "seed", "unknown_parameter"),
        ({"stop": "a"}, "stop", "unknown_parameter"),
        ({"max_tokens": 20}, "max_tokens", "unknown_parameter"),
        ({"logit_bias": {"1": 1}}, "logit_bias", "unknown_parameter"),
        ({"stream": True}, "stream", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools", "unsupported_parameter"),
        ({"include": ["everything"]}, "include[0]", "invalid_value"),
        ({"include": "everything"}, "include", "invalid_type"),
        ({"input": None}, "input", "invalid_type"),
        ({"input": []}, "input", None),
        ({"input": [{"type": "reasoning"}]}, "input[0].type", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        ({"model": "other"}, None, "model_not_found"),
    ],
)
def test_what_the_route_lacks_is_refused(
    toy: Api, changes: dict[str, Json], param: str | None, code: str | None
) -> None:
    answer = post(toy.url, "/responses", {"model": "toy", "input": "hi", **changes})
    assert answer.status in {400, 404}
    assert (answer.error["param"], answer.error["code"]) == (param, code)


@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_json_object_is_read_or_refused(changes: dict[str, Json]) -> None:
    outcome = outcome_of(lambda: read_response({**ASK, **changes}, top_k=7))
    assert refused(outcome) if isinstance(outcome, InputError) else valid(outcome)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_no_json_object_is_answered_with_a_500(toy: Api, changes: dict[str, Json]) -> None:
    answer = post(toy.url, "/responses", {"model": "toy", "input": "hi", **changes, "max_output_tokens": 16})
    assert answer.status in {200, 400, 404}
    assert answer.status == 200 or answer.error["message"]
