"""Log-probs held against the text of their reply: tokenizers' own spellings, lost characters, false ends, reasoning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Kind, Position, Reply
from blackbox_proxy_adapters.chat_prefill import ChatPrefill
from blackbox_proxy_adapters.decoders import Dialect, legacy_completions, openai_chat, openai_responses
from blackbox_proxy_adapters.pieces import speaks_marks
from tests.adapters.shapes import Json, body, chat, chosen, response, row

ENDS = frozenset({b"</s>", b""})
PIECES = ["\u2581Paris", "\u2581is", "<0x0A>", "\u2581\u2581nice"]


def texts(positions: Sequence[Position]) -> list[bytes]:
    return [position.sampled.piece for position in positions]


def legacy(tokens: Sequence[str], text: str | None = None, *, finish: str = "length") -> Reply:
    """A legacy reply, each token with a log-prob of -0.5, beside another one of -3."""
    found = body(*((token, -0.5, {token: -0.5, "x": -3.0}) for token in tokens), finish=finish)
    choices: list[Json] = found["choices"]  # type: ignore[assignment]  # as `body` makes it
    if text is not None:
        choices[0]["text"] = text
    return legacy_completions(found, Dialect(ENDS))


def chatted(
    tokens: Sequence[str],
    text: str | None = None,
    *,
    finish: str = "length",
    raw: bytes | None = b"?",
    more: Json | None = None,
) -> Reply:
    """The same as a chat. raw: as in `shapes.row`; more: further fields of the message."""
    found = chat(*(chosen(row(token, -0.5, raw), row("x", -3.0, raw)) for token in tokens), finish=finish)
    choices: list[Json] = found["choices"]  # type: ignore[assignment]  # as `chat` makes it
    content = "".join(tokens) if text is None else text
    choices[0]["message"] = {"role": "assistant", "content": content or None, **(more or {})}
    return openai_chat(found, Dialect(ENDS))


@pytest.mark.parametrize("raw", [None, b"?"])
def test_pieces_of_sentencepiece_are_read_as_text(raw: bytes | None) -> None:
    """A mark is a space and `<0x0A>` a byte, in either shape, also where its own bytes are told."""
    wanted = [b" Paris", b" is", b"\n", b"  nice"]
    for reply in (legacy(PIECES), chatted(PIECES, raw=raw)):
        assert texts(reply.positions) == wanted
        assert [c.piece for c in reply.positions[0].top] == [b" Paris", b"x"]


def test_one_piece_alone_tells_it() -> None:
    assert texts(legacy(["\u2581Paris"]).positions) == [b" Paris"]
    assert texts(legacy(["<0xE2>"]).positions) == [b"\xe2"]
    assert legacy(["<0xE2>"]).positions[0].sampled.kind is Kind.FRAGMENT


@pytest.mark.parametrize(
    "strings",
    [
        ["\u2581", "\u2582"],
        ["\u2581\u2583\u2585"],
        ["\u2581Paris", " is"],
        ["Paris", "Rome"],
        ["<\uff5cend\u2581of\u2581sentence\uff5c>", "a"],
    ],
)
def test_text_is_not_taken_for_such_pieces(strings: list[str]) -> None:
    """Bars and graphs have the mark as a character; a space beside it is not SentencePiece's."""
    assert not speaks_marks(strings)
    if "<" not in strings[0]:
        assert texts(legacy(strings).positions) == [string.encode() for string in strings]


def test_true_bytes_are_believed_where_strings_have_marks() -> None:
    rows = [row("\u2581Paris", -0.5, b" Paris"), row("<0x0A>", -2.0, b"\n")]
    assert [c.piece for c in openai_chat(chat(chosen(*rows))).positions[0].top] == [b" Paris", b"\n"]


