"""Steering by a schema that demands the answer so far, over real HTTP: it is what steering by prefill is.

The toy's distribution depends on the last word alone, so it is the same inside a JSON string.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from blackbox_proxy.api import Api
from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.run.sources import LocalPair
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.standin import Traffic, running
from blackbox_proxy.steering import Steering, Way
from blackbox_proxy.types import Choice, Generate, Kind, Message, Prefix, Result
from tests.fault_bench import EMPTY, END, QUESTION, STEERING, TOP_K, Bench, benched, toy_script
from tests.remote.scripted import Say, ScriptedApi

STEERINGS = [replace(STEERING, max_tokens=n, draft=draft) for n, draft in ((9, 1), (9, 3), (14, 8))]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benched() as opened:
        yield opened


@contextmanager
def served(*quirks: str, **options: object) -> Iterator[tuple[Api, Traffic]]:
    """A chat without prefill over the toy, and what was asked of it."""
    traffic = Traffic()
    quirks = ("no-prefill", *quirks)
    with running(toy_script(), name="toy", quirks=quirks, traffic=traffic) as url:
        with Transport(url, None, retry=RetryPolicy(first=0.0)) as transport:
            adapter = load_adapter("chat_continue", top_k=TOP_K, end_pieces=[END], **options)
            yield Api("toy", transport, adapter), traffic


def answer(api: Api, pair: LocalPair, steering: Steering) -> Result:
    return steer(QUESTION, api=api, offsets=pair, steering=steering, pair_prompt=EMPTY)


def by_prefill(bench: Bench, steering: Steering) -> Result:
    return bench.answer("chat_prefill", "steer", steering=steering)


def check_same(result: Result, wanted: Result) -> None:
    assert (result.text, result.finish) == (wanted.text, wanted.finish)
    for one, other in zip(result.steps, wanted.steps, strict=True):
        assert (one.piece, one.kind) == (other.piece, other.kind)
        assert one.logp_before == pytest.approx(other.logp_before, abs=1e-5)
        assert one.logp_after == pytest.approx(other.logp_after, abs=1e-5)
    assert result.exactness == "forced"
    assert wanted.exactness == "exact"
    assert all(step.exact for step in result.steps)
    assert any(step.forced for step in result.steps)


@pytest.mark.parametrize("steering", STEERINGS, ids=lambda s: f"{s.max_tokens} tokens by {s.draft}")
def test_the_steered_text_is_that_by_prefill(bench: Bench, steering: Steering) -> None:
    wanted = by_prefill(bench, steering)
    with served(structured="pattern") as (api, _):
        result = answer(api, bench.pair, steering)
    assert result.usage.requests > 1, "nothing is gone on from"
    check_same(result, wanted)


def test_so_it_is_where_log_probs_are_those_after_the_mask(bench: Bench) -> None:
    """The toy's own end is masked then, so that no step can be the end."""
    steering = STEERINGS[0]
    wanted = by_prefill(bench, steering)
    with served("masked-logps", structured="pattern") as (api, _):
        result = answer(api, bench.pair, steering)
    assert (result.text, result.exactness) == (wanted.text, "forced")


def test_a_constant_is_gone_on_from_in_a_string_of_its_own(bench: Bench) -> None:
    """The toy then does not see its last word, so that its distribution is the one after no word."""
    with served(structured="const") as (api, _):
        result = answer(api, bench.pair, STEERING)
        first = answer(api, bench.pair, replace(STEERING, max_tokens=1)).steps[0]
    assert result.exactness == "forced"
    forced = next(step for step in result.steps if step.forced)
    shown = {c.piece: c.logp for c in forced.candidates if c.piece}
    assert shown == pytest.approx({c.piece: c.logp for c in first.candidates if c.piece}, abs=1e-5)


def test_a_refused_schema_is_the_next_way_and_not_tried_again(bench: Bench) -> None:
    with served(structured="none") as (api, _):
        wanted = answer(api, bench.pair, STEERING)
    for quirk in ("no-pattern", "no-formatted-logprobs"):
        with served(quirk, structured="pattern") as (api, _):
            result = answer(api, bench.pair, STEERING)
        assert (result.text, result.exactness) == (wanted.text, "approximate")
        assert result.usage.refused == 1
        assert result.usage.input == wanted.usage.input, "what is refused costs nothing"


def test_a_schema_that_is_ignored_is_the_next_way_and_is_paid_for(bench: Bench) -> None:
    with served(structured="none") as (api, _):
        wanted = answer(api, bench.pair, STEERING)
    with served("ignored-format", structured="pattern") as (api, traffic):
        result = answer(api, bench.pair, STEERING)
    assert (result.text, result.exactness) == (wanted.text, "approximate")
    assert result.usage.requests == len(result.calls) == traffic.total
    assert sum(call.usage.requests for call in result.calls) == result.usage.requests > wanted.usage.requests


def test_an_end_inside_the_string_ends_the_answer(bench: Bench) -> None:
    steering = replace(STEERING, max_tokens=40)
    wanted = by_prefill(bench, steering)
    with served(structured="pattern") as (api, _):
        result = answer(api, bench.pair, steering)
    assert (result.finish, result.steps[-1].kind) == (wanted.finish, wanted.steps[-1].kind)
    assert (result.finish == "stop") == (result.steps[-1].kind is Kind.END)


