"""llama.cpp's own server by a demanded answer: the next token is that by true prefill, which words hardly reach."""

from __future__ import annotations

import pytest

from tests.bench.continuing import MODELS
from tests.bench.forcing import inside, reached
from tests.bench.prompts import prompts

pytestmark = [pytest.mark.slow, pytest.mark.weights]

PROMPTS = 10


def test_a_demanded_answer_is_gone_on_from_as_by_prefill() -> None:
    """By a pattern of the JSON's spelling, which this server holds it against: then it can read what it writes."""
    with reached("llama_server", MODELS[1]) as apis:
        figures = inside(apis, [text for _, text in prompts(PROMPTS)])
    print(figures)
    forced, words = figures["forced"], figures["words"]
    assert isinstance(forced, dict)
    assert isinstance(words, dict)
    assert forced["places"] >= 2 * PROMPTS
    assert forced["blind"] <= 0.05
    assert not forced["errors"]
    assert forced["agree"] >= 0.85
    assert forced["agree"] > words["agree"]
    assert forced["distance"] < words["distance"] / 2
