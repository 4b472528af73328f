"""Whole answers in every reply's shape: their texts and ends, with log-probs or without."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.types import FILTERED, Draw, Generate, Message, Prefix, Reply, Sampling

USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}
PREFIX = Prefix("Hi", messages=(Message("user", "Hi"),))


def choice(text: str | None, finish: str = "stop", **more: object) -> Mapping[str, object]:
    return {"message": {"role": "assistant", "content": text}, "finish_reason": finish, **more}


def read(body: Mapping[str, object], *, count: int = 1, adapter: str = "chat_continue", **options: object) -> Reply:
    ask = Draw("m", PREFIX, Sampling(1.0), 5, count)
    return load_adapter(adapter, **options).decode(body, ask)


def test_each_choice_is_an_answer_and_the_usage_is_that_of_all_with_what_was_reasoned() -> None:
    reply = read({"choices": [choice("red"), choice("green", "length")], "usage": USAGE, "model": "x"}, count=2)
    assert [(one.text, one.finish, one.logp) for one in reply.drawn] == [
        ("red", "stop", None),
        ("green", "length", None),
    ]
    assert (reply.positions, reply.usage.output, reply.model) == ((), 9, "x")


def test_log_probs_of_the_whole_text_are_summed_and_others_are_left_out() -> None:
    def row(token: str, logp: float) -> dict[str, object]:
        return {"token": token, "bytes": list(token.encode()), "logprob": logp, "top_logprobs": []}

    whole = choice("a b", logprobs={"content": [row("a", -0.5), row(" b", -0.25)]})
    other = choice("a b c", logprobs={"content": [row("a", -0.5), row(" b", -0.25)]})
    first, second = read({"choices": [whole, other], "usage": USAGE}, count=2).drawn
    assert first.logp == pytest.approx(-0.75)
    assert first.tokens == 2
    assert (second.logp, second.tokens) == (None, None)


def test_other_shapes_are_read_too() -> None:
    legacy = read({"choices": [{"text": " red", "finish_reason": "stop"}], "usage": USAGE}, adapter="completions")
    assert [(one.text, one.finish) for one in legacy.drawn] == [(" red", "stop")]
    said = {"type": "message", "content": [{"type": "output_text", "text": "red"}]}
    body = {"status": "completed", "output": [{"type": "reasoning"}, said]}
    responses = read(body, decoder="openai_responses", path="/responses", logprobs_kind="include")
    assert [(one.text, one.finish) for one in responses.drawn] == [("red", "stop")]
    native = {"content": "red", "stop_type": "eos", "tokens_predicted": 2, "tokens_evaluated": 3}
    llama = read(native, adapter="completions", decoder="llama_native", path="/completion", logprobs_kind="n_probs")
    assert [(one.text, one.finish) for one in llama.drawn] == [("red", "stop")]
    assert (llama.usage.input, llama.usage.output) == (3, 2)


def test_what_was_withheld_is_filtered_and_an_empty_answer_is_one() -> None:
    reply = read({"choices": [choice(None, "content_filter"), choice("")], "usage": USAGE}, count=2)
    assert [(one.text, one.finish) for one in reply.drawn] == [("", FILTERED), ("", "stop")]


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": [choice("a")]}, {"error": {"code": 500}}, {}])
def test_fewer_answers_and_none_are_errors(body: Mapping[str, object]) -> None:
    with pytest.raises(ReplyError):
        read(body, count=2)


def test_requests_ask_for_log_probs_only_where_there_are_any_and_for_n_only_above_one() -> None:
    ask = Draw("m", PREFIX, Sampling(0.8, 0.9, 3), 5, 4)
    for adapter in ("chat_continue", "chat_prefill", "completions"):
        silent = load_adapter(adapter, logprobs=False, answers_at_once=4)
        body = silent.encode(ask).body
        assert not {"logprobs", "top_logprobs"} & body.keys()
        assert (body["n"], body["temperature"], body["top_p"], body["seed"], body["max_tokens"]) == (4, 0.8, 0.9, 3, 5)
        assert (silent.capabilities().logprobs, silent.capabilities().answers_at_once) == (False, 4)
        with pytest.raises(InputError, match="shows none"):
            silent.encode(Generate("m", PREFIX, 5))
        one = load_adapter(adapter).encode(Draw("m", PREFIX, Sampling(1.0), 5)).body
        assert "n" not in one
        assert one["logprobs"] in (True, 1)
    with pytest.raises(InputError, match="answers_at_once"):
        load_adapter("completions", answers_at_once=0)


def test_a_log_prob_that_is_not_finite_is_not_known() -> None:
    legacy = {"tokens": ["a"], "token_logprobs": [-math.inf], "top_logprobs": [{}]}
    body = {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": legacy}], "usage": USAGE}
    assert read(body, adapter="completions").drawn[0].logp is None


@pytest.mark.parametrize("content", [[], [{"type": "output_text", "text": "", "annotations": [], "logprobs": []}]])
def test_of_an_empty_answer_without_log_probs_nothing_is_known(content: list[object]) -> None:
    """The sum over no tokens would be certainty."""
    message = {"type": "message", "role": "assistant", "status": "completed", "content": content}
    body = {"status": "completed", "output": [message], "usage": {"input_tokens": 3, "output_tokens": 1}}
    reply = read(body, decoder="openai_responses", path="/responses", logprobs_kind="include")
    assert [(one.text, one.logp, one.tokens) for one in reply.drawn] == [("", None, None)]


def test_a_continuation_is_asked_for_behind_the_answer_so_far() -> None:
    begun = Draw("m", Prefix("Hi", b"one ", messages=PREFIX.messages), Sampling(1.0), 5)
    text = load_adapter("completions", logprobs=False).encode(begun).body
    assert text["prompt"] == "Hione "
    turns = load_adapter("chat_prefill", logprobs=False).encode(begun).body
    assert turns["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "one "}]
    assert turns["continue_final_message"] is True
    flagged = load_adapter("chat_prefill", prefill="prefix", logprobs=False).encode(begun).body
    assert isinstance(flagged["messages"], list)
    assert flagged["messages"][-1]["prefix"] is True
    with pytest.raises(InputError, match="new turn with every reply"):
        load_adapter("chat_continue", logprobs=False).encode(begun)


@pytest.mark.parametrize(
    ("options", "sent", "said", "rest"),
    [
        ({"trims": True}, "one", " two", "two"),
        ({"trims": True}, "one", "\ntwo", "two"),
        ({"trims": True}, "one", "two", "two"),
        ({"echoes": True}, "one ", "one two", "two"),
        ({"echoes": True, "trims": True}, "one", "one two", "two"),
    ],
)
def test_what_a_drawn_continuation_repeats_is_taken_off(
    options: Mapping[str, object], sent: str, said: str, rest: str
) -> None:
    adapter = load_adapter("chat_prefill", logprobs=False, **options)
    begun = Draw("m", Prefix("Hi", b"one ", messages=PREFIX.messages), Sampling(1.0), 5)
    body = adapter.encode(begun).body
    assert isinstance(body["messages"], list)
    assert body["messages"][-1]["content"] == sent
    assert body["max_tokens"] == 5
    drawn = adapter.decode({"choices": [choice(said)], "usage": USAGE}, begun).drawn
    assert [(one.text, one.logp) for one in drawn] == [(rest, None)]


def test_a_continuation_that_does_not_repeat_what_it_should_is_an_error() -> None:
    begun = Draw("m", Prefix("Hi", b"one ", messages=PREFIX.messages), Sampling(1.0), 5)
    adapter = load_adapter("chat_prefill", logprobs=False, echoes=True)
    with pytest.raises(ReplyError, match="should repeat"):
        adapter.decode({"choices": [choice("two")], "usage": USAGE}, begun)
