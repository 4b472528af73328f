"""A partial turn in its four spellings; a prefix that is repeated, and one that loses its white space."""

from __future__ import annotations

import math

import pytest

from blackbox_proxy.errors import InputError, PromptError, ReplyError
from blackbox_proxy.types import Continuation, Generate, Kind, Message, Prefix, Reply, Sampling
from blackbox_proxy_adapters.chat_prefill import ChatPrefill, Prefill
from tests.adapters.shapes import Json, chat, chosen, row

QUESTION = {"role": "user", "content": "Capital of Albania?"}
CHAT = (Message("user", "Capital of Albania?"),)


def behind(answer: bytes, sampling: Sampling | None = None) -> Generate:
    """The question behind this beginning of an answer."""
    return Generate("m", Prefix("", answer, CHAT), 3, 4, sampling)


ASK = behind(b"The capital")
PARTIAL = {"role": "assistant", "content": "The capital"}


def said(*tokens: str, other: str = "~") -> Json:
    """A reply of these tokens, each with a share of .75, beside another one with .125."""
    rows = (chosen(row(token, math.log(0.75)), row(other, math.log(0.125))) for token in tokens)
    return chat(*rows)


def sampled(reply: Reply) -> bytes:
    return b"".join(position.sampled.piece for position in reply.positions)


@pytest.mark.parametrize(
    ("prefill", "turn", "flags"),
    [
        ("flag_pair", PARTIAL, {"continue_final_message": True, "add_generation_prompt": False}),
        ("prefix", {**PARTIAL, "prefix": True}, {}),
        ("partial", {**PARTIAL, "partial": True}, {}),
        ("implicit", PARTIAL, {}),
    ],
)
def test_a_partial_turn_in_its_spellings(prefill: Prefill, turn: Json, flags: Json) -> None:
    sent = ChatPrefill(prefill=prefill, top_k=5).encode(ASK)
    assert sent.path == "/chat/completions"
    assert sent.body == {
        "model": "m",
        "messages": [QUESTION, turn],
        **flags,
        "max_tokens": 4,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 3,
    }


@pytest.mark.parametrize("prefill", ["flag_pair", "prefix", "partial", "implicit"])
def test_without_an_answer_it_is_a_plain_question(prefill: Prefill) -> None:
    """A flag would turn the user's own words into what is gone on from."""
    body = ChatPrefill(prefill=prefill, echoes=True, trims=True).encode(behind(b"")).body
    assert body["messages"] == [QUESTION]
    assert body["max_tokens"] == 4
    assert not {"continue_final_message", "add_generation_prompt"} & body.keys()


def test_it_goes_on_exactly() -> None:
    codec = ChatPrefill()
    assert codec.capabilities().continuation is Continuation.PREFILL
    assert codec.capabilities().chat
    reply = codec.decode(said(" of", " Albania"), ASK)
    assert reply.exact
    assert sampled(reply) == b" of Albania"


def test_a_prefix_that_is_repeated_is_skipped() -> None:
    codec = ChatPrefill(prefill="prefix", echoes=True)
    assert codec.encode(ASK).body["messages"] == [QUESTION, {**PARTIAL, "prefix": True}]
    more = codec.encode(ASK).body["max_tokens"]
    assert isinstance(more, int)
    assert more >= 4 + len(ASK.prefix.answer) / 4
    reply = codec.decode(said("The", " cap", "ital", " of", " Albania"), ASK)
    assert sampled(reply) == b" of Albania"
    assert reply.exact


def test_a_token_that_spans_the_end_of_a_repeated_prefix_is_cut() -> None:
    reply = ChatPrefill(echoes=True).decode(said("The", " capital of", " Albania", other=" capitals"), ASK)
    assert sampled(reply) == b" of Albania"
    assert [c.piece for c in reply.positions[0].top] == [b" of", b"s"]


