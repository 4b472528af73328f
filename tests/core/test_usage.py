"""The one reader of token counts: every shape that providers and relays write, and what is not believed."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.money.amounts import Price, Rate, cost
from blackbox_proxy.core.money.usage import counts_of, read_usage, usage_of
from blackbox_proxy.types import Attempt, Usage
from blackbox_proxy_adapters.decoders import legacy_completions

MOST = Usage(input=500, output=50)
PRICE = Price(Rate(Decimal(1)), Rate(Decimal(10)))

SHAPES: dict[str, tuple[dict[str, object], Usage]] = {
    "completions": ({"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}, Usage(30, 0, 0, 2, 1)),
    "cached": (
        {
            "prompt_tokens": 30,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5, "audio_tokens": 0},
        },
        Usage(30, 20, 5, 2, 1),
    ),
    "responses": (
        {"input_tokens": 30, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 20}},
        Usage(30, 20, 0, 2, 1),
    ),
    "deepseek": (
        {
            "prompt_tokens": 30,
            "completion_tokens": 2,
            "prompt_cache_hit_tokens": 20,
            "prompt_cache_miss_tokens": 10,
        },
        Usage(30, 20, 0, 2, 1),
    ),
    "null details": (
        {"prompt_tokens": 30, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(30, 0, 0, 2, 1),
    ),
    "cached at the top": ({"prompt_tokens": 30, "completion_tokens": 2, "cached_tokens": 7}, Usage(30, 7, 0, 2, 1)),
    "both sets of names, one of zeros": (
        {
            "prompt_tokens": 40,
            "completion_tokens": 1,
            "total_tokens": 41,
            "input_tokens": 0,
            "output_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": 0},
            "input_tokens_details": None,
        },
        Usage(40, 0, 0, 1, 1),
    ),
    "the other set of zeros": (
        {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 40, "output_tokens": 1},
        Usage(40, 0, 0, 1, 1),
    ),
    "texts": ({"prompt_tokens": "30", "completion_tokens": " 2.0 ", "total_tokens": "32"}, Usage(30, 0, 0, 2, 1)),
    "whole fractions": ({"prompt_tokens": 30.0, "completion_tokens": 2.0}, Usage(30, 0, 0, 2, 1)),
    "reasoning among the output": (
        {
            "prompt_tokens": 30,
            "completion_tokens": 12,
            "total_tokens": 42,
            "completion_tokens_details": {"reasoning_tokens": 10},
        },
        Usage(30, 0, 0, 12, 1),
    ),
    "reasoning beside the output": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 1,
            "total_tokens": 1401,
            "completion_tokens_details": {"reasoning_tokens": 400},
        },
        Usage(1000, 0, 0, 401, 1),
    ),
    "less reasoning beside the output": (
        {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 44, "reasoning_tokens": 5},
        Usage(30, 0, 0, 14, 1),
    ),
    "reasoning without a sum": (
        {"input_tokens": 30, "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 4}},
        Usage(30, 0, 0, 5, 1),
    ),
}
FIELDS = ("input", "cached", "cache_write", "output", "requests")


@pytest.mark.parametrize(("raw", "wanted"), SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_is_read_and_priced(raw: dict[str, object], wanted: Usage) -> None:
    found = read_usage(raw)
    assert (found.usage, found.whole, found.adds_up) == (wanted, True, True)
    body = {"choices": [{"text": "", "finish_reason": "stop"}], "usage": raw}
    assert legacy_completions(body).usage == wanted, "the adapters read by the same reader"
    counts = counts_of(raw, most=MOST, texts=1)
    assert (counts.usage, counts.source, counts.adds_up) == (wanted, "provider", True)
    assert cost(wanted, PRICE) == (wanted.input * Decimal(1) + wanted.output * Decimal(10)).scaleb(-6)


CONTRADICTIONS: dict[str, dict[str, object]] = {
    "a sum above": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 40},
    "a sum below": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 30},
    "more reasoning than output, and a sum without it": {
        "prompt_tokens": 30,
        "completion_tokens": 2,
        "total_tokens": 32,
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
    "two counts of one thing": {"prompt_tokens": 30, "input_tokens": 31, "completion_tokens": 2},
    "two counts from the cache": {
        "prompt_tokens": 30,
        "completion_tokens": 2,
        "cached_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 6},
    },
    "more from the cache than was read": {"prompt_tokens": 30, "completion_tokens": 2, "cached_tokens": 31},
    "hits and misses": {
        "prompt_tokens": 30,
        "completion_tokens": 2,
        "prompt_cache_hit_tokens": 20,
        "prompt_cache_miss_tokens": 20,
    },
    "a fraction": {"prompt_tokens": 30.5, "completion_tokens": 2},
}


@pytest.mark.parametrize("raw", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_no_cost_follows_from_counts_that_contradict_each_other(raw: dict[str, object]) -> None:
    found = counts_of(raw, most=MOST, texts=2)
    assert (found.source, found.adds_up) == ("provider", False)
    assert (found.usage.input, found.usage.requests) in ((30, 1), (31, 1))


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        [],
        "many",
        {"prompt_tokens": 3},
        {"completion_tokens": 3},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 0, "completion_tokens": 2},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
        {"prompt_tokens": "three", "completion_tokens": 2},
        {"prompt_tokens": 1e300, "completion_tokens": 2},
    ],
)
def test_what_counts_nothing_is_taken_from_above(raw: object) -> None:
    assert not read_usage(raw).whole
    found = counts_of(raw, most=MOST, texts=1)
    assert (found.source, found.usage) == ("estimated", Usage(500, output=50, requests=1, estimated=1))


def test_fewer_tokens_than_the_reply_holds_are_not_believed() -> None:
    raw = {"prompt_tokens": 30, "completion_tokens": 0}
    assert counts_of(raw, most=MOST, texts=1).source == "estimated"
    assert counts_of(raw, most=MOST, texts=0).usage == Usage(input=30, requests=1), "an end at once is no text"


def test_a_count_of_another_type_is_passed_over() -> None:
    raw = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": "many"}}
    assert read_usage(raw).usage == Usage(input=3, output=1, requests=1)


def test_an_adapter_whose_shape_has_its_own_counts_is_heard_where_there_is_no_usage() -> None:
    own = Usage(input=8, cached=3, output=2, requests=1)
    assert counts_of(None, most=MOST, adapter_usage=own, texts=2).usage == own
    assert counts_of(None, most=MOST, adapter_usage=own, texts=3).source == "estimated"


def test_attempts_without_a_reply_take_a_request_and_no_tokens() -> None:
    said = {"prompt_tokens": 3, "completion_tokens": 1}
    lost = Attempt(1, "/completions", 0.1, "timeout", lost=True)
    assert usage_of(lost, most=MOST) == Usage(requests=1, lost=1)
    assert usage_of(Attempt(1, "/completions", 0.1, "busy", 429), most=MOST) == Usage(requests=1, refused=1)
    answered = Attempt(1, "/completions", 0.1, "ok", 200, said)
    assert usage_of(answered, most=MOST) == Usage(input=3, output=1, requests=1)


NAMES = [
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "prompt_cache_hit_tokens",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 500) | st.floats() | st.text(max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_whatever_is_written_there_is_a_count_or_none(raw: dict[str, object]) -> None:
    """Also read back from JSON; never below zero, never an error; what is sure has a cost."""
    found = read_usage(raw)
    counts = [getattr(found.usage, name) for name in FIELDS]
    assert all(isinstance(count, int) and count >= 0 for count in counts)
    assert read_usage(json.loads(json.dumps(raw))) == found
    if found.whole and found.adds_up:
        assert cost(found.usage, PRICE) is not None


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_what_was_reasoned_is_billed_once_wherever_it_is_counted(
    read: int,
    written: int,
    reasoned: int,
    beside: bool,  # noqa: FBT001
) -> None:
    """The sum tells whether reasoning is among the output or beside it."""
    told = written if beside else written + reasoned
    raw = {
        "prompt_tokens": read,
        "completion_tokens": told,
        "total_tokens": read + written + reasoned,
        "completion_tokens_details": {"reasoning_tokens": reasoned},
    }
    found = read_usage(raw)
    assert (found.usage.output, found.adds_up) == (written + reasoned, True)
