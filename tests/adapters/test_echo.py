"""A draft that is given back: each border is told as if the API had been asked there alone, or it is not told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.standin import running, script
from blackbox_proxy.types import Echo, Generate, Kind, Prefix, Reply, Score
from blackbox_proxy_adapters.completions import Completions
from blackbox_proxy_adapters.fields import as_list, as_mapping
from tests.adapters.shapes import Json, Row, body

TOP_K = 3
PIECES = [b"#", b"a", b"b", b"ab", b"ba", b" ", b"\xc3", b"\xa9", "é".encode(), b"  "]
VOCABULARY = Vocabulary(PIECES, ends=[])
TOY = script(
    PIECES,
    [b"</s>"],
    {
        b"": {b"a": 5, b"b": 4, b"ab": 3, b" ": 2, b"</s>": 1, "é".encode(): 0.5, b"\xc3": 0.25},
        b"a": {b"b": 6, b"ba": 5, b"</s>": 4, b" ": 3},
        b"b": {b"</s>": 9, b"a": 3, b" ": 2, b"ab": 1},
        b" ": {b"  ": 3, b" ": 2.5, b"a": 2, b"ab": 1, b"</s>": 0.1},
        b"\xc3": {b"\xa9": 9, b"a": 1},
    },
)
"""Texts with several spellings, ends that are likely and not, and characters in halves."""


def connected(url: str) -> Api:
    options = {"top_k": TOP_K, "end_pieces": [b"</s>"], "echo": True, "prompt_lists": True, "token_ids": True}
    return connect(url, model="toy", options=options)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running(TOY, name="toy", top_k=TOP_K) as url, connected(url) as opened:
        yield opened


@pytest.fixture(scope="module")
def hiding() -> Iterator[Api]:
    """One that hides its ends: where it would end, it shows the rest of its top-k alone."""
    with running(TOY, name="toy", top_k=TOP_K, quirks=["hidden-end"]) as url, connected(url) as opened:
        yield opened


texts = st.lists(st.sampled_from(["a", "b", "ab", " ", "  ", "é"]), max_size=6).map("".join)


def asked(answer: str, *, length: int = 1) -> Generate:
    return Generate("toy", Prefix("#", answer.encode()), TOP_K, length)


def drafted(answer: str, draft: str, *, length: int = 1) -> Echo:
    return Echo("toy", Prefix("#", answer.encode()), TOP_K, draft.encode(), length=length)


def check_alone(api: Api, ask: Echo, reply: Reply) -> int:
    """Each border as the API answers there when it is asked for one token; how many there are."""
    for border in reply.echoed:
        prefix = Prefix("#", ask.prefix.answer + ask.draft[: border.at])
        alone = api.send(Generate("toy", prefix, TOP_K, ask.length))
        assert alone.finish != "stop" or alone.positions, "an end that is hidden makes no border"
        assert border.position == alone.positions[0]
    return len(reply.echoed)


@settings(max_examples=40)
@given(answer=texts, draft=texts.filter(bool))
def test_a_border_reads_as_if_it_had_been_asked_about_alone(api: Api, answer: str, draft: str) -> None:
    ask = drafted(answer, draft)
    reply = api.send(ask)
    assert reply.usage.requests == 1
    cut = VOCABULARY.spell(("#" + answer + draft).encode())
    starts = [len(VOCABULARY.text_of(cut[:n])) for n in range(len(cut))]
    inside = {start - 1 - len(answer.encode()) for start in starts} & set(range(len(draft.encode())))
    assert {border.at for border in reply.echoed} <= inside
    whole = [b for b in reply.echoed if b.position.sampled.kind in (Kind.TEXT, Kind.END)]
    check_alone(api, ask, replace(reply, echoed=tuple(whole)))
    assert reply.positions == api.send(asked(answer + draft)).positions


@settings(max_examples=30)
@given(answer=texts, draft=texts.filter(bool), length=st.integers(1, 5), hidden=st.booleans())
def test_behind_the_draft_the_api_goes_on(
    api: Api, hiding: Api, answer: str, draft: str, length: int, *, hidden: bool
) -> None:
    """As it does where it is sent the whole text; the borders are the same."""
    one, ask = hiding if hidden else api, drafted(answer, draft, length=length)
    reply, alone = one.send(ask), one.send(asked(answer + draft, length=length))
    assert (reply.positions, reply.finish) == (alone.positions, alone.finish)
    at_least = {border.at for border in one.send(drafted(answer, draft)).echoed}
    assert hidden or at_least == {border.at for border in reply.echoed}
    check_alone(one, drafted(answer, draft), reply)


@settings(max_examples=40)
@given(answer=texts, draft=texts.filter(bool))
def test_a_hidden_end_is_never_taken_for_something_else(hiding: Api, answer: str, draft: str) -> None:
    check_alone(hiding, drafted(answer, draft), hiding.send(drafted(answer, draft)))


def test_the_toys_borders_are_told(api: Api, hiding: Api) -> None:
    """What the properties speak of is there: five borders of a draft of six bytes, and fewer where ends are hidden."""
    told = [check_alone(one, drafted("a", "a b ab"), one.send(drafted("a", "a b ab"))) for one in (api, hiding)]
    assert told[0] == 5
    assert 0 < told[1] < 5


def test_a_draft_that_begins_inside_a_token_has_no_border_there(api: Api) -> None:
    """`a` and `b` are sent as one text, and the API reads `ab`."""
    reply = api.send(drafted("a", "b a"))
    assert [border.at for border in reply.echoed] == [1, 2]


@settings(max_examples=30)
@given(ids=st.lists(st.integers(1, 5), min_size=1, max_size=6), split=st.integers(0, 5))
def test_by_ids_every_border_is_told(api: Api, ids: Sequence[int], split: int) -> None:
    before, draft = tuple(ids[:split]), tuple(ids[split:])
    if not draft:
        return
    reply = api.send(Echo("toy", Prefix("#", ids=(0, *before)), TOP_K, b"", draft))
    assert [border.at for border in reply.echoed] == list(range(len(draft)))
    for border in reply.echoed:
        alone = api.send(Generate("toy", Prefix("#", ids=(0, *before, *draft[: border.at])), TOP_K))
        assert [(c.piece, c.logp) for c in border.position.top] == [(c.piece, c.logp) for c in alone.positions[0].top]
        assert border.position.ceiling == alone.positions[0].ceiling


@settings(max_examples=20)
@given(answers=st.lists(texts, min_size=1, max_size=5))
def test_a_list_of_prompts_is_answered_one_by_one(api: Api, answers: Sequence[str]) -> None:
    asks = [asked(answer) for answer in answers]
    replies = api.send_list(asks)
    alone = [api.send(ask) for ask in asks]
    assert [reply.positions for reply in replies] == [reply.positions for reply in alone]
    assert [reply.finish for reply in replies] == [reply.finish for reply in alone]
    assert [reply.usage.requests for reply in replies] == [1] + [0] * (len(answers) - 1)
    assert replies[0].usage.input == sum(reply.usage.input for reply in alone)


def echoed(*rows: Row, draft: bytes, finish: str = "length") -> Reply:
    ask = Echo("m", Prefix("Q"), 2, draft)
    return Completions(top_k=2, echo=True, end_pieces=[b"</s>"]).decode(body(*rows, finish=finish), ask)


FIRST: Row = ("Q", None, None)
END = {"a": -0.1, "</s>": -3.0}


def test_the_drafts_own_token_is_no_part_of_the_top_k() -> None:
    """It was appended; and it was not sampled."""
    reply = echoed(FIRST, ("z", -9.0, {"a": -0.1, "b": -2.5, "z": -9.0}), ("a", -0.1, END), draft=b"z")
    (border,) = reply.echoed
    assert [candidate.piece for candidate in border.position.top] == [b"a", b"b"]
    assert border.position.sampled.piece == b"a"
    assert border.position.ceiling == -2.5


def test_a_token_that_may_have_been_appended_or_not_makes_the_border_unknown() -> None:
    """Two of the top-k print alike, so that one is missing, and the least that is shown may be the draft's own."""
    rows: tuple[Row, ...] = (FIRST, ("z", -9.0, {"z": -9.0}), ("a", -0.1, END))
    assert echoed(*rows, draft=b"z").echoed == ()


