"""Sources of offsets besides one pair: a table, a weighted sum, whatever has a `score`; three lines plug one in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from blackbox_proxy import OffsetTable, WeightedSum
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Origin, Prompt, Scores
from tests.core.toys import toy_api, toy_pair

PROMPT = Prompt(text="ab")
WHOLE = Vocabulary([b"a", b"b", b" ", b"ab", b" a", b"<end>"], ends=[5])
PLAIN = Vocabulary([b"a", b"b", b" ", b"</s>"], ends=[3])
"""No piece is a part of a character: by scores such a one could not win, since nobody would complete it."""


def test_a_table_lifts_what_it_names() -> None:
    api, steering = toy_api(), Steering(max_tokens=5)
    plain = steer(PROMPT, api=api, offsets=OffsetTable({}), steering=steering)
    assert all(step.origin is Origin.DRAFT for step in plain.steps)
    lifted = steer(PROMPT, api=api, offsets=OffsetTable({b"b": 20.0}, other=-1.0), steering=steering)
    assert lifted.text == "bbbbb"
    ended = steer(PROMPT, api=api, offsets=OffsetTable({b"": 30.0}), steering=steering)
    assert ended.finish == "stop"
    assert ended.text == ""


def test_a_table_says_what_all_else_is_worth() -> None:
    """Log-probs are over what it leaves: p exp(offset), what the API did not show by the offset of all others."""
    table = OffsetTable({b"a": 0.0, b"b": 0.5}, other=-9.0)
    for source in (table, WeightedSum([(table, 1.0)])):
        (step,) = steer(PROMPT, api=toy_api(1, WHOLE, top_k=2), offsets=source, steering=Steering(max_tokens=1)).steps
        shown = {candidate.piece: candidate for candidate in step.candidates}
        weights = {piece: candidate.logp + table.offsets.get(piece, table.other) for piece, candidate in shown.items()}
        hidden = 1.0 - math.fsum(math.exp(candidate.logp) for candidate in shown.values())
        assert hidden > 0.01
        whole = math.fsum(map(math.exp, weights.values())) + hidden * math.exp(table.other)
        for piece, candidate in shown.items():
            assert candidate.score == pytest.approx(weights[piece] - math.log(whole), abs=1e-3)


@pytest.mark.parametrize("seed", range(12))
def test_one_pair_of_weight_one_steers_by_the_scores_of_that_pair(seed: int) -> None:
    """By strings, whatever tokens they are: what the text goes on with."""
    pair, steering = toy_pair(seed, WHOLE), Steering(max_tokens=1, spread=64, proposals=0, rule="none")
    (step,) = steer(PROMPT, api=toy_api(seed, PLAIN), offsets=WeightedSum([(pair, 1.0)]), steering=steering).steps
    assert step.offset == pytest.approx(float(pair.score(b"", [step.piece], prompt=PROMPT).offset[0]), abs=1e-3)


def test_offsets_add_up_by_their_weights() -> None:
    one, other, pieces = toy_pair(1), toy_pair(2), [b"a", b"b", b" a", b""]
    both = WeightedSum([(one, 0.5), (other, -2.0)]).score(b"ab", pieces, prompt=PROMPT)
    alone = [pair.score(b"ab", pieces, prompt=PROMPT) for pair in (one, other)]
    np.testing.assert_allclose(both.offset, 0.5 * alone[0].offset - 2.0 * alone[1].offset, atol=1e-9)
    np.testing.assert_array_equal(both.anti_expert, alone[0].anti_expert)
    assert (both.lower[0] <= both.expert + 1e-9).all()
    assert (both.expert <= both.upper[0] + 1e-9).all()
    assert both.end[0] - both.end[1] == pytest.approx(
        0.5 * (alone[0].end[0] - alone[0].end[1]) - 2.0 * (alone[1].end[0] - alone[1].end[1])
    )


def test_every_part_proposes_in_turn_and_no_more_than_asked_for() -> None:
    one, other = toy_pair(1), toy_pair(2)
    parts = WeightedSum([(one, 1.0), (OffsetTable({}), 1.0), (other, 1.0)])
    (first, second), (third, fourth) = (pair.propose(b"", 2, prompt=PROMPT) for pair in (one, other))
    in_turn = tuple(dict.fromkeys((first, third, second, fourth)))
    assert parts.propose(b"", 4, prompt=PROMPT)[: len(in_turn)] == in_turn
    for count in (1, 2, 3):
        assert parts.propose(b"", count, prompt=PROMPT) == in_turn[:count]


@dataclass
class Longest:
    """A source in three lines: favours long strings."""

    def score(self, _context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:  # noqa: ARG002
        offset = np.array([float(len(piece)) for piece in pieces])
        return Scores(offset, 0 * offset, np.stack([offset, 0 * offset]), np.stack([offset, 0 * offset]), (0.0, 0.0))


def test_anything_with_a_score_steers() -> None:
    steering = Steering(alpha=50.0, max_tokens=4)
    result = steer(PROMPT, api=toy_api(), offsets=Longest(), steering=steering)
    assert len(result.text.encode()) >= len(result.steps) - 1
    assert result.finish == "length"


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        OffsetTable({b"a": float("nan")})
    with pytest.raises(InputError, match="finite"):
        WeightedSum([(OffsetTable({}), float("inf"))])
    with pytest.raises(InputError, match="at least one"):
        WeightedSum([])
    with pytest.raises(InputError, match="scores strings"):
        steer(PROMPT, api=toy_api(), offsets=OffsetTable({}), steering=Steering(event="ids"))
    assert list(islice(WeightedSum([(OffsetTable({}), 1.0)]).propose(b"", 3, prompt=PROMPT), 3)) == []
