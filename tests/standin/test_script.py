"""A toy model from a file: read, checked, and served over HTTP with exactly the distribution that it says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.standin import Script, read_script, running, script
from tests.standin.conftest import client_of

TOY = {
    "pieces": ["a", "b", "ab", {"bytes": [195]}],
    "ends": ["</s>"],
    "distributions": {"": {"a": 7, "</s>": 3}, "a": {"b": 1}, "ba": {"ab": 0.5, "a": 0.5}},
    "template": "{% for message in messages %}{{ message.content }}{% endfor %}",
}


def written(folder: Path, toy: object) -> Path:
    path = folder / "toy.json"
    path.write_text(toy if isinstance(toy, str) else json.dumps(toy), encoding="utf-8")
    return path


@pytest.fixture
def toy(tmp_path: Path) -> Script:
    return read_script(written(tmp_path, TOY))


def distribution(toy: Script, text: bytes) -> dict[bytes, float]:
    """Probabilities above nothing, by piece."""
    logits = toy.logits(tuple(toy.tokenize(text, special=True))).astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum()
    return {piece: p for piece, p in zip(toy.vocabulary.pieces, chances.tolist(), strict=True) if p > 1e-6}


def test_the_distribution_is_that_of_the_longest_ending_with_one(toy: Script) -> None:
    assert distribution(toy, b"b") == pytest.approx({b"a": 0.7, b"</s>": 0.3})
    assert distribution(toy, b"a") == pytest.approx({b"b": 1.0})
    assert distribution(toy, b"aba") == pytest.approx({b"ab": 0.5, b"a": 0.5})
    assert toy.vocabulary.pieces[3] == b"\xc3"


def test_what_is_served_is_what_the_file_says(toy: Script) -> None:
    with running(toy, name="toy", top_k=3) as url, client_of(url) as client:
        said = client.completions.create(model="toy", prompt="bb", max_tokens=2, logprobs=3, temperature=0)
        (choice,) = said.choices
        assert choice.text == "aa"
        assert choice.logprobs is not None
        assert choice.logprobs.top_logprobs is not None
        first = {piece: logp for piece, logp in choice.logprobs.top_logprobs[0].items() if logp > -50}
        assert first == pytest.approx({"a": math.log(0.7), "</s>": math.log(0.3)})
        chat = client.chat.completions.create(
            model="toy", messages=[{"role": "user", "content": "b"}], max_tokens=1, temperature=0
        )
        assert chat.choices[0].message.content == "a"


@pytest.mark.parametrize(
    ("toy", "fault"),
    [
        ("{", "cannot read the script"),
        ({**TOY, "pieces": []}, "pieces"),
        ({**TOY, "distributions": {"": {"z": 1}}}, "which is no piece"),
        ({**TOY, "distributions": {"a": {"b": 1}}}, "no distribution for"),
        ({**TOY, "distributions": {"": {"a": 0}}}, "no weight"),
        ({**TOY, "distributions": {"": {"a": -1}}}, "distributions"),
        ({**TOY, "pieces": ["a", "a"]}, "listed twice"),
        ({**TOY, "surprise": 1}, "surprise"),
    ],
)
def test_a_file_that_is_no_toy_is_refused_with_its_mistake(tmp_path: Path, toy: object, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        read_script(written(tmp_path, toy))


def test_a_prompt_that_cannot_be_spelt_is_refused() -> None:
    only = script([b"a"], [b"</s>"], {b"": {b"a": 1.0}})
    with running(only, name="toy") as url, client_of(url) as client, pytest.raises(Exception, match="no piece"):
        client.completions.create(model="toy", prompt="z", max_tokens=1)
