"""`logit_bias`: taken off the log-prob of a token's string, where the upstream's tokenizer is known."""

from __future__ import annotations

import numpy as np
import pytest

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.gateway.bias import by_strings, read_bias
from blackbox_proxy.openai_http.fields import Refusal
from tests.gateway.nonsense import WRONG
from tests.standin.raw import Json, post

BIAS = -0.05  # less than the first token is ahead of the second, and more than two readings of a place differ
ASKED = {"model": "steered", "prompt": "the then", "max_tokens": 6, "temperature": 0, "logprobs": 3}
VOCABULARY = Vocabulary([b"a", b"b", b"a", b"</s>", b"<x>"], ends=[3], special=[4])


def tokens(url: str, **fields: Json) -> tuple[list[str], list[float]]:
    answer = post(url, "/v1/completions", {**ASKED, **fields})
    assert answer.status == 200, answer.body
    logprobs = answer.json["choices"][0]["logprobs"]
    return logprobs["tokens"], logprobs["token_logprobs"]


def numbered(url: str, model: str, written: list[str]) -> tuple[str, str]:
    """The first of some tokens that is text by itself, and its id."""
    for token in written:
        asked = {"model": model, "prompt": token, "add_special_tokens": False}
        listed = post(url, "/tokenize", asked).json["tokens"]
        if len(listed) == 1:
            return token, str(listed[0])
    raise AssertionError(written)


@pytest.mark.parametrize("model", ["steered", "plain"])
def test_a_token_that_is_pushed_down_is_not_written(served: str, model: str) -> None:
    usual, _ = tokens(served, model=model)
    token, number = numbered(served, model, usual)
    banned, _ = tokens(served, model=model, logit_bias={number: -100})
    assert banned[: usual.index(token)] == usual[: usual.index(token)]
    assert token not in banned
    same, _ = tokens(served, model=model, logit_bias={number: 0})
    assert same == usual


def test_its_log_prob_is_less_by_the_bias_and_that_of_the_others_more(served: str) -> None:
    """q'(v) = q(v) e^bias / Z: the first token, whose place is the same with and without."""
    usual, logps = tokens(served)
    token, number = numbered(served, "steered", usual[:1])
    slightly, biased = tokens(served, logit_bias={number: BIAS})
    assert slightly[0] == token
    share = np.exp(logps[0])
    assert biased[0] == pytest.approx(logps[0] + BIAS - np.log1p(share * np.expm1(BIAS)), abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "blind", "logit_bias": {"5": -1}}, "tokenizer of 'blind' is not known"),
        ({"logit_bias": {"99999999": -1}}, "no token id"),
        ({"logit_bias": {"5": 3}}, "lifted"),
        ({"logit_bias": {"five": -3}}, "'five'"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_it(served: str, fields: Json, said: str) -> None:
    answer = post(served, "/v1/completions", {**ASKED, **fields})
    assert (answer.status, answer.error["param"]) == (400, "logit_bias")
    assert said in answer.error["message"]


def test_nonsense_is_refused() -> None:
    for value in WRONG["logit_bias"]:
        with pytest.raises(Refusal):
            read_bias({"logit_bias": value})


def test_ids_stand_for_the_strings_of_their_tokens() -> None:
    biases = read_bias({"logit_bias": {"0": -1, "2": -3, "1": 0, "3": -2, "4": -9}})
    assert dict(by_strings(biases, VOCABULARY, model="m")) == {b"a": -3.0, b"": -2.0}