def test_a_server_that_cannot_read_what_it_wrote_is_asked_in_the_next_way() -> None:
    words = "The model produced output that does not match the expected peg-native format"
    failed = Say({"error": {"message": words}}, status=500)
    plain = [{"token": text, "logprob": -0.1, "bytes": list(text.encode())} for text in ("Yes", ",", " so")]
    tokens = [{**token, "top_logprobs": [token]} for token in plain]
    choice = {"message": {"content": "Yes, so"}, "finish_reason": "length", "logprobs": {"content": tokens}}
    with ScriptedApi(*[failed] * 4, Say({"choices": [choice]})) as scripted:
        with Transport(scripted.url, None, retry=RetryPolicy(first=0.0)) as transport:
            api = Api("toy", transport, load_adapter("chat_continue", top_k=1, structured="pattern"))
            reply = api.send(Generate("toy", Prefix("", b"Yes,", (Message("user", "So?"),)), 1))
    assert reply.positions[0].sampled.piece == b" so"
    assert (reply.exact, reply.forced, api.refused_ways) == (False, False, set())


@pytest.mark.parametrize(
    ("said", "times"),
    [(["{", '"answer', '": "', "Ye"], 2), (["Sure", "!"], 1), (['{"answer": "', "No"], 1), (["[", "1"], 1)],
)
def test_a_reply_that_is_cut_inside_the_text_or_is_none_is_paid_for_and_the_next_way_is_taken(
    said: list[str], times: int
) -> None:
    """What is cut inside the text is asked for once more, with more room."""
    with ScriptedApi(*[spoken(said)] * times, spoken(["Yes", ",", " so"])) as scripted:
        with Transport(scripted.url, None, retry=RetryPolicy(first=0.0)) as transport:
            api = Api("toy", transport, load_adapter("chat_continue", top_k=1, structured="pattern"))
            reply = api.send(Generate("toy", Prefix("", b"Yes,", (Message("user", "So?"),)), 1))
    assert reply.positions[0].sampled.piece == b" so"
    assert (reply.exact, reply.forced, api.refused_ways) == (False, False, set())
    assert [call.usage.output for call in reply.calls] == [*[len(said)] * times, 3]
    rooms = [int(str(body["max_tokens"])) for _, _, body in scripted.seen[:times]]
    assert rooms == sorted(set(rooms))


def spoken(tokens: list[str]) -> Say:
    """A reply of these tokens, which is cut behind them, with its usage."""
    plain = [{"token": text, "logprob": -0.1, "bytes": list(text.encode())} for text in tokens]
    content = [{**token, "top_logprobs": [token]} for token in plain]
    text = "".join(tokens)
    choice = {"message": {"content": text}, "finish_reason": "length", "logprobs": {"content": content}}
    usage = {"prompt_tokens": 5, "completion_tokens": len(tokens), "total_tokens": 5 + len(tokens)}
    return Say({"choices": [choice], "usage": usage})


TWO_WORDS = ("red green", "red blue gold", "green red", "blue blue", "gold")
"""Options of several tokens: what an endpoint shows at first are their first words."""


def chosen(api: Api, pair: LocalPair, *, alpha: float = 0.5, way: Way = "auto") -> Choice:
    steering = Steering(alpha=alpha, way=way)
    options = [f" {option}" for option in TWO_WORDS]
    return Steerer(api, pair, steering).choose(QUESTION, options, pair_prompt=EMPTY)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("way", ["auto", "forced"])
def test_options_are_gone_on_from_as_by_prefill(bench: Bench, way: Way, alpha: float) -> None:
    wanted = chosen(bench.api("chat_prefill", ()), bench.pair, alpha=alpha)
    with served(structured="pattern") as (api, traffic):
        found = chosen(api, bench.pair, alpha=alpha, way=way)
    assert traffic.total > 1, "nothing is gone on from"
    assert (found.certified, found.needs) == (wanted.certified, wanted.needs)
    for one, other in zip(found.options, wanted.options, strict=True):
        assert one.text == other.text
        assert one.unsteered == pytest.approx(other.unsteered, abs=1e-5)
        assert one.steered == pytest.approx(other.steered, abs=1e-5)
        assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=1e-5)


@pytest.mark.parametrize("quirk", ["no-pattern", "ignored-format"])
def test_where_no_schema_demands_it_options_stay_open_and_are_not_made_up(bench: Bench, quirk: str) -> None:
    """In words the model says what it likes: nothing of that is a probability of an option."""
    with served(structured="none") as (api, _):
        in_words = chosen(api, bench.pair)
    with served(quirk, structured="pattern") as (api, _):
        found = chosen(api, bench.pair)
    for one, other in zip(found.options, in_words.options, strict=True):
        assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=1e-5)


def test_in_words_alone_nothing_is_gone_on_from(bench: Bench) -> None:
    with served(structured="pattern") as (api, traffic):
        chosen(api, bench.pair, way="words")
    assert traffic.total == 1
    with served(structured="none") as (api, _), pytest.raises(InputError, match="forced"):
        chosen(api, bench.pair, way="forced")
