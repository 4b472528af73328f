"""Nobody pays for n answers without having been told: what `auto` says before it draws whole ones, and when it does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy import Steerer, connect, open_ledger
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import ApiRefused, ReplyError
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.run import foretelling
from blackbox_proxy.standin import Journal, running
from blackbox_proxy.steering import Steering
from tests.remote.consulting import patient
from tests.remote.scripted import Say, ScriptedApi

PRICES = '[[price]]\nmodel = "toy"\ninput = 1\noutput = 2\n'
ASKED = "Say only: ok"


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own."""
    monkeypatch.setattr(foretelling, "_foretold", set())


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Ledger]:
    (tmp_path / "prices.toml").write_text(PRICES)
    with open_ledger(tmp_path / "book.sqlite", prices=tmp_path / "prices.toml") as ledger:
        yield ledger


def test_auto_says_what_it_is_expected_to_cost_before_the_first_request(
    book: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal()
    with running(patient(), name="toy", quirks=["ignored-logprobs"], journal=journal) as url:
        options = {"logprobs": False, "answers_at_once": 4}
        with connect(url, model="toy", adapter="chat_continue", options=options, ledger=book) as api:
            steerer = Steerer(api, OffsetTable({b"ok": 1.0}), Steering(max_tokens=10))
            stream = steerer.stream(ASKED)
            assert not journal.requests
            (said,) = [one for one in caplog.records if one.name == foretelling.__name__]
            assert said.levelno == logging.WARNING
            message = said.getMessage()
            assert "toy shows no log-probs" in message
            assert "up to 8 whole answers" in message
            assert "2 calls, up to 10 tokens each" in message
            # 12 bytes are 3 tokens, and 32 around them, read twice at 1 USD a million; 80 written at 2
            assert "up to about 0.00023 USD for this one" in message
            assert stream.result.exactness == "sampled"
            steerer.complete("Another question")
    assert len([one for one in caplog.records if one.name == foretelling.__name__]) == 1


@pytest.mark.parametrize(
    "steering",
    [
        Steering(way="answers", max_tokens=10),
        Steering(samples=1, max_tokens=10),
        Steering(alpha=0.0, max_tokens=10),
    ],
    ids=["asked for", "a single one", "nothing steers, so one is enough"],
)
def test_nothing_is_said_where_it_was_asked_for_or_is_no_multiple(
    steering: Steering, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(patient(), name="toy", quirks=["ignored-logprobs"]) as url,
        connect(url, model="toy", adapter="chat_continue", options={"logprobs": False}) as api,
    ):
        Steerer(api, OffsetTable({b"ok": 1.0}), steering).complete(ASKED)
    assert foretelling.__name__ not in {one.name for one in caplog.records}


def test_an_unknown_price_is_said_to_be_unknown(caplog: pytest.LogCaptureFixture) -> None:
    with (
        running(patient(), name="toy", quirks=["ignored-logprobs"]) as url,
        connect(url, model="toy", adapter="chat_continue", options={"logprobs": False}) as api,
    ):
        Steerer(api, OffsetTable({b"ok": 1.0}), Steering(max_tokens=10)).complete(ASKED)
    assert "at unknown cost" in caplog.text


@pytest.mark.parametrize(
    ("quirk", "error"), [("refused-fields=logprobs", ApiRefused), ("ignored-logprobs", ReplyError)]
)
@pytest.mark.parametrize("adapter", ["completions", "chat_continue"])
def test_an_endpoint_that_turns_out_to_show_none_says_what_to_do_next(
    quirk: str, error: type[Exception], adapter: str
) -> None:
    """`auto` does not begin to draw answers by itself: it was not known, and so not said what that costs."""
    journal = Journal()
    with (
        running(patient(), name="toy", quirks=[quirk], journal=journal) as url,
        connect(url, model="toy", adapter=adapter) as api,
    ):
        with pytest.raises(error) as caught:
            Steerer(api, OffsetTable({b"ok": 1.0}), Steering(max_tokens=10)).complete(ASKED)
    assert len(journal.requests) == 1
    hint = str(getattr(caught.value, "hint", ""))
    assert "--no-logprobs" in hint
    assert "{'logprobs': False}" in hint


def test_what_is_reasoned_is_limited_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that always reasons: no temperature, the newer limit, and its hidden tokens among those written."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    usage = {"prompt_tokens": 9, "completion_tokens": 70, "total_tokens": 79}
    usage_of = {**usage, "completion_tokens_details": {"reasoning_tokens": 64}}
    choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "o3", "choices": [choice]}
    cut = {**choice, "message": {"role": "assistant", "content": ""}, "finish_reason": "length"}
    says = [Say({**body, "usage": usage_of}), Say({**body, "choices": [cut], "usage": usage_of})]
    with ScriptedApi(*says) as server, connect(server.url, model="o3", profile="openai", api_key="sk-x") as api:
        steering = Steering(samples=2, max_tokens=300)
        result = Steerer(api, OffsetTable({b"ok": 1.0}), steering).complete(ASKED)
        bodies = [seen[2] for seen in server.seen]
    assert [sent["max_completion_tokens"] for sent in bodies] == [300, 300]
    assert all(not sent.keys() & {"temperature", "top_p", "logprobs", "seed", "max_tokens", "n"} for sent in bodies)
    assert result.usage.output == 140
    assert sum(one.tokens for one in result.samples) == 140
    assert result.text == "ok"
