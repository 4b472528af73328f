"""The books and the adapters read the same counts in every shape."""

from __future__ import annotations

import pytest

from blackbox_proxy.core.usage import read_usage
from blackbox_proxy.types import Usage
from blackbox_proxy_adapters.decoders import read_usage as of_adapters

SHAPES: dict[str, dict[str, object]] = {
    "completions": {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32},
    "cached": {
        "prompt_tokens": 30,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5, "audio_tokens": 0},
    },
    "responses": {"input_tokens": 30, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 20}},
    "deepseek": {
        "prompt_tokens": 30,
        "completion_tokens": 2,
        "prompt_cache_hit_tokens": 20,
        "prompt_cache_miss_tokens": 10,
    },
    "null details": {"prompt_tokens": 30, "completion_tokens": 2, "prompt_tokens_details": None},
}


@pytest.mark.parametrize("raw", SHAPES.values(), ids=SHAPES.keys())
def test_the_books_read_what_the_adapters_read(raw: dict[str, object]) -> None:
    found = read_usage(raw)
    assert found == of_adapters(raw)
    assert found is not None
    assert (found.input, found.output, found.requests) == (30, 2, 1)


@pytest.mark.parametrize(
    "raw",
    [None, {}, {"prompt_tokens": 3}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "3"}],
)
def test_what_counts_nothing_is_none(raw: dict[str, object] | None) -> None:
    assert read_usage(raw) is None


def test_a_count_of_another_type_is_passed_over() -> None:
    raw = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": "many"}}
    assert read_usage(raw) == Usage(input=3, output=1, requests=1)