def test_rows_that_are_not_the_text_that_was_sent_end_the_borders() -> None:
    """What is in front of a token that lost its bytes cannot be placed."""
    rows: tuple[Row, ...] = (
        FIRST,
        ("a", -0.1, END),
        ("\ufffd", -0.2, {"\ufffd": -0.2, "a": -2.0}),
        ("b", -0.3, {"b": -0.3, "a": -2.0}),
        ("a", -0.1, END),
    )
    assert [border.at for border in echoed(*rows, draft="aéb".encode()).echoed] == [3]


def test_a_hidden_end_behind_the_draft_is_told_by_the_finish_alone() -> None:
    reply = echoed(FIRST, ("a", -0.1, END), draft=b"a", finish="stop")
    assert (reply.positions, reply.finish) == ((), "stop")
    assert [border.at for border in reply.echoed] == [0]


def test_where_nothing_tells_what_was_written_nothing_is_known() -> None:
    """Two tokens were asked for, and the answer ended: the usage does not say behind how many."""
    ask = Echo("m", Prefix("Q"), 2, b"a", length=2)
    said = body(FIRST, ("a", -0.1, END), ("a", -0.1, END), finish="stop", usage=None)
    reply = Completions(top_k=2, echo=True, end_pieces=[b"</s>"]).decode(said, ask)
    assert (reply.positions, reply.echoed, reply.finish) == ((), (), None)


