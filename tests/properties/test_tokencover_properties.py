"""Properties of the API's next token: its masses are those of all continuations that the API cuts so, whoever merges.

The truth is listed: every answer of a toy pair, cut by an API that merges by rank across the pair's own tokens, or that
does not merge what the pair has as one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.continuations import KEPT_SHARE, Continuations
from blackbox_proxy.core.alignment.covering import Place
from blackbox_proxy.core.alignment.firsts import Firsts
from blackbox_proxy.core.alignment.tokencover import TokenCover
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.types import Distribution, Floats, Logits, PairDistributions, TokenPath
from tests.properties.merging import ShortModel, ShortPair, merging, next_tokens

ALPHABETS: dict[str, tuple[bytes, ...]] = {
    "letters": (b"a", b"b", b" "),
    "digits": (b"1", b"2", b","),
    "blanks": (b" ", b"\n", b"x"),
    "marks": (b"-", b"*", b"c"),
    "bytes": (b"\xe6", b"\x97", b"\xa5"),
    "faces": (b"\xf0\x9f", b"\x98", b"\x80"),
}
CLOSE = 1e-9


@dataclass(frozen=True)
class Case:
    """own: the pair's tokenizer; None where every spelling of a text is taken for one."""

    pair: ShortPair
    api: Vocabulary
    text: bytes
    own: Vocabulary | None = None


@st.composite
def alphabets(draw: st.DrawFn) -> tuple[tuple[bytes, ...], st.SearchStrategy[list[bytes]]]:
    """Some letters, and merges of two or three of them."""
    letters = ALPHABETS[draw(st.sampled_from(sorted(ALPHABETS)))]
    strings = [a + b for a in letters for b in letters] + [a + b + c for a in letters for b in letters for c in letters]
    return letters, st.lists(st.sampled_from(strings), max_size=5, unique=True)


@st.composite
def cases(draw: st.DrawFn, *, depth: int = 4) -> Case:
    """A pair and an API over one alphabet, which merge different neighbours; and a text that the API cuts itself."""
    letters, some = draw(alphabets())
    own = Vocabulary([*letters, *draw(some)[:2], b"<end>"], ends=[])
    vocabulary = Vocabulary(own.pieces, ends=[len(own.pieces) - 1])
    seed, sharpness = draw(st.integers(0, 2**16)), draw(st.sampled_from([0.5, 2.0, 4.0]))
    pair = ShortPair(*(ShortModel(vocabulary, seed + n, depth, sharpness) for n in (0, 1)))
    text = b"".join(draw(st.lists(st.sampled_from(letters), max_size=2)))
    return Case(pair, merging(letters, draw(some)), text)


@st.composite
def spelling_cases(draw: st.DrawFn, *, depth: int = 3) -> Case:
    """The same for a pair with a tokenizer that merges too, and against which its members may write."""
    letters, some = draw(alphabets())
    own = merging(letters, draw(some))
    seed = draw(st.integers(0, 2**16))
    pair = ShortPair(*(ShortModel(own, seed + n, depth) for n in (0, 1)))
    text = b"".join(draw(st.lists(st.sampled_from(letters), max_size=2)))
    return Case(pair, merging(letters, draw(some)), text, own)


def truth(case: Case) -> tuple[dict[bytes, tuple[float, float]], bool]:
    """The masses by brute force, and whether the border was given up."""
    models = case.pair.expert, case.pair.anti_expert
    found = [next_tokens(model, case.text, case.api, bordered=True, own=case.own) for model in models]
    unbordered = bool(case.text) and sum(found[0][0].values()) < KEPT_SHARE * found[0][1]
    if unbordered:
        found = [next_tokens(model, case.text, case.api, bordered=False, own=case.own) for model in models]
    sums = [max(sum(masses.values()), 1e-300) for masses, _ in found]
    names = {*found[0][0], *found[1][0]}
    shares = {name: (found[0][0].get(name, 0.0) / sums[0], found[1][0].get(name, 0.0) / sums[1]) for name in names}
    return shares, unbordered


def names(api: Vocabulary) -> list[bytes]:
    return [*dict.fromkeys(api.pieces[i] for i in api.order.tolist()), b""]


def made(case: Case, known: dict[TokenPath, PairDistributions]) -> TokenCover:
    spelt = case.pair.vocabulary.spell(case.text)
    at = Place((), case.text, tuple(spelt))
    known.update({path: case.pair.distributions(path) for path in at.paths})
    spell = case.own.cut if case.own else None
    bridge = Firsts(case.pair.vocabulary, case.api, spell)
    tree = Continuations(case.pair.vocabulary, at, known, firsts=bridge, after=case.text, spell=spell, least=0.0)
    return TokenCover(tree)


def settle(
    case: Case,
    cover: TokenCover,
    known: dict[TokenPath, PairDistributions],
    right: Sequence[tuple[float, float]],
    *,
    unbordered: bool,
) -> Floats:
    """Learn all that is open, and hold the bounds against the truth at every step.

    unbordered: whether the truth gives up the border before the text's end; until the tree has read enough to do so
    too, its bounds are about another event.
    """
    asked = names(case.api)
    while True:
        cover.ask(asked)
        low, high = cover.bounds()
        if cover.tree.unbordered == unbordered:
            assert float(np.max(low - np.array(right).T)) <= CLOSE
            assert float(np.max(np.array(right).T - high)) <= CLOSE
        wanted = {*cover.tree.open_paths(least=-1.0, usual=False), *cover.tree.unread_masses}
        wanted |= {path for n in range(len(asked)) if (path := cover.widest(n)) is not None}
        wanted = {path for path in wanted - known.keys() if len(path) <= case.pair.expert.depth}
        if not wanted:
            return cover.estimate()
        known.update({path: case.pair.distributions(path) for path in wanted})
        cover.tree.absorb()


