"""Properties of the covering: its masses are the sums over all token sequences, and its bounds hold.

Each is held against `oracles`, which spells out every sequence, on toy models small enough for that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.covering import NEGLIGIBLE, Cover, Place, place
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Floats, PairDistributions, TokenPath
from tests.core.toys import OTHER, TOY, toy_pair
from tests.properties import oracles
from tests.properties.oracles import UNPROMPTED, Everything
from tests.properties.strategies import ALPHABET, letters, pairs, seeds, strings

CLOSE = 1e-9
contexts = st.lists(letters, max_size=3).map(bytes)
questions = st.lists(strings, min_size=1, max_size=4)


def members(pair: ToyPair) -> tuple[ToyModel, ToyModel]:
    return pair.expert, pair.anti_expert


def from_start(pair: ToyPair, text: bytes) -> Place:
    """The place in which the whole text is re-read, so that no approximation is left."""
    return Place((), text, tuple(pair.spell(text)))


def truth(pair: ToyPair, text: bytes, asked: Sequence[bytes], *, after: TokenPath = ()) -> Floats:
    """P(the text goes on with each string), by both members, shape (2, n)."""
    return np.array(
        [
            [oracles.starts(m, text + s, after=after) / oracles.starts(m, text, after=after) for s in asked]
            for m in members(pair)
        ]
    )


def settled(cover: Cover, asked: Sequence[bytes]) -> Floats:
    """The masses once every distribution is there; lower and upper bounds must have met."""
    cover.ask(asked)
    cover.absorb()
    low, high = cover.bounds()
    np.testing.assert_array_equal(low, high)
    return low


@settings(max_examples=20)
@given(seed=seeds, text=contexts.filter(bool))
def test_the_oracle_counts_every_sequence(seed: int, text: bytes) -> None:
    """The oracle itself, against trying all sequences of so many tokens."""
    pair = toy_pair(seed)
    text = text.replace(b"\xff", b"b")
    assert oracles.starts(pair.expert, text) == pytest.approx(oracles.starts_by_counting(pair.expert, text))


@given(pair=pairs(), text=contexts, asked=questions)
def test_with_every_distribution_known_the_masses_are_the_sums_over_all_sequences(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    cover = Cover(pair.vocabulary, from_start(pair, text), Everything(pair))
    assert cover.unread() == []
    np.testing.assert_allclose(settled(cover, asked), truth(pair, text, asked), atol=CLOSE)


@given(pair=pairs(), text=contexts, asked=questions)
def test_bounds_hold_and_narrow_as_distributions_arrive_one_by_one(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    """The text is read in every spelling; then one distribution at a time, the widest first, until bounds meet."""
    everything = Everything(pair)
    at = from_start(pair, text)
    known: dict[TokenPath, PairDistributions] = {}
    for cut in range(len(text) + 1):
        known |= {path: everything[path] for path in oracles.spellings(pair.vocabulary, text[:cut])}
    cover = Cover(pair.vocabulary, at, known)
    cover.ask(asked)
    right = truth(pair, text, asked)
    low, high = cover.bounds()
    for column in range(len(asked)):
        while (path := cover.widest(column)) is not None:
            assert path not in known
            known[path] = everything[path]
            cover.absorb()
            before, (low, high) = (low, high), cover.bounds()
            assert (low >= before[0] - CLOSE).all()
            assert (high <= before[1] + CLOSE).all()
            assert (low <= right + CLOSE).all()
            assert (right <= high + CLOSE).all()
    np.testing.assert_allclose(low, right, atol=CLOSE)
    np.testing.assert_allclose(high, right, atol=CLOSE)


@given(pair=pairs(), text=contexts, asked=questions)
def test_bounds_hold_before_any_distribution_beyond_the_text_is_known(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    known = {
        path: distributions
        for cut in range(len(text) + 1)
        for path in oracles.spellings(pair.vocabulary, text[:cut])
        for distributions in pair.distributions(UNPROMPTED, [path])
    }
    cover = Cover(pair.vocabulary, from_start(pair, text), known)
    cover.ask(asked)
    low, high = cover.bounds()
    right = truth(pair, text, asked)
    assert (low <= right + CLOSE).all()
    assert (right <= high + CLOSE).all()


def at_hand(model: ToyModel, text: bytes, known: Collection[TokenPath]) -> float:
    """What the known distributions alone say of the text: the coverings that need no other."""
    ways = oracles.coverings(model.vocabulary, text)
    return sum(oracles.chance(model, way) for way in ways if all(way[:n] in known for n in range(len(way))))


@given(pair=pairs(), text=contexts, asked=questions, data=st.data())
def test_the_lower_bound_is_what_the_distributions_at_hand_say(
    pair: ToyPair, text: bytes, asked: list[bytes], data: st.DataObject
) -> None:
    """And the estimate lies between the bounds; without a tokenizer it is the upper one."""
    spelt = [path for cut in range(len(text) + 1) for path in oracles.spellings(pair.vocabulary, text[:cut])]
    beyond = [way[:n] for s in asked for way in oracles.coverings(pair.vocabulary, text + s) for n in range(len(way))]
    known = set(spelt) | data.draw(st.sets(st.sampled_from(beyond)))
    distributions = dict(zip(known, pair.distributions(UNPROMPTED, list(known)), strict=True))
    for spell in (None, pair.spell):
        cover = Cover(pair.vocabulary, from_start(pair, text), distributions, spell=spell)
        cover.ask(asked)
        cover.absorb()
        low, high = cover.bounds()
        right = [[at_hand(m, text + s, known) / oracles.starts(m, text) for s in asked] for m in members(pair)]
        np.testing.assert_allclose(low, right, atol=CLOSE)
        assert (low <= cover.estimate() + CLOSE).all()
        assert (cover.estimate() <= high + CLOSE).all()
        if spell is None:
            np.testing.assert_allclose(cover.estimate(), high, atol=1e-6)


@given(pair=pairs(), text=contexts, asked=questions)
def test_narrowed_along_the_usual_spelling_the_estimate_holds_all_of_it(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    """No less than the coverings that follow the tokenizer up to their last token, and no gap left in it."""
    everything = Everything(pair)
    spelt = [path for cut in range(len(text) + 1) for path in oracles.spellings(pair.vocabulary, text[:cut])]
    known = {path: everything[path] for path in spelt}
    cover = Cover(pair.vocabulary, from_start(pair, text), known, spell=pair.spell)
    cover.ask(asked)
    for column, string in enumerate(asked):
        while (path := cover.widest(column, usual=True)) is not None:
            known[path] = everything[path]
            cover.absorb()
        usual = tuple(pair.spell(text + string))
        ways = [way for way in oracles.coverings(pair.vocabulary, text + string) if way[:-1] == usual[: len(way) - 1]]
        for row, member in enumerate(members(pair)):
            follows = sum(oracles.chance(member, way) for way in ways) / oracles.starts(member, text)
            assert cover.estimate()[row, column] >= follows - 1e-6
        np.testing.assert_allclose(cover.estimate()[:, column], cover.bounds()[0][:, column], atol=1e-6)


@given(pair=pairs(), text=contexts, asked=questions)
def test_another_spelling_that_is_left_out_is_reported_or_negligible(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    """Asking for what `unread` names, again and again, leads to masses as exact as NEGLIGIBLE promises."""
    at, known = from_start(pair, text), dict[TokenPath, PairDistributions]()
    wanted: list[TokenPath] = list(at.paths)
    while wanted:
        known |= dict(zip(wanted, pair.distributions(UNPROMPTED, wanted), strict=True))
        cover = Cover(pair.vocabulary, at, known)
        wanted = cover.unread()
        assert not set(wanted) & set(known)
    cover = Cover(pair.vocabulary, at, known)
    cover.ask(asked)
    while missing := {p for i in range(len(asked)) if (p := cover.widest(i)) is not None}:
        known |= {path: distributions for path in missing for distributions in pair.distributions(UNPROMPTED, [path])}
        cover.absorb()
    low, _ = cover.bounds()
    np.testing.assert_allclose(low, truth(pair, text, asked), atol=0.05)


@given(pair=pairs(), text=contexts)
def test_the_end_is_an_end_token_after_exactly_the_text(pair: ToyPair, text: bytes) -> None:
    cover = Cover(pair.vocabulary, from_start(pair, text), Everything(pair))
    right = [oracles.stops(m, text) / oracles.starts(m, text) for m in members(pair)]
    np.testing.assert_allclose(settled(cover, [b"a", b""])[:, 1], right, atol=CLOSE)


def silent_share(model: ToyModel, text: bytes) -> float:
    """Probability that a token comes next that is neither text nor an end."""
    voiced = {*np.flatnonzero(model.vocabulary.is_text).tolist(), *model.vocabulary.ends.tolist()}
    silent = sorted(set(range(len(model.vocabulary))) - voiced)
    ways = oracles.spellings(model.vocabulary, text)
    return sum(oracles.chance(model, (*path, i)) for path in ways for i in silent) / oracles.starts(model, text)


@given(pair=pairs(), text=contexts)
def test_next_byte_end_and_silent_tokens_share_all_probability(pair: ToyPair, text: bytes) -> None:
    """What special tokens take is nobody's: neither a string nor the end may claim it."""
    cover = Cover(pair.vocabulary, from_start(pair, text), Everything(pair))
    masses = settled(cover, [*(bytes([byte]) for byte in ALPHABET), b""])
    silent = [silent_share(m, text) for m in members(pair)]
    np.testing.assert_allclose(masses.sum(axis=1) + silent, 1.0, atol=CLOSE)


