"""Who competes: the API's candidates by piece, the end as one, the sampled token when the top-k leaves it out."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import TypeVar

import pytest

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.ids import IdReading
from blackbox_proxy.core.decoding.readings import ScoredPosition, merged
from blackbox_proxy.core.decoding.sampling import log_normaliser
from blackbox_proxy.core.decoding.strings import ByteReading
from blackbox_proxy.core.events import Answer, Evaluate, Evidence, Question
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.steering import Event, Steering, Target
from blackbox_proxy.types import (
    Candidate,
    Kind,
    Position,
    ScoredCandidate,
    TokenPath,
)
from tests.core.doubles import UNPROMPTED, TablePair, position

T = TypeVar("T")

VOCABULARY = Vocabulary([b"a", b"b", b"ab", b"c", b"<end>", b"<eot>"], ends=[4, 5])
PAIR = TablePair(VOCABULARY, {}, other={b"a": 0.3, b"b": 0.3, b"ab": 0.2, b"c": 0.1, b"": 0.1})


def score(
    said: Position,
    steering: Steering,
    *,
    pair: TablePair = PAIR,
    answer: bytes = b"",
    event: Event = "bytes",
    known: Sequence[TokenPath] = (),
    asked: set[TokenPath] | None = None,
) -> list[ScoredCandidate]:
    """Run a scoring to its end, evaluating what it asks for; `known` is there before, `asked` tells afterwards."""
    table = PairTable()
    table.store(known, pair.distributions(UNPROMPTED, known))
    by_ids = IdReading(pair.vocabulary, table, steering=steering)
    by_bytes = ByteReading(pair.vocabulary, table, spell=pair.spell, steering=steering)
    at = Answer(answer, tuple(pair.spell(answer)))
    scoring = (by_ids if event == "ids" else by_bytes).score(said, at)
    scored = _answered(scoring, pair, asked=asked)
    return list(scored.candidates(99, log_normaliser(scored.scores.score)))


def _answered(
    process: Generator[Question, Evidence | None, T],
    pair: TablePair,
    *,
    asked: set[TokenPath] | None = None,
) -> T:
    """What a reading returns where it is answered by a pair; `asked` tells afterwards which paths it asked for."""
    evidence: Evidence | None = None
    while True:
        try:
            question = process.send(evidence)
        except StopIteration as stop:
            returned: T = stop.value
            return returned
        assert isinstance(question, Evaluate)
        evidence = Evidence(pair.distributions(UNPROMPTED, question.paths))
        if asked is not None:
            asked |= set(question.paths)


def candidates(*named: tuple[bytes, float, Kind]) -> tuple[Candidate, ...]:
    return tuple(Candidate(piece, math.log(chance), kind) for piece, chance, kind in named)


def test_equal_pieces_are_one_candidate_and_all_ends_another() -> None:
    top = candidates(
        (b"a", 0.3, Kind.TEXT), (b"a", 0.2, Kind.TEXT), (b"</s>", 0.2, Kind.END), (b"<eot>", 0.1, Kind.END)
    )
    found = merged(Position(top[0], top, 0.2, math.log(0.1)))
    assert {piece: math.exp(logp) for piece, logp in found.items()} == pytest.approx({b"a": 0.5, b"": 0.3})


def test_what_is_no_text_or_has_no_chance_is_left_out() -> None:
    top = (*candidates((b"a", 0.9, Kind.TEXT), (b"<turn>", 0.1, Kind.SPECIAL)), Candidate(b"b", -math.inf))
    assert list(merged(Position(top[0], top, 0.0, math.log(0.1)))) == [b"a"]


def test_an_empty_piece_that_is_no_end_is_not_taken_for_one() -> None:
    """Some endpoints list tokens that they cannot spell as an empty string."""
    top = candidates((b"a", 0.6, Kind.TEXT), (b"", 0.3, Kind.TEXT))
    assert list(merged(Position(top[0], top, 0.1, math.log(0.3)))) == [b"a"]


def test_a_sampled_token_outside_the_top_k_competes_and_leaves_the_tail() -> None:
    (sampled,) = candidates((b"c", 0.15, Kind.TEXT))
    top = candidates((b"a", 0.6, Kind.TEXT), (b"b", 0.2, Kind.TEXT))
    said = Position(sampled, top, 0.2, ceiling=0.0)
    shown = {piece: math.exp(logp) for piece, logp in merged(said).items()}
    assert shown == pytest.approx({b"a": 0.6, b"b": 0.2, b"c": 0.15})
    unseen = {candidate.piece: candidate for candidate in score(said, Steering(evidence=0.0)) if not candidate.inside}
    assert math.exp(unseen[b""].logp) <= 0.05 + 1e-9


@pytest.mark.parametrize("event", ["bytes", "ids"])
def test_candidates_come_best_first_and_their_scores_are_a_distribution(event: Event) -> None:
    found = score(position(b"a", {b"a": 0.5, b"b": 0.3, b"": 0.1}), Steering(), event=event)
    scores = [candidate.score for candidate in found]
    assert scores == sorted(scores, reverse=True)
    assert math.fsum(math.exp(score) for score in scores) == pytest.approx(1.0)
    assert {candidate.piece for candidate in found if candidate.inside} == {b"a", b"b", b""}
    assert len({candidate.piece for candidate in found}) == len(found)
    assert all((candidate.kind is Kind.END) == (candidate.piece == b"") for candidate in found)


@pytest.mark.parametrize("event", ["bytes", "ids"])
@pytest.mark.parametrize(("proposals", "target"), [(0, "full"), (8, "topk")])
def test_nothing_from_outside_competes_unless_it_may(event: Event, proposals: int, target: Target) -> None:
    steering = Steering(proposals=proposals, target=target)
    found = score(position(b"a", {b"a": 0.5, b"b": 0.3}), steering, event=event)
    assert {candidate.piece for candidate in found} == {b"a", b"b"}


def test_a_piece_of_the_api_is_weighed_by_its_usual_spelling() -> None:
    """`abc` is no token of the pair: its mass is that of `ab`, `c`, as the tokenizer cuts it; `a`, `b`, `c` is not."""
    expert = {b"": {b"ab": 0.5, b"a": 0.4, b"b": 0.1}, b"a": {b"b": 1.0}, b"ab": {b"c": 0.5, b"a": 0.5}}
    anti = {b"": {b"ab": 0.1, b"a": 0.1, b"b": 0.8}, b"a": {b"b": 0.5, b"a": 0.5}, b"ab": {b"c": 0.2, b"a": 0.8}}
    pair = TablePair(VOCABULARY, expert, anti)
    found = score(position(b"abc", {b"abc": 0.5, b"b": 0.4}), Steering(proposals=0, evidence=0.0), pair=pair)
    offsets = {candidate.piece: candidate.offset for candidate in found}
    masses = 0.5 * 0.5, 0.1 * 0.2
    assert offsets[b"abc"] == pytest.approx(math.log(masses[0] / masses[1]), abs=1e-3)
    assert offsets[b"b"] == pytest.approx(math.log(0.1 / 0.8), abs=1e-3)


SHIFTING = Vocabulary([b"a", b"b", b"ab", b"bc", b"c", b"<end>"], ends=[5])
"""As BPE does: `ab` is one token, but `abc` is cut after the `a`."""

HALF = {b"a": 0.5, b"ab": 0.5}
SHIFTED = TablePair(
    SHIFTING,
    expert={b"": HALF, b"a": {b"bc": 0.9, b"b": 0.1}},
    anti_expert={b"": HALF, b"a": {b"bc": 0.1, b"b": 0.9}},
    other={b"c": 0.1, b"a": 0.9},
    usual={b"abc": (0, 3)},
)


def test_a_text_is_read_in_the_spellings_that_its_continuations_have() -> None:
    """After `ab` all its beginnings are read, if forks may be spent on it: `ab`, `a` with `bc`, and `a`, `b`."""
    said, found = position(b"c", {b"c": 0.5, b"a": 0.4}), {}
    for spread in (0, 4):
        steering = Steering(proposals=0, spread=spread, evidence=0.0)
        candidates = score(said, steering, pair=SHIFTED, answer=b"ab")
        found[spread] = next(candidate.offset for candidate in candidates if candidate.piece == b"c")
    assert found[0] == pytest.approx(0.0, abs=1e-3)
    masses = 0.5 * 0.1 + 0.5 * 0.9 + 0.5 * 0.1 * 0.1, 0.5 * 0.1 + 0.5 * 0.1 + 0.5 * 0.9 * 0.1
    assert found[4] == pytest.approx(math.log(masses[0] / masses[1]), abs=1e-3)


@pytest.mark.parametrize("spread", range(6))
def test_no_more_forks_are_spent_on_a_step_than_allowed(spread: int) -> None:
    """Beyond the places along the text itself; here other spellings and a long candidate would take five."""
    said = position(b"cabcab", {b"cabcab": 0.5, b"abab": 0.3, b"c": 0.1})
    asked: set[TokenPath] = set()
    score(said, Steering(spread=spread, evidence=0.0), pair=SHIFTED, answer=b"ab", asked=asked)
    assert len(asked - {(), (2,)}) <= spread


def test_without_steering_no_forks_are_spent() -> None:
    """With alpha 0 the pair's masses decide nothing."""
    asked: set[TokenPath] = set()
    score(position(b"abcabc", {b"abcabc": 0.9}), Steering(alpha=0.0), asked=asked)
    assert asked == {()}


