"""The API's own answer: what its tokens and its text say together, and what of it is a step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blackbox_proxy import OffsetTable, Prompt, Steering, steer
from blackbox_proxy.core.decoding.answers import steps_by_scores
from blackbox_proxy.core.decoding.api_answer import api_answer, spoken
from blackbox_proxy.core.events import ApiDraft, Evidence
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Candidate, Finish, Generate, Kind, Origin, Position, Reply, Said, Sampling, Step, Usage
from tests.core.toys import toy_api, toy_pair

LOST = "\ufffd".encode()


def token(piece: bytes, kind: Kind = Kind.TEXT, logp: float = -0.1, **others: float) -> Position:
    sampled = Candidate(piece, logp, kind)
    listed = (sampled, *(Candidate(name.encode(), logp) for name, logp in others.items()))
    return Position(sampled, tuple(sorted(listed, key=lambda c: -c.logp)), 0.0, -20.0)


END = token(b"</s>", Kind.END)


def answered(reply: Reply, steering: Steering | None = None) -> tuple[bytes, Finish, list[Step], ApiDraft]:
    """The answer that is made of one reply, and what was asked."""
    steering = steering or Steering(alpha=0.0, max_tokens=8)
    run = api_answer(steering, otherwise=steps_by_scores(steering, proposes=False))
    asked = next(run)
    assert isinstance(asked, ApiDraft)
    made: list[Step] = []
    try:
        event = run.send(Evidence(replies=[reply]))
        while True:
            assert isinstance(event, Step)
            made.append(event)
            event = run.send(None)
    except StopIteration as stop:
        return b"".join(step.piece for step in made), stop.value.finish, made, asked


@pytest.mark.parametrize(
    ("positions", "text", "wanted"),
    [
        ([token(b" Hi"), token(b"!"), END], " Hi!", [b" Hi", b"!", b""]),
        ([token(b" Hi"), token(b"!")], "Hi!", [b"Hi", b"!"]),
        ([token(b"Hi"), token(b"!"), END], "Hi!</s>", [b"Hi", b"!", b""]),
        ([token(b"a"), token(LOST, Kind.SPECIAL), token(LOST, Kind.SPECIAL), token(b"b")], "a\u20acb", "a \u20ac  b"),
        ([token(b"a"), token(b"", Kind.SPECIAL), token(b"a")], "aaa", [b"a", b"a", b"a"]),
        ([token(b"a"), token(LOST, Kind.SPECIAL)], "a\u20ac", "a \u20ac"),
        ([token(b"a")], "a\u20acb", [b"a"]),
        ([token(b"a"), token(b"\xe2\x82", Kind.FRAGMENT)], "a\ufffd", [b"a", b"\xe2\x82"]),
        ([token(b"\xe2\x82", Kind.FRAGMENT), token(b"\xac", Kind.FRAGMENT)], "\ufffd\ufffd", [b"\xe2\x82", b"\xac"]),
        ([token(b"thinking"), token(b"Paris")], "Paris", [b"Paris", b""]),
    ],
)
def test_the_tokens_together_are_the_text(positions: list[Position], text: str, wanted: str | list[bytes]) -> None:
    """Bytes and tokens that are lost among the log-probs stand in the text."""
    pieces = [piece.encode() for piece in wanted.split(" ")] if isinstance(wanted, str) else wanted
    *found, rest = spoken(positions, Said(text, "stop"))
    assert found == pieces
    assert b"".join(found) + rest == (b"".join(pieces) if len(pieces) > 1 else text.encode())


def test_without_a_text_the_tokens_are_all_there_is() -> None:
    assert spoken([token(b"a"), END], None) == [b"a", b"", b""]


def test_the_likeliest_text_does_not_win_over_what_the_api_wrote() -> None:
    """Two ends are likelier together than the token that is likelier than each."""
    first = Position(
        Candidate(b"a", math.log(0.4)),
        (
            Candidate(b"a", math.log(0.4)),
            Candidate(b"</s>", math.log(0.3), Kind.END),
            Candidate(b"<e>", math.log(0.3), Kind.END),
        ),
        0.0,
        -9.0,
    )
    text, finish, made, asked = answered(Reply((first, END), "stop", Usage()))
    assert (text, finish, asked.length, asked.unsteered) == (b"a", "stop", 8, True)
    assert [step.origin for step in made] == [Origin.DRAFT] * 2
    assert all(step.gated and step.certified and step.offset is None for step in made)
    assert made[0].candidates[0].piece == b""


def test_an_end_that_is_not_shown_is_the_end_all_the_same() -> None:
    text, finish, made, _ = answered(Reply((token(b"a"),), "stop", Usage()))
    assert (text, finish, made[-1].kind) == (b"a", "stop", Kind.END)


def test_the_answer_ends_where_the_api_was_cut() -> None:
    text, finish, _, _ = answered(Reply((token(b"a"), token(b"\xe2\x82", Kind.FRAGMENT)), "length", Usage()))
    assert (text, finish) == (b"a", "length")


def test_half_a_character_before_an_end_is_no_text() -> None:
    text, finish, made, _ = answered(Reply((token(b"a"), token(b"\xe2\x82", Kind.FRAGMENT), END), "stop", Usage()))
    assert (text, finish, [step.kind for step in made]) == (b"a", "stop", [Kind.TEXT, Kind.END])


def test_rows_that_are_missing_cost_no_text_and_the_api_says_how_it_ended() -> None:
    """llama.cpp's server has no row for a token that leaves a character open, and we leave out those behind it."""
    reply = Reply((token(b"a"),), "length", Usage(), said=Said("a\u20ac!", "stop"))
    text, finish, made, _ = answered(reply)
    assert (text.decode(), finish) == ("a\u20ac!", "stop")
    assert made[-1].logp_before is None