@pytest.mark.parametrize("tokens", [(" of", " Albania"), ("The", " Capital", " of"), ("The", " cap")])
def test_a_reply_that_should_repeat_the_prefix_and_does_not_says_so(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ReplyError, match="should repeat the answer so far") as caught:
        ChatPrefill(echoes=True).decode(said(*tokens), ASK)
    assert "echoes" in caught.value.hint


@pytest.mark.parametrize("white", [" ", "\n\n", " \u00a0", "\t"])
def test_white_space_that_would_be_lost_is_held_back_and_healed(white: str) -> None:
    asked = behind(f"The capital{white}".encode())
    codec = ChatPrefill(trims=True)
    assert codec.encode(asked).body["messages"] == [QUESTION, PARTIAL]
    reply = codec.decode(said(f"{white}of", " Albania", other=f"{white}is"), asked)
    assert sampled(reply) == b"of Albania"
    assert [c.piece for c in reply.positions[0].top] == [b"of", b"is"]
    assert [math.exp(c.logp) for c in reply.positions[0].top] == pytest.approx([0.75, 0.125])
    plain = ChatPrefill().encode(asked).body["messages"]
    assert plain == [QUESTION, {"role": "assistant", "content": f"The capital{white}"}]


def test_what_does_not_agree_with_held_white_space_is_left_out() -> None:
    """Here `.` was said, and the end of the reply is no longer the end of the answer."""
    asked = behind(b"The capital ")
    reply = ChatPrefill(trims=True).decode({**said(".", other=" of")}, asked)
    [found] = reply.positions
    assert [c.piece for c in found.top] == [b"of"]
    assert found.sampled == found.top[0]
    assert found.tail == pytest.approx(0.5)
    assert reply.finish == "length"


def test_an_end_that_stands_where_white_space_was_held_back_is_none() -> None:
    body = chat(chosen(row("</s>", math.log(0.75)), row(" of", math.log(0.125))), finish="stop")
    reply = ChatPrefill(trims=True, end_pieces=[b"</s>"]).decode(body, behind(b"The capital "))
    assert [c.piece for c in reply.positions[0].top] == [b"of"]
    assert reply.finish == "length"


def test_an_end_right_after_held_white_space_is_kept() -> None:
    body = chat(chosen(row(" ", -0.1)), finish="stop")
    reply = ChatPrefill(trims=True).decode(body, behind(b"The capital "))
    assert (reply.positions, reply.finish) == ((), "stop")


def test_a_reply_that_is_used_up_by_what_was_held_back_says_so() -> None:
    with pytest.raises(ReplyError, match=r"before it went beyond b'\\n\\n'") as caught:
        ChatPrefill(trims=True).decode(said("\n"), behind(b"The capital\n\n"))
    assert "draft" in caught.value.hint


def test_a_drawn_draft_that_does_not_agree_is_drawn_anew_by_the_asks_own_seed() -> None:
    asks = [behind(b"The capital ", Sampling(1.0, seed=seed)) for seed in (0, 2**31 - 1)]
    replies = [ChatPrefill(trims=True).decode(said(".", other=" of"), ask) for ask in asks]
    assert [r.positions[0].sampled.kind for r in replies] == [Kind.TEXT, Kind.SPECIAL]


def test_what_a_chat_does_not_take_is_refused() -> None:
    codec = ChatPrefill()
    with pytest.raises(PromptError, match="raw text"):
        codec.encode(Generate("m", Prefix("raw"), 3))
    with pytest.raises(InputError, match="token ids were given to a chat"):
        codec.encode(Generate("m", Prefix("", messages=CHAT, ids=(1,)), 3))
    with pytest.raises(InputError, match="not whole UTF-8"):
        ChatPrefill(trims=True).encode(behind(b"\xe2"))
    with pytest.raises(InputError, match="no prefill 'suffix'") as caught:
        ChatPrefill(prefill="suffix")  # type: ignore[arg-type]
    assert "prefix" in caught.value.hint