def check(case: Case) -> None:
    """The masses are those by brute force, and together they are all that there is."""
    right, unbordered = truth(case)
    wanted = [right.get(name, (0.0, 0.0)) for name in names(case.api)]
    known: dict[TokenPath, PairDistributions] = {}
    cover = made(case, known)
    found = settle(case, cover, known, wanted, unbordered=unbordered)
    assert cover.tree.unbordered == unbordered
    np.testing.assert_allclose(found, np.array(wanted).T, atol=CLOSE)
    reached = [sum(member) > 0.0 for member in np.array(wanted).T]
    np.testing.assert_allclose(found.sum(axis=1)[reached], 1.0, atol=CLOSE)


@given(case=cases())
def test_masses_are_those_of_all_continuations_that_are_cut_so(case: Case) -> None:
    """To 1e-9, with bounds that hold on the way."""
    check(case)


@given(case=spelling_cases())
def test_where_the_pair_ends_a_token_against_its_tokenizer_the_api_does_too(case: Case) -> None:
    """By brute force as well."""
    check(case)


@pytest.mark.slow
@pytest.mark.long
@settings(max_examples=2500, deadline=None)
@given(case=cases() | spelling_cases())
def test_masses_in_many_cases(case: Case) -> None:
    """Both, 2,500 times."""
    check(case)


@given(case=spelling_cases(depth=4))
def test_for_an_api_of_the_same_tokenizer_masses_are_those_of_the_pairs_next_tokens(case: Case) -> None:
    """Whatever it is known to write then: so steering by strings is steering by ids."""
    assert case.own is not None
    known: dict[TokenPath, PairDistributions] = {}
    cover = made(replace(case, api=case.own, text=b""), known)
    distributions = known[()]
    known.update({(i,): case.pair.distributions((i,)) for i in case.own.order.tolist()})
    cover.tree.absorb()
    cover.ask(names(case.own))
    ids = [case.own.ids_of(name)[0] if name else int(case.own.ends[0]) for name in names(case.own)]
    right = [
        np.exp(distribution.logits[ids].astype(np.float64) - distribution.log_norm)
        for distribution in (distributions.expert, distributions.anti_expert)
    ]
    np.testing.assert_allclose(cover.estimate(), right, atol=CLOSE)
    np.testing.assert_allclose(cover.once(), right, atol=CLOSE)


LONG = ShortPair(*(ShortModel(Vocabulary([b"-", b"card", b"a", b"<end>"], ends=[3]), seed, 3) for seed in (1, 2)))
JOINED = merging((b"-", b"c", b"a", b"r", b"d"), (b"ca", b"rd", b"card", b"-card"))


def test_a_token_that_the_pair_writes_as_two_takes_its_mass_from_the_shorter_one() -> None:
    """After nothing: `-card` is one token of the API, so `-` holds what goes on otherwise, and nothing else."""
    case = Case(LONG, JOINED, b"")
    right, _ = truth(case)
    known: dict[TokenPath, PairDistributions] = {}
    cover = made(case, known)
    cover.ask([b"-", b"-card"])
    low, _ = cover.bounds()
    assert (low[:, 0] < 1e-9).all(), "nothing of `-` is certain before it is known what follows"
    assert cover.tree.open_paths(least=0.0) != {}
    settle(case, cover, known, [right.get(name, (0.0, 0.0)) for name in names(JOINED)], unbordered=False)
    cover.ask([b"-", b"-card"])
    np.testing.assert_allclose(cover.estimate().T, [right[b"-"], right[b"-card"]], atol=CLOSE)
    assert {b"-", b"-card"} <= set(cover.tree.proposals(9, least=0.0))


def test_a_text_that_the_api_would_not_have_cut_so_is_taken_without_its_border() -> None:
    """After `-` the expert goes on with `card` alone, and the API would have cut `-card`: a dead end otherwise."""
    vocabulary = Vocabulary([b"-", b"card", b"<end>"], ends=[2])
    sure = {(): [6.0, -6.0, -6.0], (0,): [-9.0, 6.0, -9.0]}
    distributions = {
        path: PairDistributions(distribution, distribution)
        for path, logits in sure.items()
        for distribution in [_distribution(logits)]
    }
    at = Place((), b"-", (0,))
    tree = Continuations(vocabulary, at, distributions, firsts=Firsts(vocabulary, JOINED), after=b"-", least=0.0)
    assert tree.unbordered
    assert tree.proposals(1) == [b"card"]
    cover = TokenCover(tree)
    cover.ask([b"card"])
    assert (cover.estimate() > 0.99).all()


def _distribution(logits: Sequence[float]) -> Distribution:
    found: Logits = np.array(logits, dtype=np.float32)
    return Distribution(found, float(np.logaddexp.reduce(found.astype(np.float64))))


def test_a_text_that_is_improbable_by_itself_has_proposals_too() -> None:
    """What counts is a share of the text's own mass: after `-`, which the pair hardly ever writes."""
    vocabulary = Vocabulary([b"-", b"card", b"a", b"<end>"], ends=[3])
    logits = {(): [-18.0, 0.0, 9.0, -9.0], (0,): [-9.0, 6.0, -9.0, -9.0]}
    distributions = {
        path: PairDistributions(distribution, distribution)
        for path, row in logits.items()
        for distribution in [_distribution(row)]
    }
    tree = Continuations(vocabulary, Place((), b"-", (0,)), distributions, firsts=Firsts(vocabulary, vocabulary))
    assert float(tree.total.max()) < 1e-10
    assert tree.proposals(1) == [b"card"]
