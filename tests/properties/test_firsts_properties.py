"""Properties of the bridge between two tokenizers: what comes first, what may follow, and when that is final."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.firsts import Firsts, firsts_of, pair_firsts
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyPair
from tests.properties.merging import merging
from tests.properties.strategies import pairs

LETTERS = (b"a", b"b", b" ")
MERGES = [a + b for a in LETTERS for b in LETTERS] + [b"aba", b"bab", b" ab", b"aab", b"b a"]
apis = st.lists(st.sampled_from(MERGES), max_size=6, unique=True).map(lambda merges: merging(LETTERS, merges))
strings = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=5).map(b"".join)


@given(pair=pairs(), api=apis)
def test_a_bridge_is_made_once(pair: ToyPair, api: Vocabulary) -> None:
    assert firsts_of(pair.vocabulary, api, pair.spell) is firsts_of(pair.vocabulary, api, pair.spell)
    assert pair_firsts(pair.vocabulary, pair.spell) is pair_firsts(pair.vocabulary, pair.spell)


@given(api=apis, last=strings, text=strings, more=strings)
def test_what_is_settled_stays_whatever_follows(api: Vocabulary, last: bytes, text: bytes, more: bytes) -> None:
    bridge = Firsts(api, api)
    last = bridge.last(last)
    if bridge.is_settled(last, text):
        assert bridge.next(last, text + more) == bridge.next(last, text)


@given(api=apis, last=strings, text=strings)
def test_what_follows_a_token_is_what_the_tokenizer_cuts_there(api: Vocabulary, last: bytes, text: bytes) -> None:
    """By cutting both together: the token that begins behind the last one, None where none does."""
    bridge = Firsts(api, api)
    last = bridge.last(last)
    pieces = [api.pieces[i] for i in api.cut(last + text)]
    assert bridge.next(last, text) == (pieces[1] if pieces[0] == last else None)


@given(api=apis, last=strings, text=strings, more=strings)
def test_a_change_begins_with_a_byte_that_may_change(api: Vocabulary, last: bytes, text: bytes, more: bytes) -> None:
    bridge = Firsts(api, api)
    last = bridge.last(last)
    before, after = bridge.next(last, text), bridge.next(last, text + more)
    if before is not None and after != before:
        border, own = bridge.bytes_after(last, text), bridge.bytes_after(before, text[len(before) :])
        assert border[more[0]] or own[more[0]]


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


def test_the_pairs_own_spelling_says_where_a_first_token_may_still_change() -> None:
    """The pair writes `-`, `card`, the API has `-card`: after `-` it may change; after a word that both have, not."""
    own = Vocabulary([b"-", b"card", b"a", b"<end>"], ends=[3])
    api = Vocabulary([b"-", b"card", b"-card", b"a", b"</s>"], ends=[4])
    bridge = Firsts(own, api, own.spell)
    assert bridge.can_change(b"-")
    assert not bridge.can_change(b"card")
    whole = Vocabulary([b"-", b"card", b"-card", b"a", b"<end>"], ends=[4])
    assert not Firsts(whole, api, whole.spell).can_change(b"-")