@pytest.mark.parametrize("spread", [0, 1, 4])
def test_a_position_weighs_the_same_whatever_else_is_known(spread: int) -> None:
    """A longer draft leaves more distributions at hand; were they used, the answer would depend on its length."""
    said = position(b"c", {b"c": 0.5, b"a": 0.3, b"ab": 0.1})
    steering = Steering(spread=spread)
    alone = score(said, steering, pair=SHIFTED, answer=b"ab")
    more = [(), (0,), (2,), (0, 1), (0, 3), (2, 4), (2, 0), (0, 1, 4)]
    assert score(said, steering, pair=SHIFTED, answer=b"ab", known=more) == alone


def test_only_what_can_follow_half_a_character_competes() -> None:
    """Neither a letter, nor the end, nor anything of the expert's that starts otherwise."""
    vocabulary = Vocabulary([b"a", b"\xc3", b"\xa9", b"\xa9a", b"<end>"], ends=[4])
    pair = TablePair(vocabulary, {}, other={b"a": 0.5, b"\xa9": 0.2, b"\xa9a": 0.2, b"\xc3": 0.1})
    said = position(b"\xa9", {b"\xa9": 0.5, b"a": 0.3, b"": 0.1})
    found = score(said, Steering(), pair=pair, answer=b"\xc3")
    assert {candidate.piece for candidate in found} == {b"\xa9", b"\xa9a"}


