"""Forms that people tune for can be written, whatever the tokenizers: real ones, and an expert that says just the form.

`python -m tests.bench.forms` tries thousands; see there.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from tests.bench.forms import MAIN, NAMED, ScriptedPair, forms, load, loses_bytes, measured, written

MEASURED = Path(__file__).parents[1] / "docs" / "measurements" / "right_token.json"

pytestmark = pytest.mark.weights

TRIED = 10
HARD = ("lab-card closed.", "*/2 * 1,28 */6 1-6", "a += b[2*i]; // x-y", "394 × 776 ≈ 305744", "## lab\n\n* run:\t3")
"""Where tokens of the one side end inside those of the other."""

vocabulary = lru_cache(maxsize=None)(load)


def test_forms_are_many_and_the_same_each_time() -> None:
    found = forms(300)
    assert len(set(found)) == 300
    assert forms(300) == found
    assert sum("-" in form for form in found) > 20
    assert sum(not form.isascii() for form in found) > 20


@pytest.mark.parametrize(("api", "pair"), MAIN)
def test_the_steered_text_is_the_form(api: str, pair: str) -> None:
    """And hardly a step was emitted against a heavier rest; where one was, it says so."""
    scripted, some = _pair(pair), (*HARD, *forms(TRIED))
    for known, may_fail, may_say in ((True, 0, 0.02), (False, 1, 0.1)):
        results = [written(form, scripted, vocabulary(NAMED[api]), known=known, seed=n) for n, form in enumerate(some)]
        wrong = [(form, result.text) for form, result in zip(some, results, strict=True) if form != result.text]
        assert len(wrong) <= may_fail, wrong
        right = [result for form, result in zip(some, results, strict=True) if form == result.text]
        assert sum(r.outweighed for r in right) <= may_say * sum(len(r.steps) for r in right)


def _pair(name: str) -> ScriptedPair:
    found: Vocabulary = vocabulary(NAMED[name])
    return ScriptedPair(found, found.cut)


def test_a_tokenizer_that_loses_bytes_is_found() -> None:
    """Such a one cannot be told what it said."""
    lossy = Vocabulary([b"a", b"b", b"</s>"], ends=[2]).cut_by(lambda text: [0] * len(text))
    assert loses_bytes(lossy, ["aa", "ab"]) == "ab"
    assert loses_bytes(lossy, ["aa"]) == ""


def test_a_row_of_the_figures_comes_out_the_same() -> None:
    """The first form of the file that is kept with the project."""
    kept = json.loads(MEASURED.read_text(encoding="utf-8"))
    row = kept["figures"]["rows"][0]
    assert {"commit", "date", "command", "n"} <= kept.keys()
    (made,) = measured(vocabulary(NAMED[row["api"]]), vocabulary(NAMED[row["pair"]]), [row["form"]], done=set())
    assert made == {name: value for name, value in row.items() if name not in {"api", "pair"}}
