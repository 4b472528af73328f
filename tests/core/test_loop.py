"""The loop at places that are written down: ends, hidden ends, empty replies, half characters, stops, stray tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.answers import steps
from blackbox_proxy.core.decoding.loop import Loop
from blackbox_proxy.core.decoding.rounds import HIDDEN_END
from blackbox_proxy.core.decoding.strings import ByteReading
from blackbox_proxy.core.events import ApiDraft, ApiReveal, Begin, Drawing, Evaluate, Evidence, ScoreStrings
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyPair
from blackbox_proxy.types import (
    Candidate,
    Finish,
    Kind,
    Origin,
    Position,
    Prompt,
    Reply,
    Result,
    Step,
    Usage,
)
from tests.core.doubles import UNPROMPTED, Chances, ScriptedApi, TablePair, position
from tests.core.toys import OTHER, TOY, prefix_of, toy_pair

PROMPT = Prompt(text="say")
VOCABULARY = Vocabulary(
    [b"a", b"b", b" ", b".", b"\xc3", b"\xa9", b"\xa8", b"\xe2\x82", b"\xac", b"<end>", b"<eot>", b"<turn>"],
    ends=[9, 10],
    special=[11],
)
INDIFFERENT = TablePair(VOCABULARY, {}, other={b"a": 0.3, b"b": 0.3, b".": 0.2, b"": 0.2})
"""Expert and anti-expert agree everywhere, so the offset is zero."""


def reply(*said: Position, finish: str = "length") -> Reply:
    return Reply(said, finish, Usage(output=len(said), requests=1))


def run(pair: TablePair, *replies: Reply, steering: Steering | None = None) -> tuple[Result, ScriptedApi]:
    api = ScriptedApi(list(replies))
    return steer(PROMPT, api=api, offsets=pair, steering=steering or Steering(proposals=0)), api


def prefers(text: bytes, expert: Chances, anti_expert: Chances) -> TablePair:
    """A pair that disagrees after one text only."""
    return TablePair(VOCABULARY, {text: expert}, {text: anti_expert}, other=INDIFFERENT.other)


A = position(b"a", {b"a": 0.6, b"b": 0.3})
B = position(b"b", {b"b": 0.6, b"a": 0.3})
END = position(b"", {b"": 0.7, b"a": 0.2})


def test_an_answer_ends_with_the_end_step() -> None:
    result, api = run(INDIFFERENT, reply(A, END, finish="stop"))
    assert (result.text, result.finish, result.exactness) == ("a", "stop", "exact")
    assert [step.kind for step in result.steps] == [Kind.TEXT, Kind.END]
    assert result.steps[-1].piece == b""
    assert len(api.asked) == 1
    assert result.notes == ()


def test_a_draft_that_goes_on_with_no_text_is_read_as_far_as_it_is_text() -> None:
    """Nothing spells a lone 0xFD, which no text has: the pair is not asked what follows it."""
    stray = position(b"\xfd", {b"\xfd": 0.6, b"a": 0.3})
    result, _ = run(INDIFFERENT, reply(A, stray, B), reply(END, finish="stop"))
    assert (result.text, result.finish) == ("aa", "stop")


def test_an_end_that_the_pair_puts_off_is_gone_over() -> None:
    """The API wanted to end; the expert is sure that `b` comes. The next call goes on behind it."""
    pair = prefers(b"a", {b"b": 0.9, b"": 0.05}, {b"b": 0.05, b"": 0.9})
    wants_end = position(b"", {b"": 0.6, b"b": 0.3})
    result, api = run(pair, reply(A, wants_end, finish="stop"), reply(END, finish="stop"))
    assert result.text == "ab"
    assert [(step.origin, step.api_token) for step in result.steps[:2]] == [(Origin.DRAFT, b"a"), (Origin.CHANGED, b"")]
    assert [prefix_of(ask).answer for ask in api.asked] == [b"", b"ab"]


def test_an_end_that_the_pair_brings_forward_ends_the_answer() -> None:
    pair = prefers(b"a", {b"": 0.9, b"b": 0.05}, {b"": 0.05, b"b": 0.9})
    result, _ = run(pair, reply(A, position(b"b", {b"b": 0.6, b"": 0.3})))
    assert (result.text, result.finish) == ("a", "stop")
    assert result.steps[-1].origin is Origin.CHANGED


def test_all_ends_of_the_api_and_of_the_pair_count_as_one() -> None:
    """Two end tokens shown at .3 each beat a text token at .35."""
    ends = tuple(Candidate(name, math.log(0.3), Kind.END) for name in (b"</s>", b"<eot>"))
    top = (Candidate(b"b", math.log(0.35)), *ends)
    result, _ = run(INDIFFERENT, reply(A, Position(top[0], top, 0.05, math.log(0.3))))
    assert (result.text, result.finish) == ("a", "stop")
    assert result.steps[-1].logp_before == pytest.approx(math.log(0.6))


def test_a_hidden_end_is_taken_at_one_half_and_noted() -> None:
    """The API says `stop` after `a` and shows no end: the answer ends there, and is called approximate."""
    result, _ = run(INDIFFERENT, reply(A, finish="stop"))
    assert (result.text, result.finish, result.exactness) == ("a", "stop", "approximate")
    assert result.steps[-1].logp_before == pytest.approx(math.log(HIDDEN_END))
    assert result.usage.wasted == 0
    assert len(result.notes) == 1
    assert "end" in result.notes[0]


def test_a_hidden_end_may_be_all_that_is_answered() -> None:
    result, _ = run(INDIFFERENT, reply(finish="stop"))
    assert (result.text, result.finish) == ("", "stop")


def test_a_hidden_end_that_is_not_reached_costs_nothing() -> None:
    """It lies behind a change: the answer does not rest on it, so it stays exact."""
    pair = prefers(b"", {b"b": 0.9, b"a": 0.05}, {b"b": 0.05, b"a": 0.9})
    result, _ = run(pair, reply(A, finish="stop"), reply(END, finish="stop"))
    assert (result.text, result.exactness, result.notes) == ("b", "exact", ())


def test_a_hidden_end_may_be_overruled() -> None:
    """The expert is sure of `b`; what the API did not show shares the other half."""
    pair = prefers(b"a", {b"b": 0.99, b"": 0.001}, {b"a": 0.2, b"b": 0.4, b"": 0.4})
    steering = Steering(proposals=3, max_tokens=2)
    result, _ = run(pair, reply(A, finish="stop"), steering=steering)
    assert (result.text, result.finish) == ("ab", "length")
    assert result.steps[-1].origin is Origin.OUTSIDE
    assert result.steps[-1].logp_before == pytest.approx(math.log((1 - HIDDEN_END) * 0.4 / 0.6), abs=1e-4)
    assert result.notes


@pytest.mark.parametrize(("finish", "said"), [("length", "no token"), ("content_filter", "content filter withheld")])
def test_a_reply_without_a_token_cannot_be_steered(finish: str, said: str) -> None:
    with pytest.raises(ReplyError, match=said) as raised:
        run(INDIFFERENT, reply(finish=finish))
    assert finish in raised.value.message
    assert raised.value.hint


LOST = Position(Candidate(b"", math.log(0.6), Kind.SPECIAL), (Candidate(b"a", math.log(0.3)),), 0.1, math.log(0.3))


def test_a_reply_that_broke_off_inside_its_first_character_is_asked_for_again_and_longer() -> None:
    result, api = run(INDIFFERENT, reply(LOST), reply(B, B, finish="length"), steering=Steering(draft=1, max_tokens=2))
    assert [ask.length for ask in api.asked] == [1, 4]
    assert (result.text, result.exactness, result.usage.wasted) == ("bb", "exact", 1)


def test_what_stays_lost_is_said() -> None:
    result, _ = run(INDIFFERENT, reply(LOST), reply(LOST), steering=Steering(draft=1, max_tokens=1))
    assert (result.text, result.exactness) == ("a", "approximate")
    assert any("did not tell the bytes" in note for note in result.notes)


def test_an_answer_that_the_filter_cuts_ends_there_and_says_so() -> None:
    result, api = run(INDIFFERENT, reply(A, A, finish="content_filter"))
    assert (result.text, result.finish, result.exactness) == ("aa", "content_filter", "exact")
    assert len(api.asked) == 1


def test_an_answer_behind_which_the_filter_gives_nothing_ends_there_too() -> None:
    result, _ = run(INDIFFERENT, reply(A, finish="length"), reply(finish="content_filter"))
    assert (result.text, result.finish) == ("a", "content_filter")


def test_a_filter_that_cut_what_was_not_kept_cuts_nothing() -> None:
    """The answer took another turn before it, and is asked for from there."""
    pair = prefers(b"", {b"b": 0.9, b"a": 0.05}, {b"b": 0.05, b"a": 0.9})
    result, _ = run(pair, reply(A, A, finish="content_filter"), reply(END, finish="stop"))
    assert (result.text, result.finish) == ("b", "stop")


def test_a_change_to_a_lone_byte_is_completed_by_the_expert() -> None:
    """The API shows the first byte of a character and the pair lifts it: it is finished before the next call."""
    pair = TablePair(
        VOCABULARY,
        {b"": {b"\xc3": 0.9, b"a": 0.1}, b"\xc3": {b"\xa8": 0.6, b"\xa9": 0.4}},
        {b"": {b"\xc3": 0.1, b"a": 0.9}},
    )
    opens = position(b"a", {b"a": 0.6, b"\xc3": 0.3})
    result, api = run(pair, reply(opens, A), reply(END, finish="stop"))
    assert result.text == "è"
    assert [step.origin for step in result.steps] == [Origin.CHANGED, Origin.LOCAL, Origin.DRAFT]
    assert [step.piece for step in result.steps] == [b"\xc3", b"\xa8", b""]
    local = result.steps[1]
    assert (local.logp_before, local.logp_after, local.offset, local.alpha) == (None, None, None, None)
    assert prefix_of(api.asked[1]).answer == "è".encode()
    assert result.exactness == "approximate"
    assert "completed by the expert" in " ".join(result.notes)


def test_a_character_is_completed_by_nothing_that_would_break_it() -> None:
    """After 0xE0 the expert would like 0x80, which no character has there."""
    vocabulary = Vocabulary([b"a", b"\xe0", b"\x80", b"\xa0", b"<end>"], ends=[4])
    likes = {b"\x80": 0.9, b"\xa0": 0.1}
    pair = TablePair(
        vocabulary,
        {b"": {b"\xe0": 0.9, b"a": 0.1}, b"\xe0": likes, b"\xe0\xa0": likes},
        {b"": {b"\xe0": 0.1, b"a": 0.9}},
    )
    result, _ = run(pair, reply(position(b"a", {b"a": 0.6, b"\xe0": 0.3})), reply(END, finish="stop"))
    assert [step.piece for step in result.steps] == [b"\xe0", b"\xa0", b"\x80", b""]


def test_a_drafted_lone_byte_is_asked_for_again_with_what_follows() -> None:
    """A draft that ends inside a character is taken back to the last whole one; the next is long enough."""
    half, rest = position(b"\xe2\x82", {b"\xe2\x82": 0.9}), position(b"\xac", {b"\xac": 0.9})
    result, api = run(
        INDIFFERENT,
        reply(A, half),
        reply(half, rest),
        reply(END, finish="stop"),
        steering=Steering(proposals=0, draft=2),
    )
    assert result.text == "a€"
    assert [prefix_of(ask).answer for ask in api.asked] == [b"", b"a", "a€".encode()]
    assert result.usage.wasted == 1
    assert result.exactness == "exact"


def test_a_character_longer_than_the_draft_is_asked_for_in_one_call() -> None:
    """With one token per call a character in two tokens would never be reached."""
    half, rest = position(b"\xe2\x82", {b"\xe2\x82": 0.9}), position(b"\xac", {b"\xac": 0.9})
    steering = Steering(proposals=0, draft=1)
    result, api = run(INDIFFERENT, reply(half), reply(half, rest), reply(END, finish="stop"), steering=steering)
    assert result.text == "€"
    assert [ask.length for ask in api.asked] == [1, 2, 1]


def test_a_character_that_does_not_fit_is_left_out() -> None:
    half = position(b"\xe2\x82", {b"\xe2\x82": 0.9})
    result, _ = run(INDIFFERENT, reply(A, half), reply(half), steering=Steering(proposals=0, max_tokens=2))
    assert (result.text, result.finish) == ("a", "length")


def test_a_lone_byte_that_nothing_can_follow_is_an_error() -> None:
    """A pair that has no continuation byte at all cannot finish a character."""
    vocabulary = Vocabulary([b"a", b"\xc3", b"<end>"], ends=[2])
    pair = TablePair(vocabulary, {b"": {b"\xc3": 0.9, b"a": 0.1}}, {b"": {b"\xc3": 0.1, b"a": 0.9}})
    with pytest.raises(ReplyError, match="finish the character") as raised:
        run(pair, reply(position(b"a", {b"a": 0.6, b"\xc3": 0.3})))
    assert raised.value.hint


def test_a_reply_that_cannot_be_text_is_an_error() -> None:
    """Nothing that the API shows can follow, and nothing else may compete."""
    stray = position(b"\xac", {b"\xac": 1.0})
    for proposals in (0, 3):
        with pytest.raises(ReplyError, match="can follow"):
            run(INDIFFERENT, reply(stray), steering=Steering(proposals=proposals))


def test_a_sampled_token_without_bytes_is_not_taken_for_the_end() -> None:
    """It has lost its bytes, or is a special one: what it stands for nobody knows, so nothing of the draft is kept."""
    lost = Candidate(b"", math.log(0.2), Kind.SPECIAL)
    told = reply(replace(END, sampled=lost))
    result, _ = run(INDIFFERENT, told, told)  # it is asked for again, and longer, since more tokens may tell
    assert [(step.kind, step.origin) for step in result.steps] == [(Kind.END, Origin.CHANGED)]


def test_a_token_that_is_no_text_is_never_chosen() -> None:
    """The API sampled a control token in mid-answer; the best candidate that is text takes its place."""
    turn = Candidate(b"<turn>", math.log(0.6), Kind.SPECIAL)
    top = (turn, Candidate(b"b", math.log(0.3)))
    result, _ = run(INDIFFERENT, reply(A, Position(turn, top, 0.1, math.log(0.3))), reply(END, finish="stop"))
    assert result.text == "ab"


@pytest.mark.parametrize(("stop", "text"), [("a.", ""), (".", "a"), ("b", "a.")])
def test_a_stop_string_may_lie_across_tokens(stop: str, text: str) -> None:
    dot = position(b".", {b".": 0.9})
    result, api = run(INDIFFERENT, reply(A, dot), reply(B, A, A, A), steering=Steering(proposals=0, stop=(stop,)))
    assert (result.text, result.finish) == (text, "stop_string")
    assert len(api.asked) == (2 if stop == "b" else 1)


def test_a_stop_string_at_the_start_of_an_open_character_still_stops() -> None:
    """One token that holds the stop and half a character: the answer must not run on to its last token."""
    vocabulary = Vocabulary([b"a", b".", b"\xc3", b".\xc3", b"<end>"], ends=[4])
    pair = TablePair(vocabulary, {}, other={b"a": 0.5, b".\xc3": 0.5})
    both = position(b".\xc3", {b".\xc3": 0.9})
    result, _ = run(pair, reply(A, both), *[reply(both)] * 9, steering=Steering(proposals=0, stop=(".",), max_tokens=8))
    assert (result.text, result.finish) == ("a", "stop_string")


@pytest.mark.parametrize(
    ("limit", "finish", "text"), [(1, "length", "a"), (2, "length", "ab"), (3, "stop", "ab"), (9, "stop", "ab")]
)
def test_the_limit_counts_the_end(limit: int, finish: Finish, text: str) -> None:
    """A limit of two leaves no room for the end after two tokens, as with the APIs themselves."""
    first = reply(*(A, B)[:limit])
    result, _ = run(INDIFFERENT, first, reply(END, finish="stop"), steering=Steering(proposals=0, max_tokens=limit))
    assert (result.finish, result.text) == (finish, text)
    assert len(result.steps) <= limit


def test_more_tokens_than_asked_for_are_not_emitted() -> None:
    """An endpoint with a smallest output of its own answers more than the limit."""
    result, _ = run(INDIFFERENT, reply(A, B, A, A, A), steering=Steering(proposals=0, max_tokens=2))
    assert result.text == "ab"
    assert result.usage.wasted == 3


def test_tokens_behind_a_change_are_wasted() -> None:
    pair = prefers(b"", {b"b": 0.9, b"a": 0.05}, {b"b": 0.05, b"a": 0.9})
    result, _ = run(pair, reply(A, A, A, A), reply(END, finish="stop"))
    assert result.text == "b"
    assert result.usage.wasted == 3


def test_a_tie_goes_to_what_the_api_sampled() -> None:
    """Two candidates of one log-prob; alpha 0 must give the API's own answer."""
    top = (Candidate(b"b", math.log(0.4)), Candidate(b"a", math.log(0.4)))
    tied = Position(top[1], top, 0.2, math.log(0.4))
    result, _ = run(INDIFFERENT, reply(tied), steering=Steering(alpha=0.0, max_tokens=1))
    assert (result.text, result.steps[0].origin) == ("a", Origin.DRAFT)


