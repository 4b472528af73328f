"""A demanded draft as an echo: each place along it is what a reply that goes on from there would show."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.text import is_whole
from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.types import Candidate, Echo, Kind, Message, Position, Prefix, Reply, Score
from blackbox_proxy_adapters.chat_continue import ChatContinue
from blackbox_proxy_adapters.forced import LONGEST, demand, read_forced, read_forced_echo, read_forced_text
from blackbox_proxy_adapters.forced.schema import spelt
from tests.adapters.test_forced import check_valid, cuts, place, reply, said, spellings, texts

CHAT = (Message("user", "Hello"),)
OTHERS = [b"x", "é".encode(), b"\\n", b'"', b'"}', b"\\", b'."}', b"a\\", b"}"]
ABLE = ChatContinue(structured="pattern", structured_logprobs="before")


@st.composite
def replies(draw: st.DrawFn, text: str) -> Reply:
    """A reply whose answer is the text, spelt and cut in any way, with an alternative at each token.

    The closing quote begins a token of its own: what a fused one says is told in `test_forced`.
    """
    raw = f'{{"answer": "{draw(spellings(text))}'.encode()
    positions = []
    for token in (*draw(cuts(raw)), b'"}'):
        other = draw(st.sampled_from([piece for piece in OTHERS if piece != token]))
        logp = draw(st.sampled_from([0.3, 0.001]))
        positions.append(place(token, math.log(logp), Candidate(other, math.log(0.6))))
    return reply(*(_ranked(position) for position in positions), finish="stop")


def _ranked(position: Position) -> Position:
    return replace(position, top=tuple(sorted(position.top, key=lambda c: -c.logp)))


@settings(max_examples=400)
@given(data=st.data(), prefix=texts, draft=texts.filter(bool), rest=texts)
def test_each_place_is_that_of_a_reply_that_goes_on_from_there(
    data: st.DataObject, prefix: str, draft: str, rest: str
) -> None:
    answered = data.draw(replies(prefix + draft + rest))
    sent = draft.encode()
    echo = read_forced_echo(answered, prefix.encode(), sent)
    assert echo.forced
    assert [one.at for one in echo.echoed] == sorted({one.at for one in echo.echoed})
    for one in echo.echoed:
        assert one.position.sampled == one.position.top[0]
        check_valid(one.position)
        before = prefix.encode() + sent[: one.at]
        if before and is_whole(before):
            alone = read_forced(answered, before, "pattern").positions[0]
            assert masses(one.position) == pytest.approx(masses(alone))
    assert said(echo.positions) == rest.encode()
    along = read_forced(answered, prefix.encode(), "pattern").positions
    if len(sent) in accumulate(len(position.sampled.piece) for position in along):  # else a token is cut there
        behind = read_forced(answered, (prefix + draft).encode(), "pattern")
        assert [masses(p) for p in echo.positions] == [pytest.approx(masses(p)) for p in behind.positions]


def masses(position: Position) -> dict[tuple[bytes, Kind], float]:
    return {(c.piece, c.kind): math.exp(c.logp) for c in position.top} | {(b"", Kind.SPECIAL): position.tail}


@settings(max_examples=200)
@given(data=st.data(), draft=texts.filter(bool), rest=texts)
def test_a_reply_that_is_cut_anywhere_tells_the_places_before(data: st.DataObject, draft: str, rest: str) -> None:
    whole = data.draw(replies("So" + draft + rest))
    kept = data.draw(st.integers(0, len(whole.positions)))
    cut = replace(whole, positions=whole.positions[:kept], finish="length")
    try:
        echo = read_forced_echo(cut, b"So", draft.encode())
    except ReplyError:
        return
    full = read_forced_echo(whole, b"So", draft.encode())
    known = {one.at: masses(one.position) for one in full.echoed}
    for one in echo.echoed[:-1]:
        assert masses(one.position) == pytest.approx(known[one.at])
    assert rest.encode().startswith(said(echo.positions))
    assert echo.positions or echo.finish is None or said(full.positions) == b""


@settings(max_examples=200)
@given(data=st.data(), text=texts.filter(bool))
def test_a_scored_text_has_a_position_for_each_of_its_tokens(data: st.DataObject, text: str) -> None:
    read = read_forced_text(data.draw(replies(text)), text.encode())
    assert b"".join(position.sampled.piece for position in read.given) == text.encode()
    assert all(math.isfinite(position.sampled.logp) for position in read.given)
    assert len(read.positions) <= 1


def test_a_demanded_token_outside_the_list_has_its_own_log_prob() -> None:
    forced = Position(Candidate(b" red", -9.0), (Candidate(b" blue", math.log(0.75)),), 0.25, math.log(0.25))
    told = reply(place(b'{"answer": "So'), forced, place(b'"}'))
    read = read_forced_text(told, b"So red")
    assert [(p.sampled.piece, p.sampled.logp) for p in read.given[1:]] == [(b" red", -9.0)]
    echo = read_forced_echo(told, b"So", b" red")
    (border,) = echo.echoed
    assert (border.at, border.position.sampled.piece) == (0, b" blue")


def test_a_text_that_is_not_the_demanded_one_is_an_error() -> None:
    with pytest.raises(ReplyError, match="was demanded"):
        read_forced_text(reply(place(b'{"answer": "Other'), place(b'"}')), b"So")


# the request


def test_a_draft_is_demanded_behind_the_answer_so_far() -> None:
    sent = ABLE.encode(Echo("m", Prefix("", b"So", CHAT), 3, b" be it", length=2))
    assert sent.body["messages"] == [{"role": "user", "content": "Hello"}]
    assert {name: sent.body[name] for name in ("response_format",)} == demand("So be it", "pattern", responses=False)
    assert ABLE.capabilities().echo


def test_a_text_is_demanded_whole_by_a_constant() -> None:
    sent = replace(ABLE, path="/responses", decoder="openai_responses").encode(Score("m", b'So "be" it', 3))
    form = sent.body["text"]["format"]  # type: ignore[index]
    assert form["schema"]["properties"] == {"answer": {"type": "string", "const": 'So "be" it'}}
    assert sent.body["input"]


@pytest.mark.parametrize(
    "options",
    [
        {"structured": "pattern"},
        {"structured": "const", "structured_logprobs": "before"},
        {"structured_logprobs": "before"},
        {"structured": "pattern", "structured_logprobs": "before", "strategies": ("replay",)},
    ],
)
def test_nothing_is_echoed_where_log_probs_are_of_the_mask_or_nothing_is_demanded(options: dict[str, object]) -> None:
    adapter = ChatContinue(**options)  # type: ignore[arg-type]
    assert not adapter.capabilities().echo
    with pytest.raises(InputError, match="gives no text back"):
        adapter.encode(Echo("m", Prefix("", b"So", CHAT), 3, b" be it"))


def test_what_is_longer_than_a_schema_may_be_is_an_error() -> None:
    with pytest.raises(InputError, match="is the most"):
        ABLE.encode(Score("m", b"x" * (LONGEST + 1), 3))


# patterns over the JSON's own spelling


@given(text=texts, rest=texts)
def test_a_pattern_of_the_spelling_takes_json_alone(text: str, rest: str) -> None:
    fields = demand(text, "spelt", responses=False)
    pattern: str = fields["response_format"]["json_schema"]["schema"]["properties"]["answer"]["pattern"]  # type: ignore[index]
    written = spelt(text.encode()) + json.dumps(rest)[1:-1].encode()
    assert re.fullmatch(pattern, written.decode())
    for raw in ('"', "\n", "\\", "\t"):
        assert not re.fullmatch(pattern, spelt(text.encode()).decode() + raw)


def listed(positions: Sequence[Position]) -> list[bytes]:
    return [position.sampled.piece for position in positions]


def test_a_draft_of_nothing_that_is_known_is_paid_for_and_tells_nothing() -> None:
    token = {"token": "Sure", "logprob": -0.1, "bytes": list(b"Sure"), "top_logprobs": []}
    choice = {"message": {"content": "Sure"}, "finish_reason": "stop", "logprobs": {"content": [token]}}
    body = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    read = ABLE.decode(body, Echo("m", Prefix("", b"So", CHAT), 3, b" be it"))
    assert (read.echoed, listed(read.positions), read.finish) == ((), [], None)
    assert read.usage.output == 1


def test_where_the_answer_so_far_ends_inside_a_token_its_border_is_not_told() -> None:
    """The draft behind it chose that token: ` Dios`, where ` D` alone would have been followed by `era`."""
    along = [place(b'{"answer": "So'), place(b" Dios"), place(b" |"), place(b" x")]
    inside = read_forced_echo(reply(*along), b"So D", b"ios |")
    assert [one.at for one in inside.echoed] == [3]
    whole = read_forced_echo(reply(*along), b"So", b" Dios |")
    assert [one.at for one in whole.echoed] == [0, 5]
    assert said(inside.positions) == said(whole.positions) == b" x"
