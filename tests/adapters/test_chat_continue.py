"""A chat without prefill: its rows, its strategies of going on, and that it never claims to be exact."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blackbox_proxy.errors import InputError, PromptError, ReplyError
from blackbox_proxy.types import (
    Candidate,
    Continuation,
    Echo,
    Generate,
    Kind,
    Message,
    Position,
    Prefix,
    Reply,
    Reveal,
    Score,
    Usage,
    WireRequest,
)
from blackbox_proxy_adapters.chat_continue import ChatContinue, Strategy
from tests.adapters.shapes import Json

CHAT = (Message("user", "Hello"),)
ASK = Generate("m", Prefix("", messages=CHAT), 3, 2)
ENDS = (b"<|im_end|>",)


def entry(token: str, logprob: float, raw: bytes | None = None, *, told: bool = True) -> Json:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode() if raw is None else raw) if told else None}


def body(*rows: Json, finish: str = "length") -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(str(row["token"]) for row in rows)},
        "finish_reason": finish,
        "logprobs": {"content": list(rows)} if rows else None,
    }
    return {"model": "m-1", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": len(rows)}}


def read(*rows: Json, finish: str = "length", top_k: int = 3) -> tuple[Position, ...]:
    return ChatContinue(end_pieces=ENDS, top_k=top_k).decode(body(*rows, finish=finish), ASK).positions


def row(own: Json, *top: Json) -> Json:
    return {**own, "top_logprobs": list(top)}


def test_a_request_asks_for_the_beginning_of_an_answer() -> None:
    sent = ChatContinue(extra_body={"reasoning_effort": "none"}, length_field="max_completion_tokens", top_k=2).encode(
        ASK
    )
    assert sent.path == "/chat/completions"
    assert sent.body == {
        "reasoning_effort": "none",
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 2,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert ChatContinue().capabilities().continuation is Continuation.APPROXIMATE


def test_a_reply_is_read_whole() -> None:
    reply = ChatContinue(top_k=3).decode(body(row(entry("Yes", -0.1), entry("Yes", -0.1), entry("No", -3.0))), ASK)
    (found,) = reply.positions
    assert found.sampled == Candidate(b"Yes", -0.1)
    assert found.top == (Candidate(b"Yes", -0.1), Candidate(b"No", -3.0))
    assert found.tail == pytest.approx(1 - math.exp(-0.1) - math.exp(-3.0))
    assert found.ceiling == -3.0
    assert (reply.model, reply.finish, reply.usage) == ("m-1", "length", Usage(input=5, output=1, requests=1))


def test_bytes_count_and_not_the_string() -> None:
    (found,) = read(row(entry("\ufffd", -0.1, b"\xe2\x80"), entry("\ufffd", -0.1, b"\xe2\x80")))
    assert found.top == (Candidate(b"\xe2\x80", -0.1, Kind.FRAGMENT),)
    (found,) = read(row(entry("a", -0.1, told=False), entry("a", -0.1, told=False)))
    assert found.top == (Candidate(b"a", -0.1),)


def test_an_end_is_told_by_its_name_with_or_without_bytes() -> None:
    for raw in (b"", b"<|im_end|>"):
        (found,) = read(row(entry("<|im_end|>", -0.1, raw), entry("<|im_end|>", -0.1, raw)), finish="stop")
        assert found.sampled.kind is Kind.END


def test_equal_bytes_are_one_entry_and_sentinels_none() -> None:
    (found,) = read(row(entry("a", -1.0), entry("a", -1.0), entry("\ufffd", -2.0, b"a"), entry("b", -9999.0)))
    assert [c.piece for c in found.top] == [b"a"]
    assert found.top[0].logp == pytest.approx(math.log(math.exp(-1) + math.exp(-2)))


def test_a_sampled_token_behind_the_top_k_is_none_of_it() -> None:
    (found,) = read(row(entry("z", -6.0), entry("a", -0.3), entry("b", -2.0), entry("z", -6.0)), top_k=2)
    assert [c.piece for c in found.top] == [b"a", b"b"]
    assert found.sampled == Candidate(b"z", -6.0)
    assert found.ceiling == -2.0


@pytest.mark.parametrize("broken", [{"bytes": [300]}, {"bytes": "a"}, {"token": 1}, {"logprob": "x"}])
def test_another_shape_is_an_error(broken: Json) -> None:
    with pytest.raises(ReplyError):
        read({**row(entry("a", -0.1), entry("a", -0.1)), **broken})


def test_text_without_log_probs_is_an_error() -> None:
    said = body(finish="stop")
    said["choices"] = [{"message": {"content": "Hi"}, "finish_reason": "stop", "logprobs": None}]
    with pytest.raises(ReplyError, match="no log-probabilities"):
        ChatContinue().decode(said, ASK)


def test_what_a_chat_cannot_is_refused() -> None:
    with pytest.raises(InputError, match="token ids were given to a chat"):
        ChatContinue().encode(Generate("m", Prefix("", messages=CHAT, ids=(1,)), 3))
    with pytest.raises(InputError, match="2 chosen tokens"):
        ChatContinue().encode(Reveal("m", ASK.prefix, 3, (1, 2)))
    for ask in (Echo("m", ASK.prefix, 3, b" draft"), Score("m", b"text", 3)):
        with pytest.raises(InputError, match="gives no text back"):
            ChatContinue().encode(ask)
    with pytest.raises(PromptError, match="raw text"):
        ChatContinue().encode(Generate("m", Prefix("raw"), 3))
    with pytest.raises(InputError, match="at least 1"):
        ChatContinue(top_k=0)
    with pytest.raises(InputError, match="sets stream"):
        ChatContinue(extra_body={"stream": True})


STRATEGIES: tuple[Strategy, ...] = ("instruct", "draft", "replay")
QUESTION = {"role": "user", "content": "Hello"}
SO_FAR = Generate("m", Prefix("", b"The capital of Alb", CHAT), 3, 2)
INSTRUCT = ChatContinue(strategies=("instruct",))


def said(*tokens: str, other: str = "~", finish: str = "length") -> Json:
    """A reply of these tokens, each with a share of .75, beside another one with .125."""
    rows = (
        row(entry(token, math.log(0.75)), entry(token, math.log(0.75)), entry(other, math.log(0.125)))
        for token in tokens
    )
    return body(*rows, finish=finish)


def sampled(reply: Reply) -> bytes:
    return b"".join(position.sampled.piece for position in reply.positions)


def behind(answer: bytes) -> Generate:
    """The question behind this beginning of an answer."""
    return replace(ASK, prefix=Prefix("", answer, CHAT))


def turns(sent: WireRequest) -> list[Json]:
    found = sent.body["messages"]
    assert isinstance(found, list)
    return found


def test_instruct_sends_the_answer_as_a_turn_without_its_last_word() -> None:
    question, answer, order = turns(INSTRUCT.encode(SO_FAR))
    assert (question, answer) == (QUESTION, {"role": "assistant", "content": "The capital of"})
    assert order["role"] == "user"
    assert str(order["content"]).endswith("«Alb»")


def test_draft_puts_it_into_the_users_turn() -> None:
    [question] = turns(ChatContinue(strategies=("draft",)).encode(SO_FAR))
    content = str(question["content"])
    assert content.startswith("Hello\n\n")
    assert "<<<\nThe capital of\n>>>" in content
    assert content.endswith("«Alb»")


def test_replay_asks_for_all_of_it_and_for_so_many_tokens_more() -> None:
    sent = ChatContinue(strategies=("replay",)).encode(SO_FAR)
    [question] = turns(sent)
    assert str(question["content"]).startswith("Hello\n\n")
    assert str(question["content"]).endswith("«The capital of Alb»")
    assert isinstance(sent.body["max_tokens"], int)
    assert sent.body["max_tokens"] >= SO_FAR.length + 5


@pytest.mark.parametrize("strategy", ["instruct", "draft"])
def test_an_answer_of_one_word_is_asked_for_as_a_beginning(strategy: Strategy) -> None:
    """There is nothing before it that could be a turn of its own."""
    [question] = turns(ChatContinue(strategies=(strategy,)).encode(behind(b"Tir")))
    assert str(question["content"]).endswith("«Tir»")


def test_a_chat_that_does_not_end_with_the_user_gets_a_turn_of_the_users() -> None:
    messages = (*CHAT, Message("assistant", "Hi"))
    ask = replace(SO_FAR, prefix=replace(SO_FAR.prefix, messages=messages))
    asked = turns(ChatContinue(strategies=("replay",)).encode(ask))
    assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]


@pytest.mark.parametrize("strategy", ["instruct", "draft"])
@pytest.mark.parametrize(
    "tokens",
    [
        (" Alb", "ania", " is"),
        ("Alb", "ania", " is"),
        ("A", "lbania", " is"),
        (" capital of", " Alb", "ania", " is"),
        ("The", " capital", " of", " Alb", "ania", " is"),
    ],
)
def test_what_the_reply_repeats_is_taken_off(strategy: Strategy, tokens: tuple[str, ...]) -> None:
    """With its space or without it, in one token or several, with more of the text before it or not."""
    reply = ChatContinue(strategies=(strategy,)).decode(said(*tokens), SO_FAR)
    assert sampled(reply) == b"ania is"
    assert reply.exact is False


def test_alternatives_that_agree_with_what_is_held_back_are_what_is_known() -> None:
    """The model would say something else: then that is no draft, and nothing after it counts."""
    reply = INSTRUCT.decode(said("Greece", " is", other="Albion", finish="stop"), SO_FAR)
    [found] = reply.positions
    assert [c.piece for c in found.top] == [b"ion"]
    assert found.sampled == found.top[0]
    assert found.tail == pytest.approx(0.125 / 0.25)
    assert reply.finish == "length"


def test_white_space_at_the_end_is_held_back_with_its_word() -> None:
    asked = behind(b"The capital of ")
    assert turns(INSTRUCT.encode(asked))[1] == {"role": "assistant", "content": "The capital"}
    assert sampled(INSTRUCT.decode(said("of", " Albania"), asked)) == b"Albania"


def test_a_model_that_has_nothing_to_add_has_ended() -> None:
    empty = {"choices": [{"message": {"content": ""}, "finish_reason": "stop", "logprobs": None}]}
    reply = INSTRUCT.decode(empty, SO_FAR)
    assert (reply.positions, reply.finish, reply.exact) == ((), "stop", False)


def test_only_a_reply_to_a_plain_question_is_exact() -> None:
    assert ChatContinue().decode(said("Hi"), ASK).exact
    for strategy in STRATEGIES:
        reply = ChatContinue(strategies=(strategy,)).decode(said("Hi", " there"), behind(b"Hi"))
        assert (reply.exact, sampled(reply)) == (False, b" there")


def test_a_replayed_answer_is_read_after_its_end() -> None:
    codec = ChatContinue(strategies=("replay",))
    assert sampled(codec.decode(said("The", " capital", " of", " Alb", "ania"), SO_FAR)) == b"ania"
    reply = codec.decode(said("The", " capital of", " Albania", " is", other=" Alba"), SO_FAR)
    assert [c.piece for c in reply.positions[0].top] == [b"ania", b"a"]


def then(strategy: Strategy) -> ChatContinue:
    """By this strategy, with another one left."""
    return ChatContinue(strategies=(strategy, "instruct"))


@pytest.mark.parametrize(
    ("strategy", "reply", "words"),
    [
        ("replay", said("The", " Capital", " of"), "b'capital of Alb' became b'Capital of' at byte 4"),
        ("replay", said("The", " capital", " of", " Greece"), "b'Alb' became b'Greece' at byte 15"),
        ("replay", said(" The"), "b'The capital of Alb' became b' The' at byte 0"),
        ("replay", said("The", " cap", finish="stop"), "b'ital of Alb' became b'' at byte 7"),
        ("replay", said("The capital of Alb"), "before it went beyond b'.*Alb'"),
        ("instruct", said("Alb"), "before it went beyond b'.*Alb'"),
        ("draft", said("Alb"), "before it went beyond b'.*Alb'"),
        ("instruct", said("Greece", " is"), "nothing in the reply agrees with the end of the answer so far"),
    ],
)
def test_a_reply_that_tells_nothing_of_what_comes_next_says_why_and_counts_where_no_strategy_is_left(
    strategy: Strategy, reply: Json, words: str
) -> None:
    """Then nothing is known there, which is no claim."""
    with pytest.raises(ReplyError, match=words):
        then(strategy).decode(reply, SO_FAR)
    found = ChatContinue(strategies=(strategy,)).decode(reply, SO_FAR)
    [position] = found.positions
    assert (position.top, position.tail, found.finish, found.exact) == ((), 1.0, "length", False)
    assert found.usage.requests == 1


def test_each_way_is_another_strategy() -> None:
    codec = then("replay")
    assert codec.capabilities().ways == 2
    for way, strategy in enumerate(codec.strategies):
        alone = ChatContinue(strategies=(strategy,))
        assert codec.encode(replace(SO_FAR, way=way)) == alone.encode(SO_FAR)


def test_a_repeated_answer_that_is_then_ended_is_an_end() -> None:
    reply = ChatContinue(strategies=("replay",)).decode(said("The capital of Alb", finish="stop"), SO_FAR)
    assert (reply.positions, reply.finish) == ((), "stop")


@pytest.mark.parametrize("strategies", ["replay", ()])
def test_strategies_are_a_list(strategies: tuple[Strategy, ...]) -> None:
    with pytest.raises(InputError, match="strategies must be a list") as caught:
        ChatContinue(strategies=strategies)
    assert "replay, instruct, draft" in caught.value.hint


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(InputError, match="no strategy 'repaly'") as caught:
        ChatContinue(strategies=("repaly",))  # type: ignore[arg-type]
    assert "did you mean 'replay'" in caught.value.hint