def questions(pair: ToyPair, said: Reply, steering: Steering) -> list[ApiDraft | Evaluate]:
    """What the loop asks while it goes through one reply."""
    loop = steps(steering, vocabulary=pair.vocabulary, spell=pair.spell)
    event, asked = next(loop), list[ApiDraft | Evaluate]()
    while not isinstance(event, Step):
        assert isinstance(event, ApiDraft | Evaluate)
        asked.append(event)
        event = loop.send(
            Evidence(pair.distributions(UNPROMPTED, event.paths), [said] if isinstance(event, ApiDraft) else ())
        )
    return asked


def test_a_draft_is_verified_in_one_evaluation() -> None:
    """Eight tokens that are all kept: what the pair must read is asked for at once, not place by place."""
    asked = questions(toy_pair(vocabulary=OTHER), reply(*[A, B] * 4), Steering(alpha=0.0, max_tokens=8, draft=8))
    assert [type(question) for question in asked] == [ApiDraft, Evaluate]
    assert len(asked[1].paths) == 7


def test_distributions_that_lie_behind_are_forgotten() -> None:
    """A long answer does not keep a row of the whole vocabulary for each of its places."""
    pair, text = toy_pair(vocabulary=OTHER), 60
    steering, table = Steering(alpha=0.0, max_tokens=text, draft=4), PairTable()
    reading = ByteReading(OTHER, table, spell=pair.spell, steering=steering)
    run, held, emitted = Loop(steering, reading, table).run(), 0, 0
    event = next(run)
    while emitted < text - 1:
        held = max(held, len(table))
        assert not isinstance(event, ApiReveal | Drawing | ScoreStrings | Begin)
        emitted += isinstance(event, Step)
        said = [reply(*[A, B] * 2)] if isinstance(event, ApiDraft) else []
        event = run.send(
            None if isinstance(event, Step) else Evidence(pair.distributions(UNPROMPTED, event.paths), said)
        )
    assert 0 < held <= 6


