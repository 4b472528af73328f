"""What the properties are tried on: vocabularies awkward on purpose, texts over their bytes, and toy models."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyModel, ToyPair

ALPHABET = b"ab \xc3\xa9\xff"
"""Few bytes, so that pieces overlap; a two-byte character, a byte that is never text, and the largest byte."""

letters = st.sampled_from(ALPHABET)
texts = st.lists(letters, max_size=6).map(bytes)
strings = st.lists(letters, min_size=1, max_size=4).map(bytes)
pieces = st.lists(letters, max_size=4).map(bytes)
seeds = st.integers(0, 2**16)


@dataclass(frozen=True)
class Made:
    """A vocabulary with what it was made of: its pieces, and which ids stand for text."""

    vocabulary: Vocabulary
    pieces: list[bytes]
    text: list[int]

    @property
    def spoken(self) -> list[bytes]:
        """The pieces that stand for text."""
        return [self.pieces[i] for i in self.text]


@st.composite
def vocabularies(draw: st.DrawFn, *, most: int = 14, spells_all: bool = False) -> Made:
    """Pieces in any order, some of them twice, empty or long; some ids silent although their bytes look like text.

    spells_all: every byte of the alphabet has a piece, so that any text over it can be spelled.
    """
    drawn = draw(st.lists(pieces | st.sampled_from([b"\xff\xff\xff", b"ab" * 20]), max_size=most))
    doubled = draw(st.lists(st.sampled_from(drawn), max_size=3)) if drawn else []
    needed = [bytes([byte]) for byte in ALPHABET] if spells_all else []
    voiced = [(piece, "text") for piece in needed]
    voiced += [(piece, draw(st.sampled_from(["text"] * 6 + ["end", "special"]))) for piece in drawn + doubled]
    voiced = draw(st.permutations(voiced))
    found = [piece for piece, _ in voiced]
    roles = [role for _, role in voiced]
    return Made(
        Vocabulary(
            found,
            ends=[i for i, role in enumerate(roles) if role == "end"],
            special=[i for i, role in enumerate(roles) if role == "special"],
        ),
        found,
        [i for i, role in enumerate(roles) if role == "text" and found[i]],
    )


@st.composite
def vocabularies_with_prefix(draw: st.DrawFn) -> tuple[Made, bytes]:
    """A vocabulary, and what some piece of it starts with, or the byte before or after that."""
    made = draw(vocabularies())
    piece = draw(st.sampled_from([*made.pieces, b""]))
    prefix = piece[: draw(st.integers(0, len(piece)))]
    if not prefix:
        return made, prefix
    return made, prefix[:-1] + bytes([min(max(prefix[-1] + draw(st.sampled_from([0, 0, -1, 1])), 0), 255)])


@st.composite
def pairs(draw: st.DrawFn, *, most: int = 8) -> ToyPair:
    """Two unrelated toy models over a small vocabulary that spells any text, with an end that may be missing."""
    vocabulary = draw(vocabularies(most=most, spells_all=True)).vocabulary
    memory = draw(st.integers(1, 3))
    seed = draw(seeds)
    return ToyPair(ToyModel(vocabulary, seed, memory), ToyModel(vocabulary, seed + 1, memory))
