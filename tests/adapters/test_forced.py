"""A reply of demanded JSON is read as the plain text that it holds, however it is spelt and cut into tokens."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError, ReplyCut, ReplyError
from blackbox_proxy.types import Candidate, Generate, Kind, Message, Position, Prefix, Reply, Usage
from blackbox_proxy_adapters.chat_continue import ChatContinue
from blackbox_proxy_adapters.forced import LONGEST, Structured, demand, read_forced
from blackbox_proxy_adapters.forced.json_text import JsonPlace, read_json
from blackbox_proxy_adapters.pieces import kind_of

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\/{}\n\r\t\b\f\x00\x1f 🦜é'), max_size=12)


@st.composite
def spellings(draw: st.DrawFn, text: str) -> str:
    """A JSON string's inside that says the text, each character spelt in any way that JSON has."""
    return "".join(draw(st.sampled_from(ways_of(character))) for character in text)


def ways_of(character: str) -> Sequence[str]:
    shortest = json.dumps(character, ensure_ascii=False)[1:-1]
    units = character.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    more = ["\\/"] if character == "/" else []
    return [shortest, shortest, escaped, escaped.upper().replace("\\U", "\\u"), *more]


@st.composite
def cuts(draw: st.DrawFn, raw: bytes) -> Sequence[bytes]:
    """The bytes in tokens, cut anywhere."""
    places = sorted(draw(st.sets(st.integers(1, max(len(raw) - 1, 1)), max_size=len(raw))) | {len(raw)})
    return [raw[a:b] for a, b in zip([0, *places], places, strict=False) if raw[a:b]]


def place(token: bytes, logp: float = math.log(0.5), *others: Candidate) -> Position:
    """A position where the token was sampled, with a half of the mass unless others have some."""
    top = (Candidate(token, logp, kind_of(token)), *others)
    tail = max(0.0, 1.0 - math.fsum(math.exp(c.logp) for c in top))
    ceiling = min(c.logp for c in top)
    return Position(top[0], top, tail, ceiling)


def reply(*positions: Position, finish: str = "length") -> Reply:
    return Reply(positions, finish, Usage())


def said(positions: Sequence[Position]) -> bytes:
    return b"".join(p.sampled.piece for p in positions if p.sampled.kind is not Kind.END)


@settings(max_examples=400)
@given(data=st.data(), text=texts, structured=st.sampled_from(["pattern", "const"]))
@example(data=None, text="", structured="pattern").via("an answer that ends where it was to go on")
def test_the_positions_are_those_of_the_plain_text(
    data: st.DataObject | None, text: str, structured: Structured
) -> None:
    if data is None:
        raw, tokens, prefix = b"", [b'{"answer": "a', b'"}'], "a"
    else:
        prefix = data.draw(texts.filter(bool))
        space = data.draw(st.sampled_from(["", " ", "\n  "]))
        first, rest = data.draw(spellings(prefix)), data.draw(spellings(text))
        name = data.draw(spellings("answer"))
        begun = f'"begun":{space}"{first}",{space}' if structured == "const" else ""
        inside = rest if begun else first + rest
        fence = data.draw(st.sampled_from(["", "```json\n"]))
        raw = f'{fence}{{{space}{begun}"{name}":{space}"{inside}"{space}}}'.encode()
        tokens = list(data.draw(cuts(raw)))
    positions = [place(token) for token in tokens]
    read = read_forced(reply(*positions, finish="stop"), prefix.encode(), structured)
    assert said(read.positions) == text.encode()
    assert read.finish == "stop"
    assert read.positions[-1].sampled.kind is Kind.END
    assert (read.exact, read.forced) == (True, True)
    for position in read.positions:
        check_valid(position)


def check_valid(position: Position) -> None:
    whole = math.fsum(math.exp(c.logp) for c in position.top) + position.tail
    assert whole == pytest.approx(1.0, abs=1e-9)
    assert [c.logp for c in position.top] == sorted((c.logp for c in position.top), reverse=True)
    assert len({(c.piece, c.kind) for c in position.top}) == len(position.top)
    assert all(c.piece for c in position.top)
    assert position.ceiling <= 0.0


@settings(max_examples=200)
@given(data=st.data(), text=texts.filter(bool))
def test_a_reply_that_is_cut_anywhere_says_the_beginning_of_the_text(data: st.DataObject, text: str) -> None:
    prefix = data.draw(texts.filter(bool))
    raw = f'{{"answer": "{data.draw(spellings(prefix + text))}"}}'.encode()
    tokens = data.draw(cuts(raw))
    kept = data.draw(st.integers(0, len(tokens)))
    try:
        read = read_forced(reply(*map(place, tokens[:kept])), prefix.encode(), "pattern")
    except ReplyError:
        assert len(b"".join(tokens[:kept])) < len(raw)
        return
    assert text.encode().startswith(said(read.positions))
    assert (read.finish == "stop") == (read.positions[-1].sampled.kind is Kind.END)