def test_steps_tell_what_was_scored() -> None:
    pair = prefers(b"", {b"b": 0.8, b"a": 0.2}, {b"b": 0.2, b"a": 0.8})
    result, _ = run(pair, reply(A), steering=Steering(proposals=0, max_tokens=1, alpha=0.5, evidence=0.0))
    (step,) = result.steps
    assert (step.piece, step.api_token, step.origin) == (b"b", b"a", Origin.CHANGED)
    assert step.logp_before == pytest.approx(math.log(0.3))
    assert step.offset == pytest.approx(math.log(4.0), abs=1e-4)
    scores = {b"a": 0.6 * 0.5, b"b": 0.3 * 2.0}  # alpha 1/2: the square root of 4
    unseen = 0.1  # about which the members agree
    assert step.logp_after is not None
    assert math.exp(step.logp_after) == pytest.approx(scores[b"b"] / (sum(scores.values()) + unseen), abs=1e-4)
    shown, _ = run(pair, reply(A), steering=Steering(target="topk", max_tokens=1, alpha=0.5, evidence=0.0))
    top = shown.steps[0].logp_after
    assert top is not None
    assert math.exp(top) == pytest.approx(scores[b"b"] / sum(scores.values()), abs=1e-4)
    assert [candidate.piece for candidate in step.candidates] == [b"b", b"a"]


