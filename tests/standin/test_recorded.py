"""A cassette that is served: what was recorded comes back byte by byte, faults too; everything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from blackbox_proxy import OffsetTable, Steerer, Steering, connect
from blackbox_proxy.cassettes.commands import check
from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.reading import rows_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.standin import Journal, running, scenario_of
from tests.standin.raw import call, post

QUESTION = "What is the capital of Albania?"
STEERING = Steering(max_tokens=8)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A steered run with a 429 and a reset in it."""
    path = tmp_path_factory.mktemp("tape") / "run.jsonl"
    said = ["The capital is", {"token": " Tirana", "p": 0.6, "others": {" Durres": 0.3}}, "."]
    source = scenario_of({QUESTION: {"said": said}})
    with running(source, quirks=["faults=429:0,reset"]) as url, connect(url, model="closed", record=path) as api:
        result = Steerer(api, OffsetTable({b" Durres": 3.0}), STEERING).complete(QUESTION)
    assert result.text == "The capital is Durres."
    return path


def test_a_run_over_http_is_the_one_that_was_recorded(tape: Path) -> None:
    """The client retries as it did, and the top-k at each place is the recorded one."""
    with running(Replay(tape)) as url, connect(url, model="closed") as api:
        result = Steerer(api, OffsetTable({b" Durres": 3.0}), STEERING).complete(QUESTION)
    with connect(model="closed", replay=tape) as api:
        replayed = Steerer(api, OffsetTable({b" Durres": 3.0}), STEERING).complete(QUESTION)
    assert result.text == replayed.text == "The capital is Durres."
    assert [step.candidates for step in result.steps] == [step.candidates for step in replayed.steps]
    assert set(check(tape).outcomes) == {"200", "429", "connection"}


def test_what_was_not_recorded_is_refused_with_the_nearest(tape: Path) -> None:
    with running(Replay(tape)) as url:
        answer = post(url, "/v1/completions", {"model": "closed", "prompt": "Something else"})
    assert answer.status == 400
    assert answer.error["code"] == "unexpected_request"
    assert "the nearest (line 2) differs in prompt" in answer.error["message"]


def test_a_recording_that_is_used_up_is_refused_until_the_stand_in_is_reset(tape: Path) -> None:
    last = [row for _, row in rows_of(tape)][-1]
    with running(Replay(tape), journal=Journal(), admin=True) as url:
        answers = [post(url, f"/v1{last.path}", last.body) for _ in range(2)]
        assert call(url, "/__standin/reset", method="POST").status == 200
        answers.append(post(url, f"/v1{last.path}", last.body))
        assert call(url, "/v1/models").json["data"][0]["id"] == "closed"
    assert [answer.status for answer in answers] == [200, 400, 200]
    assert answers[0].body == answers[2].body == last.raw
    assert "and it is sent again" in answers[1].error["message"]


def test_a_cassette_has_no_quirks_but_those_of_the_transport(tape: Path) -> None:
    with pytest.raises(InputError, match="as it was recorded, without no-top"):
        running(Replay(tape), quirks=["no-top"]).__enter__()
    with running(Replay(tape), quirks=["faults=503"]) as url:
        assert post(url, "/v1/completions", {"model": "closed", "prompt": "x"}).status == 503
