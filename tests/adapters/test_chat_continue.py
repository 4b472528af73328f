"""The chat shape: true bytes, null bytes, ends, an appended sampled token, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blackbox_proxy.errors import InputError, PromptError, ReplyError
from blackbox_proxy.types import Ask, Candidate, Continuation, Kind, Message, Position, Usage
from blackbox_proxy_adapters.chat_continue import ChatContinue
from tests.adapters.shapes import Json

ASK = Ask("m", "", b"", 2, 3, messages=(Message("user", "Hello"),))
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
        ChatContinue().encode(replace(ASK, ids=(1,)))
    with pytest.raises(InputError, match="2 chosen tokens"):
        ChatContinue().encode(replace(ASK, reveal=(1, 2)))
    with pytest.raises(PromptError, match="raw text"):
        ChatContinue().encode(Ask("m", "raw", b"", 1, 3))
    with pytest.raises(InputError, match="at least 1"):
        ChatContinue(top_k=0)
    with pytest.raises(InputError, match="sets stream"):
        ChatContinue(extra_body={"stream": True})