def test_a_draft_is_not_sent_to_who_does_not_give_it_back() -> None:
    with pytest.raises(InputError, match="does not give back"):
        Completions().encode(Echo("m", Prefix("Q"), 2, b"a"))
    with pytest.raises(InputError, match="does not give back"):
        Completions().encode(Score("m", b"Qa", 2))


def test_a_list_is_not_sent_to_who_takes_one_prompt() -> None:
    ask = Generate("m", Prefix("Q"), 2)
    with pytest.raises(InputError, match="takes one"):
        Completions().encode_list([ask, ask])


@pytest.mark.parametrize("option", ["echo", "prompt_lists"])
def test_other_shapes_tell_neither(option: str) -> None:
    with pytest.raises(InputError, match="legacy shape alone"):
        Completions(decoder="openai_chat", **{option: True})  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [[0], [0, 0], [0, 2], [0, 1, 2]])
def test_choices_that_do_not_match_the_prompts_are_an_error(indices: list[int]) -> None:
    reply: Json = body(("a", -0.1, {"a": -0.1}))
    choice = as_mapping(as_list(reply["choices"], "choices")[0], "choices[0]")
    reply["choices"] = [{**choice, "index": index} for index in indices]
    ask = Generate("m", Prefix("Q"), 2)
    with pytest.raises(ReplyError, match="choices"):
        Completions(prompt_lists=True).decode_list(reply, [ask, ask])


@settings(max_examples=30)
@given(text=texts.filter(bool), ids=st.booleans())
def test_a_text_is_told_token_by_token(api: Api, text: str, *, ids: bool) -> None:
    """Each token with the distribution that the API draws from when it is asked behind those before."""
    cut = tuple(VOCABULARY.spell(text.encode()))
    reply = api.send(Score("toy", text.encode(), TOP_K, cut if ids else None))
    assert b"".join(place.sampled.piece for place in reply.given) == text.encode()
    assert reply.given[0].sampled.logp == -math.inf
    assert len(reply.positions) + (reply.finish == "stop") >= 1
    if not ids:
        return
    for at, place in enumerate(reply.given[1:], start=1):
        (alone,) = api.send(Generate("toy", Prefix("", ids=cut[:at]), TOP_K)).positions[:1]
        listed = {c.piece: c.logp for c in alone.top}
        assert {c.piece: c.logp for c in place.top} == listed
        assert place.sampled.logp == listed.get(place.sampled.piece, place.sampled.logp)


def scored(*rows: Row, draft: bytes, ids: tuple[int, ...] = ()) -> Reply:
    ask = Score("m", draft, 2, ids or None)
    return Completions(top_k=2, echo=True, token_ids=True, end_pieces=[b"</s>"]).decode(body(*rows), ask)


def test_a_token_that_begins_the_text_at_the_api_alone_has_no_position() -> None:
    rows: tuple[Row, ...] = (("</s>", None, None), ("Q", -2.0, {"a": -0.2, "Q": -2.0}), ("a", -0.1, END))
    assert [place.sampled.logp for place in scored(*rows, draft=b"Q").given] == [-2.0]
    assert [place.sampled.piece for place in scored(*rows, draft=b"</s>Q").given] == [b"</s>", b"Q"]


def test_a_number_that_is_not_the_tokens_own_is_none() -> None:
    """Another token that prints alike has the place in the list; or there is no number at all."""
    for logp in (-9.0, None):
        given_back = scored(FIRST, ("b", logp, {"a": -0.2, "b": -3.0}), ("a", -0.1, END), draft=b"Qb").given
        assert given_back[1].sampled.logp == -math.inf


def test_other_rows_than_were_sent_tell_nothing() -> None:
    rows: tuple[Row, ...] = (FIRST, ("\ufffd", -0.2, {"\ufffd": -0.2, "a": -2.0}), ("a", -0.1, END))
    assert scored(*rows, draft="Qé".encode()).given == ()
    assert len(scored(*rows, draft="Qé".encode(), ids=(4, 5)).given) == 2
    assert scored(*rows, draft="Qé".encode(), ids=(4, 5, 6)).given == ()