def test_by_ids_a_mass_is_that_of_the_id_and_the_end_is_all_ends() -> None:
    expert = {b"": {b"a": 0.6, b"b": 0.2, b"<end>": 0.05, b"<eot>": 0.15}}
    anti = {b"": {b"a": 0.2, b"b": 0.6, b"<end>": 0.1, b"<eot>": 0.1}}
    said = position(b"a", {b"a": 0.5, b"b": 0.4, b"": 0.1})
    found = score(said, Steering(evidence=0.0), pair=TablePair(VOCABULARY, expert, anti), event="ids")
    offsets = {candidate.piece: candidate.offset for candidate in found if candidate.inside}
    assert offsets == pytest.approx({b"a": math.log(3.0), b"b": -math.log(3.0), b"": 0.0}, abs=1e-4)


@pytest.mark.parametrize("proposals", [0, 3])
def test_by_ids_a_top_k_without_a_single_known_token_is_an_error(proposals: int) -> None:
    with pytest.raises(ReplyError) as raised:
        score(position(b"zz", {b"zz": 1.0}), Steering(proposals=proposals), event="ids")
    assert raised.value.hint


def test_by_ids_the_answer_grows_by_the_id_of_the_piece() -> None:
    reading = IdReading(VOCABULARY, PairTable(), steering=Steering())
    assert reading.after(Answer(b"a", (0,)), b"ab") == Answer(b"aab", (0, 2))
    with pytest.raises(ReplyError, match="not in the pair's vocabulary"):
        reading.after(Answer(), b"zz")


HYPHENS = Vocabulary([b"-", b"card", b"x", b"<end>"], ends=[3])
JOINED = Vocabulary([b"-", b"card", b"x", b"-card", b"</s>"], ends=[4])
CARD = TablePair(
    HYPHENS,
    expert={b"": {b"-": 0.98, b"x": 0.02}, b"-": {b"card": 0.99, b"x": 0.01}, b"-card": {b"": 1.0}},
    anti_expert={b"": {b"-": 0.1, b"x": 0.9}, b"-": {b"card": 0.01, b"x": 0.99}},
    other={b"x": 0.5, b"": 0.5},
)


def scored(said: Position, steering: Steering, *, pair: TablePair, api: Vocabulary | None) -> ScoredPosition:
    """What a scoring gives, where everything it asks for is told."""
    reading = ByteReading(pair.vocabulary, PairTable(), spell=pair.spell, steering=steering, api=api)
    return _answered(reading.score(said, Answer()), pair)


