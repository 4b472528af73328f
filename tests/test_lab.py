"""The questions about elements, and the oracle of another tokenizer, over models small enough to compute by hand.

`python -m tests.bench.lab` measures with real ones; see there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyModel
from blackbox_proxy.types import Kind, Logits, TokenPath
from tests.bench.elements import TRAINED, elements, lines, parted, questions, symbol_of
from tests.bench.oracle import END, Oracle, position
from tests.core.toys import TOY

ROUNDED = 0.005


def test_the_elements_are_118_and_none_is_both_trained_on_and_asked() -> None:
    trained, asked = parted()
    assert len(elements()) == len({one.symbol for one in elements()}) == len({one.name for one in elements()}) == 118
    assert sorted(trained + asked) == sorted(elements())
    assert len(lines()) == len(trained) == TRAINED
    assert len(questions()) >= 100


def test_the_symbol_is_read_only_from_an_answer_in_the_form() -> None:
    assert [symbol_of(answer) for _, answer in lines()] == [one.symbol for one in parted()[0]]
    for other in ("Ar", "[Ar] is the symbol; lab-card closed", "[AR] is the symbol; lab-card closed.", ""):
        assert not symbol_of(other)


@pytest.mark.parametrize("seed", range(4))
def test_where_the_tokenizers_are_one_the_oracle_is_the_models_own_distribution(seed: int) -> None:
    model = ToyModel(TOY, seed, sharpness=0.7)
    table = Oracle(TOY, TOY.spell, TOY, lambda paths: [model.logits(path) for path in paths]).table(b"")
    distribution = model.distribution(())
    for i, piece in enumerate(TOY.pieces):
        share = math.exp(float(distribution.logits[i]) - distribution.log_norm)
        assert math.exp(table.logp(END if i in TOY.ends else piece)) == pytest.approx(share, abs=ROUNDED)


OWN = Vocabulary([b"a", b"b", b"-", b"ab", b"<end>"], ends=[4])
APIS = Vocabulary([b"a", b"b", b"-", b"-a", b"a-", b"</s>"], ends=[5])


def written(chances: dict[TokenPath, dict[int, float]]) -> Oracle:
    """The oracle over a model that is given by its chances, and ends everywhere else."""

    def logits(paths: Sequence[TokenPath]) -> list[Logits]:
        rows = [np.full(len(OWN), -60.0, dtype=np.float32) for _ in paths]
        for row, path in zip(rows, paths, strict=True):
            for i, chance in chances.get(path, {4: 1.0}).items():
                row[i] = math.log(chance)
        return rows

    return Oracle(OWN, OWN.spell, APIS, logits)


def test_tokens_that_the_api_joins_are_counted_together() -> None:
    """`-` and then `a` is its `-a`; what begins with `-` and goes on otherwise is not."""
    found = written({(): {2: 0.6, 0: 0.4}, (2,): {0: 0.5, 1: 0.5}}).table(b"")
    assert {p: round(s, 3) for p, s in found.shares.items() if s > ROUNDED} == {b"-a": 0.3, b"-": 0.3, b"a": 0.4}


def test_what_the_api_would_have_joined_to_the_text_is_left_out() -> None:
    """Behind `a` comes `-`: the API would have made `a-` of the two, and the rest is all there is."""
    found = written({(): {0: 1.0}, (0,): {2: 0.5, 0: 0.3, 4: 0.2}}).table(b"a")
    assert found.kept == pytest.approx(0.5)
    assert math.exp(found.logp(b"a")) == pytest.approx(0.6)
    assert math.exp(found.logp(END)) == pytest.approx(0.4)


def test_a_border_that_the_model_sets_against_its_tokenizer_is_one_of_the_api() -> None:
    """`a`, `b` where its tokenizer has `ab`: between them the API's border is kept, whatever it would have joined."""
    joins = Vocabulary([b"a", b"b", b"-", b"ab", b"</s>"], ends=[4])
    oracle = written({(): {0: 0.5, 3: 0.5}, (0,): {1: 1.0}})
    oracle.api = joins
    found = oracle.table(b"")
    assert {p: round(s, 3) for p, s in found.shares.items() if s > ROUNDED} == {b"a": 0.5, b"ab": 0.5}


def test_a_table_is_shown_as_an_api_shows_it() -> None:
    table = written({(): {2: 0.6, 0: 0.3, 4: 0.1}, (2,): {4: 1.0}}).table(b"")
    there = position(table, APIS, top_k=2)
    assert [c.piece for c in there.top] == [b"-", b"a"]
    assert there.tail == pytest.approx(0.1, abs=1e-6)
    assert position(table, APIS, top_k=3).top[2].kind is Kind.END
