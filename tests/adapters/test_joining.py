"""Where a text is cut, and where a reply takes it up again: held back words, spaces that are missing, overlaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.types import Candidate, Kind, Position
from blackbox_proxy_adapters.healing import heal
from blackbox_proxy_adapters.joining import joined, parted, taken_up


def position(*top: tuple[bytes, float], sampled: int = 0, ceiling: float = math.log(0.05)) -> Position:
    """Alternatives with their probabilities; one of them was sampled."""
    found = tuple(Candidate(piece, math.log(p)) for piece, p in top)
    return Position(found[sampled], found, max(0.0, 1.0 - sum(p for _, p in top)), ceiling)


def says(*pieces: bytes) -> list[Position]:
    return [position((piece, 0.9)) for piece in pieces]


@pytest.mark.parametrize(
    ("text", "sent", "held"),
    [
        ("The capital of Alb", "The capital of", " Alb"),
        ("The capital of ", "The capital", " of "),
        ("It is Tirana.\n\n", "It is", " Tirana.\n\n"),
        ("first\n- second", "first\n-", " second"),
        ("Tirana", "", "Tirana"),
        ("", "", ""),
        (" ", "", " "),
        ("see https://example.org/a/very/long/path/indeed", "see https://example.org/a/very/long/pat", "h/indeed"),
        (
            "首都はティラナであり、最大の都市でもありますから覚えておいてくださいね",
            "首都はティラナであり、最大の都市でもありますから覚えて",
            "おいてくださいね",
        ),
    ],
)
def test_the_last_word_is_held_back(text: str, sent: str, held: str) -> None:
    """Or some characters, where no word ends in sight."""
    assert parted(text) == (sent, held)


@given(st.text())
def test_a_text_in_two_parts_is_the_text(text: str) -> None:
    sent, held = parted(text)
    assert sent + held == text
    assert bool(held) == bool(text)
    assert len(held.strip()) <= 32
    assert not sent or sent.rstrip() == sent or held.strip()


@pytest.mark.parametrize(
    ("said", "repeated"),
    [
        ((b" Alb", b"ania"), b" Alb"),
        ((b"Albania",), b" Alb"),
        ((b" Al",), b" Alb"),
        ((b"capital", b" of", b" Albania"), b" capital of Alb"),
        ((b" The", b" capital of Alb"), b"The capital of Alb"),
        ((b"pital of", b" Albania"), b"pital of Alb"),
        ((b"ital of", b" Albania"), b"ital of Alb"),
        ((b"of", b" Albania"), b" Alb"),
        ((b"The", b" cap"), b" Alb"),
        ((b"The", b" capi"), b"The capital of Alb"),
        ((b"T",), b" Alb"),
        ((b"Tirana",), b" Alb"),
    ],
)
def test_what_a_reply_says_again(said: tuple[bytes, ...], repeated: bytes) -> None:
    """Held back text first; else an end of the text, of which eight characters must agree: fewer do by accident."""
    assert taken_up(says(*said), b"The capital of", held=b" Alb") == repeated


def test_a_short_text_is_repeated_as_a_whole() -> None:
    assert taken_up(says(b"It", b" is", b" so"), b"It", held=b" is") == b"It is"
    assert taken_up(says(b"It", b" was"), b"It", held=b" is") == b" is"


def test_an_end_says_nothing() -> None:
    end = Candidate(b"</s>", -0.1, Kind.END)
    assert taken_up([Position(end, (end,), 0.0, -math.inf)], b"So", held=b" far") == b" far"


def test_a_token_with_its_space_and_without_is_one_event_where_a_turn_begins() -> None:
    first = position((b"Alb", 0.4), (b" Alb", 0.2), (b"Albert", 0.2), (b"\n", 0.1))
    [found] = joined([first], b" Alb")
    assert [(c.piece, pytest.approx(math.exp(c.logp))) for c in found.top] == [
        (b" Alb", pytest.approx(0.6)),
        (b" Albert", pytest.approx(0.2)),
        (b"\n", pytest.approx(0.1)),
    ]
    assert found.sampled.piece == b" Alb"
    assert found.ceiling == pytest.approx(math.log(0.1))
    assert found.tail == first.tail


def test_a_text_that_begins_with_a_word_needs_no_space() -> None:
    first = position((b"Alb", 0.4), (b" Alb", 0.2))
    assert joined([first], b"Alb") == (first,)
    assert joined([], b" Alb") == ()


def test_ends_and_special_tokens_get_no_space() -> None:
    top = (Candidate(b"</s>", math.log(0.5), Kind.END), Candidate(b"\xef\xbf\xbd", math.log(0.4), Kind.SPECIAL))
    [found] = joined([Position(top[0], top, 0.1, math.log(0.1))], b" Alb")
    assert found.top == top


def test_a_missing_space_is_supplied_once() -> None:
    """`Alb` was sent back without its space; what follows is the same as with it."""
    rest = position((b"ania", 0.9))
    for first in (b"Alb", b" Alb"):
        held = heal(joined([position((first, 0.9)), rest], b" Alb"), b" Alb")
        assert held == (rest,)


@given(st.lists(st.sampled_from([b"a", b" a", b"b", b" b", b"ab", b" ab", b" "]), unique=True, min_size=1, max_size=7))
def test_no_event_is_lost_or_twice_where_spaces_are_supplied(pieces: list[bytes]) -> None:
    share = 1.0 / (len(pieces) + 1)
    [found] = joined([position(*((piece, share) for piece in pieces), ceiling=math.log(share))], b" a")
    spoken = [c.piece for c in found.top]
    assert len(set(spoken)) == len(spoken)
    assert all(piece.startswith(b" ") for piece in spoken)
    assert sum(math.exp(c.logp) for c in found.top) == pytest.approx(share * len(pieces))
    assert {piece.lstrip() for piece in spoken} == {piece.lstrip() for piece in pieces}