@given(pair=pairs(), text=contexts, cuts=st.lists(strings, min_size=1, max_size=3))
def test_masses_telescope_however_a_string_is_cut(pair: ToyPair, text: bytes, cuts: list[bytes]) -> None:
    """The property that makes offsets independent of the API's tokenizer (3.4)."""
    everything = Everything(pair)
    product = np.ones(2)
    for n, piece in enumerate(cuts):
        at = from_start(pair, text + b"".join(cuts[:n]))
        product *= settled(Cover(pair.vocabulary, at, everything), [piece])[:, 0]
    whole = settled(Cover(pair.vocabulary, from_start(pair, text), everything), [b"".join(cuts)])
    np.testing.assert_allclose(product, whole[:, 0], rtol=1e-6, atol=CLOSE)


@given(pair=pairs(), text=st.lists(letters, max_size=5).map(bytes), back_off=st.integers(1, 6))
def test_an_anchor_is_the_last_border_that_nothing_straddles(pair: ToyPair, text: bytes, back_off: int) -> None:
    at = place(text, spell=pair.spell, vocabulary=pair.vocabulary, back_off=back_off)
    text_of = pair.vocabulary.text_of
    assert at.path == tuple(pair.spell(text))
    assert at.anchor == at.path[: len(at.anchor)]
    assert text_of(at.anchor) + at.rest == text
    assert len(at.path) - len(at.anchor) <= back_off
    safe = [not pair.vocabulary.straddled(text_of(at.path[:n]), text_of(at.path[n:])) for n in range(len(at.path) + 1)]
    assert not any(safe[len(at.anchor) + 1 :])
    assert safe[len(at.anchor)] or len(at.path) - len(at.anchor) == back_off


