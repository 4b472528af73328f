"""Toy vocabularies and pairs shared by the tests of the core."""

from __future__ import annotations

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import Ask, Prefix, Score

PIECES = [b"a", b"b", b" ", b"ab", b" a", b"ba", b"\xc3", b"\xa9", b"<end>"]
TOY = Vocabulary(PIECES, ends=[8])

WORDS = [b"a", b"b", b" ", b"\xc3", b"\xa9", b"</s>"]
OTHER = Vocabulary(WORDS, ends=[5])
"""The API's tokens: no one begins another, so that any text has one spelling and survives being sent back."""


def toy_pair(seed: int = 1, vocabulary: Vocabulary = TOY) -> ToyPair:
    """Two unrelated toy models."""
    return ToyPair(ToyModel(vocabulary, seed), ToyModel(vocabulary, seed + 1000))


def toy_api(seed: int = 5, vocabulary: Vocabulary = OTHER, *, top_k: int = 5) -> ToyApi:
    """A toy API over its own vocabulary."""
    return ToyApi(ToyModel(vocabulary, seed), vocabulary.spell, top_k)


def prefix_of(ask: Ask) -> Prefix:
    """What an ask goes on from; a text that is scored stands behind nothing."""
    assert not isinstance(ask, Score)
    return ask.prefix
