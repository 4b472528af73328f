"""Recutting: what a tokenizer cuts has no strange border, and every other border between pieces is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.recut import strange_borders, strange_pieces
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from tests.properties.strategies import Made, vocabularies

LETTERS = Vocabulary([b"a", b"b", b"ab", "é".encode(), b"\xc3", b"\xa9"], ends=())


@given(made=vocabularies(spells_all=True), text=st.text(alphabet="ab é", max_size=8))
def test_what_the_tokenizer_cuts_has_no_strange_border(made: Made, text: str) -> None:
    cut = made.vocabulary.cut(text.encode())
    assert strange_borders([made.pieces[i] for i in cut], made.vocabulary) == 0


@given(made=vocabularies(spells_all=True), pieces=st.lists(st.sampled_from(["a", "b", "ab", " ", "é"]), max_size=8))
def test_each_border_is_strange_unless_the_cut_makes_it(made: Made, pieces: list[str]) -> None:
    spelt = [piece.encode() for piece in pieces]
    text = b"".join(spelt)
    cut = [made.pieces[i] for i in made.vocabulary.cut(text)]
    made_by_cut = {len(b"".join(cut[:n])) for n in range(len(cut) + 1)}
    wanted = sum(len(b"".join(spelt[:n])) not in made_by_cut for n in range(1, len(spelt)))
    assert strange_borders(spelt, made.vocabulary) == wanted


def test_a_character_that_is_not_finished_is_left_out() -> None:
    assert strange_borders([b"a", b"b", b"\xc3"], LETTERS) == 1
    assert strange_borders([b"a", b"\xc3", b"\xa9"], LETTERS) == 1
    assert strange_borders([b"\xc3"], LETTERS) == 0


def test_what_cannot_be_cut_is_not_counted() -> None:
    assert strange_borders([b"a", b"z"], LETTERS) is None
    strict = LETTERS.cut_by(lambda text: LETTERS.spell(text.decode().encode()))
    assert strange_borders([b"\xff", b"a"], strict) is None


def test_pieces_without_bytes_make_no_border() -> None:
    assert strange_borders([b"", b"ab", b""], LETTERS) == 0


def test_strange_pieces_are_those_of_another_vocabulary() -> None:
    assert strange_pieces([b"a", b"ab", b"ba", b"", b"z"], LETTERS) == 2