@given(pair=pairs(), text=st.lists(letters, max_size=4).map(bytes), asked=questions)
def test_from_an_anchor_the_masses_are_those_after_its_tokens(pair: ToyPair, text: bytes, asked: list[bytes]) -> None:
    """The anchor's own spelling is taken as given; everything after it is summed over."""
    at = place(text, spell=pair.spell, vocabulary=pair.vocabulary, back_off=2)
    cover = Cover(pair.vocabulary, at, Everything(pair))
    right = truth(pair, at.rest, asked, after=at.anchor)
    np.testing.assert_allclose(settled(cover, asked), right, atol=CLOSE)


@given(seed=seeds, text=st.lists(st.sampled_from(b"ab \xc3"), max_size=4).map(bytes), asked=questions)
def test_where_text_has_one_spelling_an_anchor_loses_nothing(seed: int, text: bytes, asked: list[bytes]) -> None:
    pair = toy_pair(seed, OTHER)
    asked = [string.replace(b"\xff", b"a") for string in asked]
    at = place(text, spell=pair.spell, vocabulary=pair.vocabulary, back_off=1)
    assert at.rest == b""
    cover = Cover(pair.vocabulary, at, Everything(pair))
    np.testing.assert_allclose(settled(cover, asked), truth(pair, text, asked), atol=CLOSE)


def worths(pair: ToyPair, text: bytes) -> dict[bytes, float]:
    """What one token can leave over beyond the text, in any spelling of the text, and the expert's mass of it."""
    found: dict[bytes, float] = {}
    for cut in range(len(text) + 1):
        for path in oracles.spellings(pair.vocabulary, text[:cut]):
            for i in np.flatnonzero(pair.vocabulary.is_text).tolist():
                beyond = pair.vocabulary.pieces[i].removeprefix(text[cut:])
                if pair.vocabulary.pieces[i] == text[cut:] + beyond and beyond:
                    found[beyond] = found.get(beyond, 0.0) + oracles.chance(pair.expert, (*path, i))
    return found


@given(pair=pairs(), text=contexts)
def test_proposals_are_what_the_expert_finds_likeliest(pair: ToyPair, text: bytes) -> None:
    """All of them, best first, but for those that a token offers with a negligible share."""
    cover = Cover(pair.vocabulary, from_start(pair, text), Everything(pair))
    worth = worths(pair, text)
    proposed = cover.proposals(len(pair.vocabulary))
    small = NEGLIGIBLE * len(pair.vocabulary)
    assert len(set(proposed)) == len(proposed)
    assert set(proposed) <= set(worth)
    assert all(mass < small for piece, mass in worth.items() if piece not in proposed)
    for one, other in pairwise(proposed):
        assert worth[one] >= worth[other] - small
    assert cover.proposals(1) in ([], proposed[:1]) or worth[cover.proposals(1)[0]] <= worth[proposed[0]] + small


@given(pair=pairs(), text=contexts, byte=letters)
def test_proposals_can_be_held_to_how_they_start(pair: ToyPair, text: bytes, byte: int) -> None:
    cover = Cover(pair.vocabulary, from_start(pair, text), Everything(pair))
    start = bytes([byte])
    proposed = cover.proposals(99, starts=[start])
    assert proposed
    assert all(piece.startswith(start) for piece in proposed)


def test_a_distribution_that_is_missing_where_the_text_is_read_is_asked_for() -> None:
    """`ab` is read as one token; its other spelling, a then b, needs the distributions after `a` and after `a`, `b`."""
    pair = toy_pair()
    a, b, ab = (TOY.ids_of(piece)[0] for piece in (b"a", b"b", b"ab"))
    at = Place((), b"ab", (ab,))
    known = dict(zip(at.paths, pair.distributions(UNPROMPTED, at.paths), strict=True))
    assert Cover(TOY, at, known).unread() == [(a,)]
    (known[(a,)],) = pair.distributions(UNPROMPTED, [(a,)])
    assert Cover(TOY, at, known).unread() == [(a, b)]
