"""Laws of the first-token event: the API's next tokens are disjoint and together everything, and each is what it says.

The truth is enumerated: every token sequence of a toy pair that reaches far enough, cut by the API's longest match.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.covering import Cover, Place
from blackbox_proxy.core.firsts import Firsts, firsts_of
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Floats
from tests.laws.oracles import Everything, starts
from tests.laws.strategies import pairs, seeds
from tests.laws.test_covering_laws import from_start, settled

LETTERS = (b"a", b"b", b" ")
MERGES = (b"ab", b"ba", b" a", b"aa", b"abb", b"b ")
apis = st.lists(st.sampled_from(MERGES), max_size=4, unique=True).map(
    lambda merges: Vocabulary([*LETTERS, *merges, b"</s>"], ends=[len(LETTERS) + len(merges)])
)
toy_pairs = st.builds(
    lambda merges, seed: _pair([*LETTERS, *merges, b"<end>"], seed),
    st.lists(st.sampled_from(MERGES), max_size=4, unique=True),
    seeds,
)


def _pair(pieces: list[bytes], seed: int) -> ToyPair:
    vocabulary = Vocabulary(pieces, ends=[len(pieces) - 1])
    return ToyPair(ToyModel(vocabulary, seed), ToyModel(vocabulary, seed + 1))


def masses(pair: ToyPair, api: Vocabulary, at: Place) -> tuple[list[bytes], Floats]:
    """All of the API's pieces and the end, with their masses under the first-token event, once every law is there."""
    names = [*dict.fromkeys(api.pieces[i] for i in api.order.tolist()), b""]
    cover = Cover(pair.vocabulary, at, Everything(pair), firsts=Firsts(pair.vocabulary, api))
    return names, settled(cover, names)


@given(pair=toy_pairs, api=apis)
def test_from_a_border_the_apis_tokens_share_out_everything(pair: ToyPair, api: Vocabulary) -> None:
    """Every text has one first token, or ends at once."""
    _, found = masses(pair, api, from_start(pair, b""))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)


@settings(max_examples=60)
@given(pair=toy_pairs, api=apis)
def test_a_first_token_is_what_no_longer_piece_begins(pair: ToyPair, api: Vocabulary) -> None:
    """By brute force: all texts that start with a piece, less those that start with a longer one."""
    names, found = masses(pair, api, from_start(pair, b""))
    for row, model in enumerate((pair.expert, pair.anti_expert)):
        for n, name in enumerate(names[:-1]):
            longer = [other for other in names if other != name and other.startswith(name)]
            nearest = [o for o in longer if not any(p != o and o.startswith(p) for p in longer)]
            right = starts(model, name) - sum(starts(model, other) for other in nearest)
            assert found[row, n] == pytest.approx(right, abs=1e-9)


@given(pair=pairs(), api=apis)
def test_a_firsts_is_made_once(pair: ToyPair, api: Vocabulary) -> None:
    assert firsts_of(pair.vocabulary, api) is firsts_of(pair.vocabulary, api)


@pytest.mark.parametrize(
    ("text", "last"), [(b"ab", b"ab"), (b"aba", b"a"), (b"abab", b"ab"), (b"", b""), (b"a\xff", b"")]
)
def test_the_last_token_is_that_of_the_longest_match(text: bytes, last: bytes) -> None:
    api = Vocabulary([b"a", b"b", b"ab", b"</s>"], ends=[3])
    assert Firsts(api, api).last(text) == last


def test_a_tokenizer_of_its_own_decides_what_comes_first() -> None:
    """`=cap` is cut as `=` and `cap` though `=c` is a piece; by the pieces alone it would be `=c`."""
    pieces = [b"=", b"cap", b"=c", b"a", b"p", b"c"]
    longest = Vocabulary(pieces, ends=[])
    merged = longest.cut_by(lambda text: [0, 1] if text == b"=cap" else longest.spell(text))
    assert Firsts(longest, longest).first(b"=cap") == b"=c"
    assert Firsts(longest, merged).first(b"=cap") == b"="
    assert Firsts(longest, merged).last(b"=cap") == b"cap"
    assert Firsts(longest, merged).keeps(b"=", b"cap")