@settings(max_examples=200)
@given(data=st.data(), text=texts)
def test_an_alternative_says_what_it_would_say_if_it_were_sampled(data: st.DataObject, text: str) -> None:
    """At the border and behind it, in every place of the JSON."""
    other = data.draw(st.sampled_from(["x", "é", "\\n", '"', '"}', "\\", "\\u00e9", '."}', "a\\", "\n", "}"]))
    raw = f'{{"answer": "So{data.draw(spellings(text))}"}}'.encode()
    start = raw.index(b"So") + 2
    tokens = [raw[:start], *data.draw(cuts(raw[start:]))]
    at = data.draw(st.integers(1, len(tokens) - 1))
    before = b"".join(tokens[:at])
    state = read_json(JsonPlace(b"answer"), before)
    assume(state is not None and not state.place.ended and not state.place.pending and other.encode() != tokens[at])
    assert state is not None
    positions = [place(token) for token in tokens]
    positions[at] = place(tokens[at], math.log(0.5), Candidate(other.encode(), math.log(0.25)))
    sampled = read_json(state.place, tokens[at])
    assume(sampled is not None and not sampled.place.pending)
    read = read_forced(reply(*positions, finish="stop"), b"So", "pattern")
    here = spot(read.positions, state.text.removeprefix(b"So"))
    alone = read_json(state.place, other.encode())
    ends = sum(math.exp(c.logp) for c in here.top if c.kind is Kind.END)
    if alone is None:
        assert here.top[0].logp == pytest.approx(math.log(0.5 / 0.75)) or len(here.top) > 1
        assert here.tail == pytest.approx(0.25 / 0.75)
    elif alone.place.ended and not alone.text:
        assert ends >= 0.25 - 1e-9
    elif alone.text:
        assert any(c.piece == alone.text and c.logp >= math.log(0.25) - 1e-9 for c in here.top)
    else:
        assert here.tail == pytest.approx(0.5)
        assert here.ceiling >= math.log(0.25) - 1e-9


def spot(positions: Sequence[Position], before: bytes) -> Position:
    """The position behind so many bytes of text."""
    text = b""
    for position in positions:
        if text == before:
            return position
        text += position.sampled.piece
    raise AssertionError(before)


# the numbers


def test_the_halves_of_an_escape_are_one_event() -> None:
    half, whole = place(b"\\", math.log(0.6), Candidate(b"x", math.log(0.3))), place(b"n", math.log(0.5))
    second = place(b"n", math.log(0.5), Candidate(b"t", math.log(0.25)))
    read = read_forced(reply(place(b'{"answer": "a'), half, second, whole), b"a", "pattern")
    newline = read.positions[0]
    assert newline.sampled.piece == b"\n"
    masses = {c.piece: math.exp(c.logp) for c in newline.top}
    assert masses == pytest.approx({b"\n": 0.3, b"x": 0.3, b"\t": 0.15})
    assert newline.tail == pytest.approx(0.1 + 0.6 * 0.25)
    assert said(read.positions) == b"\nn"


def test_text_and_end_in_one_token_are_the_text_and_then_the_end() -> None:
    both = place(b'."}', math.log(0.5), Candidate(b".", math.log(0.3)), Candidate(b"!", math.log(0.1)))
    read = read_forced(reply(place(b'{"answer": "a'), both), b"a", "pattern")
    dot, end = read.positions
    assert {c.piece: math.exp(c.logp) for c in dot.top} == pytest.approx({b".": 0.8, b"!": 0.1})
    assert end.sampled.kind is Kind.END
    assert math.exp(end.sampled.logp) == pytest.approx(0.5 / 0.8)
    assert end.tail == pytest.approx(0.3 / 0.8)


def test_an_end_that_was_fused_with_the_text_before_has_its_share() -> None:
    dot = place(b".", math.log(0.6), Candidate(b'."}', math.log(0.2)))
    after = place(b" So", math.log(0.5), Candidate(b'"}', math.log(0.3)))
    for tokens in ([place(b'{"answer": "a'), dot, after], [place(b'{"answer": "a.'), after]):
        read = read_forced(reply(*tokens), b"a", "pattern") if len(tokens) == 3 else None
        if read is None:
            continue
        place_ = read.positions[1]
        masses = {c.kind: math.exp(c.logp) for c in place_.top}
        assert masses == pytest.approx({Kind.END: 0.25 + 0.75 * 0.3, Kind.TEXT: 0.75 * 0.5})
    forced = read_forced(reply(place(b'{"answer": "a'), dot, after), b"a.", "pattern")
    assert math.exp(forced.positions[0].top[0].logp) == pytest.approx(0.25 + 0.75 * 0.3)