def test_by_ids_a_token_that_the_pair_lacks_is_an_error_only_if_it_is_wanted() -> None:
    """It lies behind a change, so nobody needs it."""
    pair = prefers(b"", {b"b": 0.9, b"a": 0.05}, {b"b": 0.05, b"a": 0.9})
    strange = position(b"zz", {b"zz": 0.9})
    steering = Steering(proposals=0, event="ids")
    result, _ = run(pair, reply(A, strange, A), reply(END, finish="stop"), steering=steering)
    assert result.text == "b"
    changed, _ = run(
        INDIFFERENT, reply(A, strange, A), reply(END, finish="stop"), steering=replace(steering, proposals=2)
    )
    assert "zz" not in changed.text
    with pytest.raises(ReplyError, match="vocabulary"):
        run(INDIFFERENT, reply(A, strange, A), steering=steering)


def test_by_ids_each_call_carries_the_ids_of_the_answer() -> None:
    steering = Steering(proposals=0, event="ids", draft=1)
    _, api = run(INDIFFERENT, reply(A), reply(B), reply(END, finish="stop"), steering=steering)
    assert [prefix_of(ask).ids for ask in api.asked] == [(), (0,), (0, 1)]


def test_the_loop_asks_for_the_next_draft_and_for_what_it_needs_at_once() -> None:
    """The pair reads the place where both stand while the API is answering."""
    pair = toy_pair()
    loop = steps(Steering(max_tokens=4), vocabulary=TOY, spell=pair.spell)
    draft = next(loop)
    assert isinstance(draft, ApiDraft)
    assert (draft.answer, draft.length, draft.paths) == (b"", 2, ((),))
    event = loop.send(Evidence(pair.distributions(UNPROMPTED, draft.paths), [reply(A, A)]))
    while isinstance(event, Evaluate):
        assert () not in event.paths
        event = loop.send(Evidence(pair.distributions(UNPROMPTED, event.paths)))
    assert isinstance(event, Step)
