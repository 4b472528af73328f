"""Tokens to text: what is shown, what is held back, where the tokens stand."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.text import open_bytes
from blackbox_proxy.standin.engine import Token
from blackbox_proxy.standin.transcript import Part, Transcript, write

PIECES = (b"a", b"b", "é".encode()[:1], "é".encode()[1:], "日".encode()[:2], "日".encode()[2:], b"\xff", "日é".encode())
END = len(PIECES)
SILENT = END + 1
VOCABULARY = Vocabulary([*PIECES, b"<end>", b"<silent>"], ends=[END], special=[SILENT])

IDS = st.lists(st.integers(0, len(PIECES) - 1) | st.just(SILENT), max_size=12)
STOPS = st.lists(st.text("abé日", min_size=1, max_size=3).map(str.encode), max_size=2)


def written(ids: Sequence[int], stops: Sequence[bytes] = (), echo: Sequence[bytes] = ()) -> list[Part]:
    return list(write(map(Token, ids), Transcript(VOCABULARY, stops=stops, echo=echo)))


def text_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts)


@given(IDS)
def test_the_parts_are_the_whole_text(ids: list[int]) -> None:
    assert text_of(written(ids)) == VOCABULARY.text_of(ids).decode("utf-8", "replace")


def cut(ids: Sequence[int], stops: Sequence[bytes]) -> tuple[bytes, str]:
    """The answer up to the stop string that is complete first; of several at once, the one that begins first."""
    for n in range(len(ids) + 1):
        text = VOCABULARY.text_of(ids[:n])
        found = [text.find(stop) for stop in stops if stop in text]
        if found:
            return text[: min(found)], "stop"
    return VOCABULARY.text_of(ids), "length"


@given(IDS, STOPS)
def test_the_text_ends_before_the_first_stop_string(ids: list[int], stops: list[bytes]) -> None:
    parts = written(ids, stops)
    expected, finish = cut(ids, stops)
    assert text_of(parts) == expected.decode("utf-8", "replace")
    assert parts[-1].finish == finish


@given(IDS)
def test_every_token_is_given_once_and_in_order(ids: list[int]) -> None:
    parts = written([*ids, END, 0])
    assert [placed.token.id for part in parts for placed in part.tokens] == [*ids, END]
    assert parts[-1].finish == "stop"
    assert all(part.finish is None for part in parts[:-1])


@given(IDS)
def test_an_offset_counts_the_characters_before_a_token(ids: list[int]) -> None:
    """Those that are whole, or can never be, when it begins: a fragment stands where its character stands."""
    placed = [placed for part in written(ids) for placed in part.tokens]
    for n, one in enumerate(placed):
        before = VOCABULARY.text_of(ids[:n])
        settled = before[: len(before) - open_bytes(before)]
        assert one.offset == len(settled.decode("utf-8", "replace"))


@given(IDS, IDS, STOPS)
def test_an_echo_is_shown_whole_and_not_searched_for_stop_strings(
    prompt: list[int], answer: list[int], stops: list[bytes]
) -> None:
    echo = [VOCABULARY.pieces[i] for i in prompt]
    parts = written([*prompt, *answer], stops, echo)
    expected, finish = cut(answer, stops)
    assert text_of(parts) == (b"".join(echo) + expected).decode("utf-8", "replace")
    assert parts[-1].finish == finish


def test_a_character_is_held_back_until_it_is_whole() -> None:
    assert [part.text for part in written([0, 4, 5, 1])] == ["a", "", "日", "b", ""]


def test_an_end_token_in_an_echoed_prompt_ends_nothing() -> None:
    parts = written([0, END, 1], echo=[b"a", b"<end>"])
    assert text_of(parts) == "a<end>b"
    assert parts[-1].finish == "length"


def test_what_may_become_a_stop_string_is_held_back() -> None:
    assert [part.text for part in written([0, 1, 0, 0], [b"bb"])] == ["a", "", "ba", "a", ""]


def test_tokens_behind_the_cut_are_not_given_but_were_generated() -> None:
    transcript = Transcript(VOCABULARY, stops=[b"ba"])
    parts = list(write(map(Token, [0, 1, 0, 1]), transcript))
    assert [placed.token.id for part in parts for placed in part.tokens] == [0]
    assert transcript.generated == 3