def test_a_token_that_holds_the_last_bytes_of_the_answer_is_cut_there() -> None:
    border = place(b" Albania", math.log(0.5), Candidate(b' Alb"}', math.log(0.25)), Candidate(b" Al", math.log(0.1)))
    read = read_forced(reply(place(b'{"answer": "of'), border), b"of Alb", "pattern")
    (only,) = read.positions
    norm = 0.5 + 0.25 + 0.1 + 0.15
    assert {c.piece: math.exp(c.logp) for c in only.top} == pytest.approx({b"ania": 0.5 / norm, b'"': 0.25 / norm})
    assert [c.kind for c in only.top] == [Kind.TEXT, Kind.END]


def test_what_json_forbids_has_no_mass() -> None:
    free = place(b" b", math.log(0.3), Candidate(b"\\x", math.log(0.4)), Candidate(b"c", math.log(0.2)))
    read = read_forced(reply(place(b'{"answer": "a'), free), b"a", "pattern")
    assert {c.piece: math.exp(c.logp) for c in read.positions[0].top} == pytest.approx({b" b": 0.5, b"c": 0.2 / 0.6})


def test_a_single_half_of_a_pair_is_no_text() -> None:
    read = read_forced(reply(place(b'{"answer": "a'), place(b"\\ud83d!"), place(b"b")), b"a", "pattern")
    assert [p.sampled.kind for p in read.positions] == [Kind.SPECIAL, Kind.TEXT]


def test_a_token_that_is_no_text_ends_what_is_known() -> None:
    lost = Position(Candidate(b"\xef\xbf\xbd", -1.0, Kind.SPECIAL), (), 1.0, 0.0)
    read = read_forced(reply(place(b'{"answer": "ab'), place(b"c"), lost, place(b"d"), finish="stop"), b"ab", "pattern")
    assert (said(read.positions), read.finish) == (b"c", "length")


@pytest.mark.parametrize(
    ("spelt", "words"), [("é\\n", "as it is"), ("\\u00e9\\n", "strangely"), ("é\\u000a", "strangely")]
)
def test_a_strange_spelling_of_the_answer_so_far_is_accepted_and_told(spelt: str, words: str) -> None:
    read = read_forced(reply(place(f'{{"answer": "{spelt}'.encode()), place(b" b")), "é\n".encode(), "pattern")
    assert (said(read.positions), read.respelled) == (b" b", words == "strangely")


def test_words_before_the_json_are_told_from_a_fence() -> None:
    fenced = reply(place(b'```json\n{"answer": "a'), place(b"b"))
    assert read_forced(fenced, b"a", "pattern").exact
    reasoned = reply(place(b'Let me think. {"answer": "a'), place(b"b"))
    assert not read_forced(reasoned, b"a", "pattern").exact


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([b"The capital"], "ends before"),
        ([b'{"answer": 5}'], "no JSON"),
        ([b'{"answer": "Other"}'], "was demanded, at byte 0"),
        ([b'{"answer": "ab"}'], "ends before|was demanded"),
        ([b'{"answer": "a'], "ends before"),
        ([b'{"answer": "abc'], "inside the JSON"),
        ([b'{"answer": "abc', b"\\"], "inside the JSON"),
        ([b'{"answer": "ab\\x'], "no JSON"),
        ([b"{}"], "no JSON"),
        ([], "ends before"),
    ],
)
def test_a_reply_that_does_not_do_what_is_demanded_is_an_error(tokens: list[bytes], words: str) -> None:
    with pytest.raises(ReplyError, match=words):
        read_forced(reply(*map(place, tokens)), b"abc", "pattern")


def test_a_constant_that_is_another_one_is_an_error() -> None:
    with pytest.raises(ReplyError, match="was demanded"):
        read_forced(reply(place(b'{"begun": "abd", "answer": "x')), b"abc", "const")


# the request

CHAT = (Message("user", "Hello"),)
ASK = Generate("m", Prefix("", b'He said: "1+1=2".\n', CHAT), 3, 2)


def test_a_request_demands_the_answer_so_far() -> None:
    sent = ChatContinue(structured="pattern").encode(ASK)
    assert sent.body["messages"] == [{"role": "user", "content": "Hello"}]
    schema = sent.body["response_format"]["json_schema"]["schema"]  # type: ignore[index]
    pattern = schema["properties"]["answer"]["pattern"]
    assert pattern == '^He said: "1\\+1=2"\\.\n(.|\n|\r)*$'.replace("(.|\n|\r)", r"(.|\n|\r)")
    assert re.fullmatch(pattern, 'He said: "1+1=2".\n And more\n.')
    assert (schema["required"], schema["additionalProperties"]) == (["answer"], False)
    assert ChatContinue(structured="pattern").capabilities().ways == 4
    assert ChatContinue().capabilities().ways == 3


