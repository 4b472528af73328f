"""Knobs that a request sets under `steering`: each does what `Steering` says, and a bad value is told by its name."""

from __future__ import annotations

import pytest

from blackbox_proxy.standin import running, scenario_of
from tests.gateway.serving import gateway
from tests.standin.raw import Json, post

ASKED = {"model": "steered", "prompt": "the then", "max_tokens": 6, "temperature": 0}


def steered(url: str, **knobs: object) -> Json:
    """The reply to one question under these knobs."""
    answer = post(url, "/v1/completions", {**ASKED, "logprobs": 5, "steering": knobs})
    assert answer.status == 200, answer.body
    return answer.json


def distribution(reply: Json) -> Json:
    """What was written, with its log-probs."""
    return reply["choices"][0]


def test_a_gate_that_never_opens_leaves_the_upstream_as_it_is(served: str) -> None:
    """Its log-probs are lower than its own at most: they allow for strings that the upstream did not show."""
    always = distribution(steered(served, alpha=3))
    unsteered = distribution(post(served, "/v1/completions", {**ASKED, "model": "plain", "logprobs": 5}).json)
    shut = distribution(steered(served, alpha=3, gate="divergence", threshold=1.0))
    assert shut["text"] == unsteered["text"] != always["text"]
    ours, theirs = shut["logprobs"]["token_logprobs"], unsteered["logprobs"]["token_logprobs"]
    assert all(-0.5 < one - other < 1e-3 for one, other in zip(ours, theirs, strict=True))
    assert distribution(steered(served, alpha=3, gate="divergence", threshold=0.0))["text"] == always["text"]
    assert distribution(steered(served, alpha=3, gate="always", threshold=1.0))["text"] == always["text"]


@pytest.mark.parametrize("way", ["0:0,2:0,3:3", {"points": [[0, 0], [2, 0], [3, 3]]}])
def test_a_schedule_moves_alpha_along_the_answer(served: str, way: object) -> None:
    """The first three tokens are the upstream's own; what follows them is steered."""
    plain, moved = distribution(steered(served, alpha=0)), distribution(steered(served, schedule=way))
    first, rest = slice(0, 3), slice(3, None)
    assert moved["logprobs"]["tokens"][first] == plain["logprobs"]["tokens"][first]
    ours, theirs = moved["logprobs"]["token_logprobs"], plain["logprobs"]["token_logprobs"]
    assert ours[first] == pytest.approx(theirs[first], abs=1e-3)
    assert ours[rest] != pytest.approx(theirs[rest], abs=1e-2)
    assert distribution(steered(served, schedule="0:3"))["text"] == distribution(steered(served, alpha=3))["text"]


