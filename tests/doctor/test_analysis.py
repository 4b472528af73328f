"""What replies show when they are compared, for random distributions and by hand; and any JSON is heard."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blackbox_proxy.doctor import analysis
from blackbox_proxy.doctor.continuation import goes_on
from blackbox_proxy.doctor.replies import SENTINEL, ProbePosition, ProbeReply, ProbeToken, read_reply
from tests.standin.raw import Json
from tests.standin.test_requests import VALUES

DISTRIBUTIONS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2), st.floats(-20, -0.1), min_size=4, max_size=12
)


def place(distribution: dict[str, float], own: str = "") -> ProbePosition:
    """A place whose best token was sampled, unless said otherwise."""
    sampled = own or max(distribution, key=distribution.__getitem__)
    return ProbePosition(
        ProbeToken(sampled, None, distribution.get(sampled, -9.0)),
        tuple(ProbeToken(name, None, distribution[name]) for name in distribution),
    )


def normalised(distribution: dict[str, float], temperature: float) -> dict[str, float]:
    norm = math.log(math.fsum(math.exp(logp / temperature) for logp in distribution.values()))
    return {name: logp / temperature - norm for name, logp in distribution.items()}


@given(DISTRIBUTIONS, st.floats(0, 0.05), st.randoms(use_true_random=False))
def test_the_slope_tells_before_temperature_from_after_it(
    distribution: dict[str, float], noise: float, draw: Json
) -> None:
    warm = normalised(distribution, 1.0)
    if max(warm.values()) - min(warm.values()) < 1.0:
        return  # too flat for noise of this size
    for temperature, found in ((1.0, "raw"), (0.5, "scaled")):
        cool = {
            name: logp + draw.uniform(-noise, noise) for name, logp in normalised(distribution, temperature).items()
        }
        assert analysis.scaling(place(cool), place(warm)) == found


@given(DISTRIBUTIONS, st.integers(0, 5))
def test_rounding_is_counted_in_decimals(distribution: dict[str, float], digits: int) -> None:
    rounded = analysis.graded_logprobs([place({name: round(logp, digits) for name, logp in distribution.items()})])
    found = analysis.decimals(rounded)
    assert (found is None) == (len(rounded) < analysis.FEWEST)
    assert found is None or found <= digits


@given(DISTRIBUTIONS, st.data())
def test_a_distribution_is_itself_in_any_order_and_no_other(
    distribution: dict[str, float], data: st.DataObject
) -> None:
    shuffled = {name: distribution[name] for name in data.draw(st.permutations(sorted(distribution)))}
    assert analysis.same_distribution(place(distribution), place(shuffled), tolerance=1e-9)
    other = {**distribution, data.draw(st.sampled_from(sorted(distribution))): -0.05}
    assert analysis.same_distribution(place(distribution), place(other), tolerance=1e-9) == (distribution == other)


def test_a_likely_token_that_one_list_lacks_makes_it_another_distribution() -> None:
    """Two lists may agree in everything that both show."""
    one, other = {"a": -5.0, "b": -6.0, "x": -0.1}, {"a": -5.0, "b": -6.0, "y": -0.1}
    assert not analysis.same_distribution(place(one), place(other), tolerance=0.5)


def test_a_sampled_token_that_pushes_the_last_one_out_is_no_other_distribution() -> None:
    one, other = {"a": -0.5, "b": -1.0, "c": -5.0}, {"z": -12.0, "a": -0.5, "b": -1.0}
    assert analysis.same_distribution(place(one), place(other, own="z"), tolerance=5.0)
    assert not analysis.same_distribution(
        place({**one, "c": -1.5}), place({"z": -12.0, "b": -9.0}, own="z"), tolerance=1.0
    )


@pytest.mark.parametrize(
    ("listed", "own", "appends", "displaces"),
    [
        ({"a": -0.5, "b": -1.0}, "a", False, False),
        ({"a": -0.5, "b": -1.0}, "z", False, False),
        ({"a": -0.5, "b": -1.0, "z": -9.0}, "z", True, False),
        ({"z": -9.0, "a": -0.5}, "z", False, True),
        ({"b": -1.0, "a": -0.5}, "b", False, True),
    ],
)
def test_how_a_sampled_token_stands_in_a_list(
    listed: dict[str, float], own: str, *, appends: bool, displaces: bool
) -> None:
    found = [place(listed, own)]
    assert (analysis.appends(found, 2), analysis.displaces(found)) == (appends, displaces)


def test_one_hot_is_all_marks_but_one() -> None:
    assert analysis.one_hot(place({"a": 0.0, "b": -9999.0}))
    assert not analysis.one_hot(place({"a": -0.1, "b": -9999.0}))
    assert not analysis.one_hot(place({"a": 0.0}))
    assert not analysis.one_hot(place({"a": 0.0, "b": -30.0}))


def said(text: str, *tokens: ProbeToken, finish: str = "stop") -> ProbeReply:
    return ProbeReply(text, tuple(ProbePosition(one, (one,)) for one in tokens), finish, "rows", None)


def test_the_end_is_what_an_answer_has_more_than_its_text() -> None:
    o, k, end = (ProbeToken(name, name.encode(), -0.1) for name in ("o", "k", "</s>"))
    assert analysis.surplus(said("ok", o, k, end)) == end
    assert analysis.surplus(said("ok", o, k)) is None
    assert analysis.surplus(said("ok", o, k, ProbeToken("", b"", -0.1))) == ProbeToken("", b"", -0.1)
    assert analysis.surplus(said("ok", o, k, end, finish="length")) is None


def test_bytes_that_a_text_has_and_tokens_lack() -> None:
    head, tail = ProbeToken(r"\xf0\x9f", b"\xf0\x9f", -0.1), ProbeToken(r"\xa6\x9c", b"\xa6\x9c", -0.1)
    assert not analysis.skips(said("🦜", head, tail))
    assert analysis.skips(said("🦜", tail))
    assert not analysis.skips(said("🦜\ufffd", head, tail, head))
    assert not analysis.skips(said("\ufffda", ProbeToken("a", b"a", -0.1)))


def test_the_place_behind_a_repeated_beginning() -> None:
    a, b, c = (ProbeToken(name, name.encode(), -0.1) for name in ("re", "d g", "reen"))
    behind = analysis.after(said("red green", a, b, c), "red g")
    assert behind is not None
    assert behind.sampled == c
    assert analysis.after(said("red green", a, b, c), "red gr") is None
    first = analysis.after(said("reen", c), "red g")
    assert first is not None
    assert first.sampled == c


@pytest.mark.parametrize(
    ("distribution", "found"),
    [
        ({" blue": -0.1, "x": -3.0}, True),
        ({" ": -0.1}, True),
        ({" b": -1.0, " bl": -1.5}, True),
        ({"blue": -0.1, " red": -3.0}, False),
        ({"": -0.1}, False),
        ({" blue": -3.0}, False),
    ],
)
def test_what_goes_on_begins_with_a_blank(distribution: dict[str, float], *, found: bool) -> None:
    assert goes_on(place(distribution)) == found


ROWS = st.fixed_dictionaries({}, optional={"token": VALUES, "bytes": VALUES, "logprob": VALUES, "top_logprobs": VALUES})
TOLD = st.fixed_dictionaries(
    {}, optional={"tokens": VALUES, "token_logprobs": VALUES, "top_logprobs": VALUES, "content": st.lists(ROWS)}
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"text": VALUES, "message": VALUES, "finish_reason": VALUES, "logprobs": VALUES | TOLD}
)
REPLIES = st.fixed_dictionaries(
    {}, optional={"choices": VALUES | st.lists(CHOICES), "output": VALUES, "usage": VALUES, "status": VALUES}
)


@given(REPLIES)
@example({"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -(10**400), "bytes": [300]}]}}]})
def test_any_json_object_is_heard(body: dict[str, Json]) -> None:
    reply = read_reply(body)
    for one in reply.places:
        assert isinstance(one.best.logp, float)
        assert all(logp > SENTINEL for logp in one.distribution.values())
    assert isinstance(reply.cached, bool)
