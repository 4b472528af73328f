"""Properties of a vocabulary: its index finds what reading every piece would find."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import oracles
from tests.properties.strategies import Made, pieces, texts, vocabularies, vocabularies_with_prefix


@given(case=vocabularies_with_prefix())
def test_starting_with_is_every_text_piece_that_starts_so(case: tuple[Made, bytes]) -> None:
    made, prefix = case
    found = made.vocabulary.starting_with(prefix).tolist()
    assert sorted(found) == [i for i in made.text if made.pieces[i].startswith(prefix)]


@given(case=vocabularies_with_prefix())
def test_starting_with_is_one_slice_of_the_order(case: tuple[Made, bytes]) -> None:
    """What prefix sums over `order` rely on."""
    made, prefix = case
    order, found = made.vocabulary.order.tolist(), made.vocabulary.starting_with(prefix).tolist()
    at = bisect_left([made.pieces[i] for i in order], prefix)
    assert found == order[at : at + len(found)]


@given(made=vocabularies(), text=texts)
def test_proper_prefixes_are_the_shorter_pieces_that_begin_the_text(made: Made, text: bytes) -> None:
    found = list(made.vocabulary.proper_prefixes(text))
    shorter = [i for i in made.text if text.startswith(made.pieces[i]) and made.pieces[i] != text]
    assert sorted(i for i, _ in found) == shorter
    assert [length for _, length in found] == sorted(len(made.pieces[i]) for i, _ in found)
    assert all(length == len(made.pieces[i]) for i, length in found)


@given(made=vocabularies(), left=texts, right=texts)
def test_straddled_is_a_piece_with_a_foot_on_either_side(made: Made, left: bytes, right: bytes) -> None:
    assert made.vocabulary.straddled(left, right) == oracles.straddled(made.spoken, left, right)


@given(made=vocabularies(), data=st.data())
def test_a_border_inside_a_piece_is_straddled(made: Made, data: st.DataObject) -> None:
    """Random texts seldom hit a long piece, so cut one."""
    long = [piece for piece in made.spoken if len(piece) > 1]
    if not long:
        return
    piece = data.draw(st.sampled_from(long))
    cut = data.draw(st.integers(1, len(piece) - 1))
    before, after = data.draw(texts), data.draw(texts)
    assert made.vocabulary.straddled(before + piece[:cut], piece[cut:] + after)
    assert made.vocabulary.straddled(before + piece[:cut], piece[cut : cut + 1][: cut % 2])


@given(made=vocabularies(spells_all=True), text=texts)
def test_a_spelling_reads_back_as_the_text(made: Made, text: bytes) -> None:
    assert made.vocabulary.text_of(made.vocabulary.spell(text)) == text


@given(made=vocabularies(spells_all=True), text=texts)
def test_a_spelling_takes_the_longest_piece_each_time(made: Made, text: bytes) -> None:
    for i in made.vocabulary.spell(text):
        assert len(made.pieces[i]) == max(len(p) for p in made.spoken if text.startswith(p))
        text = text[len(made.pieces[i]) :]


@given(made=vocabularies(), text=texts)
def test_with_a_piece_for_every_byte_spelling_never_fails(made: Made, text: bytes) -> None:
    if set(made.spoken) >= {bytes([byte]) for byte in text}:
        assert made.vocabulary.text_of(made.vocabulary.spell(text)) == text
    with suppress(ValueError):
        assert made.vocabulary.text_of(made.vocabulary.spell(text)) == text


@given(made=vocabularies())
def test_what_is_silent_is_never_matched(made: Made) -> None:
    vocabulary = made.vocabulary
    silent = sorted(set(range(len(vocabulary))) - set(made.text))
    assert not vocabulary.is_text[silent].any()
    assert vocabulary.is_text[made.text].all()
    assert vocabulary.text_of(silent) == b""
    for i in silent:
        assert i not in vocabulary.ids_of(made.pieces[i])
        assert i not in vocabulary.starting_with(made.pieces[i])
        assert i not in [u for u, _ in vocabulary.proper_prefixes(made.pieces[i] + b"a")]


@given(made=vocabularies(), piece=pieces)
def test_ids_of_are_all_ids_with_that_piece(made: Made, piece: bytes) -> None:
    assert list(made.vocabulary.ids_of(piece)) == [i for i in made.text if made.pieces[i] == piece]


def test_an_oracle_of_straddling_knows_a_border_that_is_safe() -> None:
    """The oracle itself, on cases that a reader can check by eye."""
    assert oracles.straddled([b"ab"], b"xa", b"b")
    assert oracles.straddled([b"ab"], b"xa", b"")
    assert not oracles.straddled([b"ab"], b"xa", b"c")
    assert not oracles.straddled([b"ab"], b"xab", b"")


@pytest.mark.parametrize("text", [b"\xff", b"a\xffb"])
def test_a_byte_without_a_piece_cannot_be_spelled(text: bytes) -> None:
    from tests.core.toys import TOY

    with pytest.raises(ValueError, match="no piece"):
        TOY.spell(text)