@pytest.mark.parametrize("finish", ["length", "stop"])
def test_an_empty_string_that_more_follows_is_no_end(finish: str) -> None:
    """The text tells what it says: a character that the token is a part of, or all of."""
    for reply in (
        legacy([" said", "", "Hi"], " said\u201cHi", finish=finish),
        chatted([" said", "", "Hi"], " said\u201cHi"),
    ):
        assert texts(reply.positions) == [b" said", "\u201c".encode(), b"Hi"]
        assert all(position.sampled.kind is Kind.TEXT for position in reply.positions)
        assert reply.positions[1].sampled.logp == -0.5


def test_an_empty_string_at_the_end_is_an_end_only_where_the_reply_stopped() -> None:
    stopped, cut = (legacy(["Hi", ""], "Hi", finish=finish) for finish in ("stop", "length"))
    assert [p.sampled.kind for p in stopped.positions] == [Kind.TEXT, Kind.END]
    assert texts(cut.positions) == [b"Hi"]
    assert (stopped.finish, cut.finish) == ("stop", "length")


def test_parts_of_a_character_are_one_position_with_the_whole_of_it() -> None:
    """As likely as both in turn; what else was shown at the first stays."""
    reply = legacy([" a", "", "\u201c", "Hi"], " a\u201cHi")
    assert texts(reply.positions) == [b" a", "\u201c".encode(), b"Hi"]
    joined = reply.positions[1]
    assert joined.sampled.logp == -1.0
    assert [(c.piece, c.logp) for c in joined.top] == [("\u201c".encode(), -1.0), (b"x", -3.0)]
    assert joined.tail == pytest.approx(1 - math.exp(-1.0) - math.exp(-3.0))
    assert joined.ceiling >= -0.5


def test_lost_bytes_of_any_spelling_are_told_by_the_text() -> None:
    assert texts(legacy(["a", " \ufffd", "\ufffd", "b"], "a \u4f60b").positions) == [b"a", " \u4f60".encode(), b"b"]


def test_a_text_that_does_not_tell_leaves_them_lost() -> None:
    for tokens, text in ((["a", "", "b"], "xyz"), (["", "b", "", "b"], "1b2b3b"), (["a", "\ufffd", "b"], "a\ufffdb")):
        kinds = [position.sampled.kind for position in legacy(tokens, text).positions]
        assert kinds == [Kind.SPECIAL if token in ("", "\ufffd") else Kind.TEXT for token in tokens]


@given(
    text=st.text("a\u00e9\u201c\U0001f44d ", min_size=1, max_size=8),
    cuts=st.sets(st.integers(1, 20), max_size=6),
    lost=st.sampled_from(["", "\ufffd"]),
)
def test_however_characters_are_cut_the_answer_is_the_text(text: str, cuts: set[int], lost: str) -> None:
    """Where positions tell bytes they are those of the text, in its order, and no end comes about."""
    raw = text.encode()
    borders = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parts = [raw[start:end] for start, end in pairwise(borders)]
    tokens = [_shown(part, lost) for part in parts]
    reply = legacy(tokens, text)
    assert all(position.sampled.kind is not Kind.END for position in reply.positions)
    if all(position.sampled.kind is Kind.TEXT for position in reply.positions) and len(tokens) > 1:
        assert text.encode().startswith(b"".join(texts(reply.positions)))


def _shown(part: bytes, lost: str) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        return lost


THINKING = ["<think>", "\n", "Hmm", "</think>", "\n\n", "Paris"]


@pytest.mark.parametrize("more", [{}, {"reasoning_content": "\nHmm"}, {"reasoning": "Hmm"}])
def test_reasoning_among_the_log_probs_is_no_part_of_the_answer(more: Json) -> None:
    """And what is behind it depends on more than the text."""
    reply = chatted(THINKING, "Paris", finish="stop", more=more)
    assert (texts(reply.positions), reply.exact, reply.finish) == ([b"Paris"], False, "stop")