@pytest.mark.parametrize(
    ("knob", "value", "says"),
    [
        ("gate", "sometimes", "'sometimes' will not do"),
        ("gate", 1, "1 will not do"),
        ("threshold", -0.1, "threshold must be in [0, 1], not -0.1"),
        ("threshold", 1.5, "threshold must be in [0, 1], not 1.5"),
        ("threshold", 10**400, "threshold must be in [0, 1]"),
        ("threshold", "0.1", "'0.1' will not do"),
        ("schedule", "now", "a schedule is written TOKEN:ALPHA,TOKEN:ALPHA, not 'now'"),
        ("schedule", "4:1,0:1", "the tokens of a schedule must grow from 0 or more, not [4, 0]"),
        ("schedule", "0:inf", "alpha must be a finite number, not inf at token 0"),
        ("schedule", "0:1e300", "1e+300 is too large here; at most 100"),
        ("schedule", {"points": []}, "the tokens of a schedule must grow from 0 or more, not []"),
        ("schedule", {"points": [[0, -101]]}, "-101 is too large here; at most 100"),
        ("schedule", [[0, 1]], "[[0, 1]] will not do"),
        ("schedule", ",".join(f"{at}:1" for at in range(65)), "it has 65 points; at most 64"),
        ("learnt", "one:1", "learnt weights are written FEATURE:B:C,FEATURE:B:C, not 'one:1'"),
        ("learnt", "two:1:1", "learnt weights must name some of one, expert, distance, api, each once, not ['two']"),
        ("learnt", "one:1:1,one:1:1", "each once, not ['one', 'one']"),
        ("learnt", "one:nan:1", "learnt weights must be finite numbers, not [nan, 1.0] of one"),
        ("learnt", "one:1:-101", "-101 is too large here; at most 100"),
        ("learnt", {"terms": []}, "learnt weights must name some of"),
        ("learnt", {"terms": [["two", 1, 1]]}, "'two' will not do"),
        ("learnt", [["one", 1, 1]], "[['one', 1, 1]] will not do"),
        ("alpha", 10**400, "inf is too large here; at most 100"),
        ("draft", 0, "draft must be in [1, 256], not 0"),
        ("nucleus", 0, "nucleus must be in (0, 1], not 0.0"),
        ("target", "all", "'all' will not do"),
        ("min_p", 2, "min_p must be in [0, 1], not 2.0"),
        ("proposals", -1, "proposals must be at least 0, not -1"),
        ("repetition_stop", 3, "repetition_stop must be 0, or from 16 to 1024, not 3"),
        ("top_candidates", 3, "there is no such knob"),
        ("event", "ids", "there is no such knob"),
    ],
)
def test_a_bad_value_is_told_by_the_name_of_its_knob(served: str, knob: str, value: object, says: str) -> None:
    for path, asked in (
        ("/v1/completions", ASKED),
        ("/v1/chat/completions", {"model": "steered", "messages": [{"role": "user", "content": "a"}]}),
    ):
        refused = post(served, path, {**asked, "steering": {knob: value}})
        assert refused.status == 400
        assert (refused.error["param"], refused.error["code"]) == (f"steering.{knob}", "invalid_value")
        assert refused.error["message"].startswith(f"Invalid 'steering.{knob}': ")
        assert says in refused.error["message"]


def test_learnt_weights_are_used_and_a_rule_without_them_is_refused(served: str) -> None:
    """With one alpha for both members they are that alpha; the fixture's model has no weights of its own."""
    learnt = distribution(steered(served, rule="learnt", learnt="one:3:3", alpha=1))
    assert learnt["text"] == distribution(steered(served, rule="pooled", alpha=3))["text"]
    refused = post(served, "/v1/completions", {**ASKED, "steering": {"rule": "learnt"}})
    assert refused.status == 400
    assert "rule='learnt' needs weights" in refused.error["message"]


@pytest.mark.parametrize("model", ["steered", "plain"])
def test_bad_words_are_not_written(served: str, model: str) -> None:
    asked = {**ASKED, "model": model}
    usual = post(served, "/v1/completions", asked).json["choices"][0]["text"]
    words = [usual[1:3], usual[-1]]
    assert all(words)
    answer = post(served, "/v1/completions", {**asked, "bad_words": words})
    assert answer.status == 200, answer.body
    assert not any(word in answer.json["choices"][0]["text"] for word in words)


SHORT = scenario_of(
    [{"asked": "Say hello.", "said": ["Hello", {"token": " there", "p": 0.4, "others": {"": 0.6}}, " and more words."]}]
)
"""An upstream for which an end behind the first word is the likeliest."""


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({"bad_words": ["zzz"]}, "Hello", "stop"),
        ({"min_tokens": 1}, "Hello", "stop"),
        ({"min_tokens": 2}, "Hello there and more words.", "stop"),
        ({"min_tokens": 4, "max_tokens": 3}, "Hello there and", "length"),
        ({"min_tokens": 4, "stop": " there"}, "Hello", "stop"),
    ],
)
def test_an_answer_ends_after_so_many_tokens_at_the_earliest(fields: Json, text: str, finish: str) -> None:
    with running(SHORT) as url:
        entry = '[models.m]\nupstream = "u"\nmodel = "any"\n'
        with gateway(f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{url}"\n{entry}') as served:
            body = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}], **fields}
            answer = post(served, "/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    (choice,) = answer.json["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, finish)