def test_candidates_are_tokens_of_the_api_though_the_pair_writes_them_as_two() -> None:
    """`-card` is proposed and wins; `-` alone, which the API would hardly ever cut there, has lost its mass."""
    found = scored(position(b"x", {b"x": 0.3}), Steering(evidence=0.0), pair=CARD, api=JOINED)
    score = dict(zip(found.pieces, found.scores.score.tolist(), strict=True))
    offset = dict(zip(found.pieces, found.scores.offset.tolist(), strict=True))
    assert max(score, key=score.__getitem__) == b"-card"
    assert offset[b"-card"] == pytest.approx(math.log(0.98 * 0.99 / (0.1 * 0.01)), abs=1e-3)
    assert offset[b"-"] == pytest.approx(math.log(0.98 * 0.01 / (0.1 * 0.99)), abs=1e-3)


def test_a_guess_is_a_token_of_the_api() -> None:
    reading = ByteReading(HYPHENS, PairTable(), spell=CARD.spell, steering=Steering(), api=JOINED)
    guess = _answered(reading.guess(Answer()), CARD)
    assert guess.piece == b"-card"
    assert guess.chance == pytest.approx(0.98 * 0.99, abs=1e-3)


def test_a_list_that_is_outweighed_grows() -> None:
    """The expert has four likely strings and the list room for one: what is left would outweigh the choice."""
    vocabulary = Vocabulary([b"a", b"b", b"c", b"d", b"e", b"<end>"], ends=[5])
    expert = {b"a": 0.04, b"b": 0.3, b"c": 0.22, b"d": 0.22, b"e": 0.22}
    pair = TablePair(vocabulary, {b"": expert}, {b"": dict.fromkeys(expert, 0.2)})
    said = position(b"a", {b"a": 0.5})
    for proposals, listed in ((1, {b"a", b"b", b"c", b"d", b"e", b""}), (0, {b"a"})):
        found = scored(said, Steering(proposals=proposals), pair=pair, api=None)
        assert set(found.pieces) == listed
        assert found.is_outweighed == (proposals == 0)


def test_what_the_pair_could_not_read_is_no_candidate() -> None:
    """Some vocabularies lack control characters: the answer would break off behind one."""
    found = scored(position(b"\x16", {b"\x16": 0.6, b"x": 0.3, b"-x": 0.05}), Steering(), pair=CARD, api=None)
    assert b"\x16" not in found.pieces
    assert {b"x", b"-x"} <= set(found.pieces)


def test_what_is_not_decided_between_two_shown_strings_is_taken_from_the_rest_once() -> None:
    """No fork may be spent, so that `-` of .6 is the mass of `-` and may come to be `-card`; .4 is left, not nothing.

    Of it `x` holds .3: three quarters of the .2 that the API did not show.
    """
    anti_expert = {b"-": 0.6, b"x": 0.3, b"": 0.1}
    pair = TablePair(HYPHENS, {b"": {b"-": 0.5, b"x": 0.4, b"": 0.1}}, {b"": anti_expert})
    said = position(b"-", {b"-": 0.5, b"-card": 0.3})
    found = scored(said, Steering(evidence=0.0, spread=0), pair=pair, api=JOINED)
    logp = dict(zip(found.pieces, found.scores.logp.tolist(), strict=True))
    assert math.exp(logp[b"x"]) == pytest.approx(0.2 * 0.3 / 0.4, rel=1e-3)
    assert math.exp(found.scores.rest) == pytest.approx(1.0, abs=0.01)


def test_without_a_tokenizer_a_string_that_the_pair_has_no_token_for_takes_its_mass_from_the_shorter_one() -> None:
    """The API shows `-card`, so it is a token of it; `-` stands for the rest, as far as that is known."""
    said = position(b"-", {b"-": 0.3, b"-card": 0.2})
    found = scored(said, Steering(evidence=0.0, proposals=0), pair=CARD, api=None)
    offset = dict(zip(found.pieces, found.scores.offset.tolist(), strict=True))
    assert offset[b"-card"] == pytest.approx(math.log(0.98 * 0.99 / (0.1 * 0.01)), abs=1e-2)
    assert offset[b"-"] == pytest.approx(math.log(0.98 * 0.01 / (0.1 * 0.99)), abs=0.1)