HARMONY = ["<|channel|>", "analysis", "<|message|>", "Hm", "<|end|>", "<|start|>", "assistant", "<|channel|>", "final"]


def test_a_control_token_behind_the_text_is_its_end() -> None:
    """Also where nobody said what it is called, and where reasoning stands before."""
    for tokens in (["Paris", "<|return|>"], [*HARMONY, "<|message|>", "Paris", "<|return|>"]):
        reply = chatted(tokens, "Paris", finish="stop")
        assert texts(reply.positions) == [b"Paris", b"<|return|>"]
        assert [p.sampled.kind for p in reply.positions] == [Kind.TEXT, Kind.END]
    kept = chatted(["a", "<b>"], "a<b>", finish="stop")
    assert kept.positions[-1].sampled.kind is Kind.TEXT


def test_a_control_token_by_itself_ends_an_answer_that_goes_on_with_nothing() -> None:
    """As where a chat goes on from a given turn that was finished; cut by its length it may be anything's beginning."""
    reply = chatted(["<|im_end|>"], "", finish="stop")
    assert [(p.sampled.piece, p.sampled.kind) for p in reply.positions] == [(b"<|im_end|>", Kind.END)]
    for tokens, finish in ((["<|im_end|>"], "length"), (["Hm", "<|im_end|>"], "stop")):
        with pytest.raises(ReplyError, match="text that it does not hold"):
            chatted(tokens, "", finish=finish)


@pytest.mark.parametrize("more", [{}, {"reasoning_content": "\nHmm"}])
def test_a_reply_of_reasoning_alone_is_refused(more: Json) -> None:
    with pytest.raises(ReplyError, match="text that it does not hold") as caught:
        chatted(THINKING[:3], "", more=more)
    assert "reasons" in caught.value.hint


def test_reasoning_in_the_text_itself_is_an_answer() -> None:
    reply = chatted(THINKING, finish="stop")
    assert (texts(reply.positions), reply.exact) == ([token.encode() for token in THINKING], True)


def test_blanks_that_a_server_strips_from_the_text_stay_in_the_log_probs() -> None:
    reply = chatted(["\n", "Paris", " "], "Paris")
    assert (texts(reply.positions), reply.exact) == ([b"\n", b"Paris", b" "], True)


def test_an_endpoint_that_repeats_what_it_was_sent_is_not_held_against_its_text() -> None:
    """Its log-probs begin with the prefix, and its message may lack that."""
    assert ChatPrefill(prefill="prefix", echoes=True)._dialect.repeats
    found = chat(*(chosen(row(token, -0.5)) for token in ("The", " end")), finish="stop")
    found["choices"][0]["message"]["content"] = " end"  # type: ignore[index]  # as `chat` makes it
    assert texts(openai_chat(found, Dialect(repeats=True)).positions) == [b"The", b" end"]


def test_responses_are_held_against_their_parts() -> None:
    found = response(chosen(row("<think>", -0.5)), chosen(row("Paris", -0.5)))
    found["output"][1]["content"][0]["text"] = "Paris"  # type: ignore[index]  # as `response` makes it
    reply = openai_responses(found, Dialect())
    assert (texts(reply.positions), reply.exact) == ([b"Paris"], False)


@pytest.mark.parametrize("word", ["content_filter", "SAFETY", "recitation"])
def test_words_for_a_filter_are_one(word: str) -> None:
    assert chatted(["Hi"], finish=word).finish == "content_filter"
    withheld: Json = {"message": {"content": None}, "finish_reason": word, "logprobs": None}
    assert openai_chat({"choices": [withheld]}).finish == "content_filter"
    assert openai_responses(response(status="incomplete", reason="content_filter")).finish == "content_filter"


def test_a_prompt_that_a_filter_refused_is_named_so() -> None:
    filtered: Json = {
        "choices": [],
        "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}],
    }
    with pytest.raises(ReplyError, match="content filter withheld"):
        openai_chat(filtered)