def test_a_stop_text_ends_it() -> None:
    steering = Steering(alpha=0.0, max_tokens=8, stop=("b",))
    text, finish, _, _ = answered(Reply((token(b"a"), token(b"b"), token(b"c")), "length", Usage()), steering)
    assert (text, finish) == (b"ab", "stop_string")


def test_a_repetition_ends_it_where_that_is_asked_for() -> None:
    """Its last tokens, so many as it is looked for in, are one piece over and over; what comes behind is left out."""
    pieces = [token(b"x"), *[token(b"ab")] * 20, END]
    steering = Steering(alpha=0.0, max_tokens=30, repetition_stop=16)
    text, finish, _, _ = answered(Reply(tuple(pieces), "stop", Usage()), steering)
    assert (text, finish) == (b"x" + 16 * b"ab", "repetition")
    text, finish, _, _ = answered(Reply(tuple(pieces), "stop", Usage()), replace(steering, repetition_stop=0))
    assert (text, finish) == (b"x" + 20 * b"ab", "stop")


def test_what_a_filter_has_cut_is_told_so() -> None:
    text, finish, _, _ = answered(Reply((token(b"a"),), "content_filter", Usage()))
    assert (text, finish) == (b"a", "content_filter")
    with pytest.raises(ReplyError, match="content filter withheld the answer"):
        answered(Reply((), "content_filter", Usage()))


def test_it_is_drawn_as_it_was_asked_for() -> None:
    steering = Steering(alpha=0.0, max_tokens=8, temperature=0.7, top_p=0.9, seed=3)
    *_, asked = answered(Reply((token(b"a", logp=-3.0, b=-0.1),), "length", Usage()), steering)
    assert (asked.temperature, asked.top_p, asked.unsteered) == (0.7, 0.9, True)
    api = toy_api()
    found = steer(Prompt(text="ab"), api=api, offsets=toy_pair(), steering=steering)
    assert (len(api.asked), found.changed) == (1, 0)
    (ask,) = api.asked
    assert isinstance(ask, Generate)
    assert ask.sampling == Sampling(0.7, 0.9, asked.seed)
    again = steer(Prompt(text="ab"), api=toy_api(), offsets=OffsetTable({}), steering=steering)
    assert again.text == found.text