def test_a_constant_has_a_property_of_its_own_and_responses_another_field() -> None:
    adapter = ChatContinue(structured="const", path="/responses", decoder="openai_responses", logprobs_kind="include")
    sent = adapter.encode(ASK)
    form = sent.body["text"]["format"]  # type: ignore[index]
    assert (form["type"], form["strict"]) == ("json_schema", True)
    assert form["schema"]["properties"] == {
        "begun": {"type": "string", "const": 'He said: "1+1=2".\n'},
        "answer": {"type": "string"},
    }


@given(
    text=texts.filter(bool), rest=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2028\u2029"))
)
def test_a_pattern_takes_the_answer_so_far_and_anything_behind_it(text: str, rest: str) -> None:
    fields = demand(text, "pattern", responses=False)
    pattern: str = fields["response_format"]["json_schema"]["schema"]["properties"]["answer"]["pattern"]  # type: ignore[index]
    assert re.fullmatch(pattern, text + rest)
    assert not re.fullmatch(pattern, text[1:] + "\x7f") or text[1:].startswith(text)


def test_without_an_answer_and_beyond_the_longest_it_is_asked_as_before() -> None:
    adapter = ChatContinue(structured="pattern")
    assert (
        adapter.encode(Generate("m", Prefix("", messages=CHAT), 3)).body.keys()
        == ChatContinue().encode(Generate("m", Prefix("", messages=CHAT), 3)).body.keys()
    )
    long = Generate("m", Prefix("", b"x" * (LONGEST + 1), CHAT), 3)
    assert adapter.encode(long).body == ChatContinue().encode(long).body
    assert "response_format" not in adapter.encode(Generate("m", ASK.prefix, 3, way=1)).body


@given(text=texts.filter(bool), length=st.integers(1, 9))
def test_the_second_time_there_is_room_for_a_token_a_byte(text: str, length: int) -> None:
    adapter = ChatContinue(structured="pattern", length_field="max_tokens")
    first, second = (
        adapter.encode(Generate("m", Prefix("", text.encode(), CHAT), length, roomy=roomy)).body
        for roomy in (False, True)
    )
    room = second.pop("max_tokens")  # type: ignore[attr-defined]
    assert room >= first.pop("max_tokens")  # type: ignore[attr-defined]
    assert room >= len(b'{\n  "answer" : "' + json.dumps(text, ensure_ascii=False).encode()) - 2 + length
    assert first == second


def test_a_reply_that_is_cut_inside_the_answer_so_far_is_asked_for_once_more() -> None:
    """One token a byte: twelve are more than the first guess has room for."""
    adapter = ChatContinue(structured="pattern", strategies=("forced",))
    with pytest.raises(ReplyCut, match="ends before"):
        adapter.decode(_cut(b'{"answer": "He said'), ASK)
    again = replace(ASK, roomy=True)
    assert adapter.encode(again).body["response_format"] == adapter.encode(ASK).body["response_format"]
    read = adapter.decode(_cut(b'{"answer": "' + rb"He said: \"1+1=2\".\n", b"And"), again)
    assert (said(read.positions), read.forced) == (b"And", True)


def _cut(spelt: bytes, *then: bytes) -> dict[str, object]:
    """A reply that breaks off: one token a byte, and then some that are longer."""
    pieces = [*(bytes([byte]) for byte in spelt), *then]
    tokens = [{"token": p.decode(), "logprob": -0.1, "bytes": list(p), "top_logprobs": []} for p in pieces]
    message = {"content": b"".join(pieces).decode()}
    return {"choices": [{"message": message, "finish_reason": "length", "logprobs": {"content": tokens}}]}


def test_options_of_it_are_checked() -> None:
    with pytest.raises(InputError, match="'forced' alone needs"):
        ChatContinue(strategies=("forced",))
    with pytest.raises(InputError, match="no structured 'patern'"):
        ChatContinue(structured="patern")  # type: ignore[arg-type]


def test_where_no_other_way_is_left_nothing_is_told() -> None:
    adapter = ChatContinue(structured="pattern", strategies=("forced",))
    token = {"token": "Sure", "logprob": -0.1, "bytes": list(b"Sure"), "top_logprobs": []}
    choice = {"message": {"content": "Sure"}, "finish_reason": "stop", "logprobs": {"content": [token]}}
    read = adapter.decode({"choices": [choice]}, ASK)
    assert (read.positions[0].top, read.exact, read.forced) == ((), False, False)
