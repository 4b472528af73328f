"""Upstreams in order: who is asked when one fails, that no answer changes models half way, and where it is said."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running as serving
from blackbox_proxy.gateway.watching.json_log import json_lines
from blackbox_proxy.ledger.books import Ledger, open_ledger
from tests.adapters.shapes import body
from tests.gateway.test_bills import PRICES
from tests.gateway.test_json_log import rows
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import Answer, Json, call, post

CONFIG = """
[server]
port = 0
metrics = true

[upstreams.first]
base_url = "{first}"
attempts = 1
timeout = 5

[upstreams.second]
base_url = "{second}"
attempts = 1

[upstreams.third]
base_url = "{third}"
attempts = 1

[models.m]
upstream = "first"
model = "tiny"
template = "chatml"
steering = {{ draft = 1 }}
fallbacks = [{{ upstream = "second", model = "other" }}, {{ upstream = "third" }}]
"""
CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "temperature": 0.5}
DOWN = Say({"error": {"message": "no"}}, status=503)
BUSY = Say({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "3600"})
CUT = Say(cut=True)
REFUSED = Say({"error": {"message": "no", "code": "model_not_found"}}, status=404)


def word(text: str, *, finish: str = "stop") -> Say:
    return Say(body((text, -0.1, {text: -0.1, " x": -9.0}), finish=finish))


@dataclass
class Staged:
    url: str
    apis: list[ScriptedApi]
    stream: io.StringIO

    def ask(self, **fields: Json) -> Answer:
        return post(self.url, "/v1/chat/completions", {**CHAT, **fields})

    @property
    def asked(self) -> list[int]:
        """How many requests came to each upstream."""
        return [len(api.seen) for api in self.apis]


@contextmanager
def staged(*scripts: list[Say], ledger: Ledger | None = None, change: tuple[str, str] = ("", "")) -> Iterator[Staged]:
    with ExitStack() as stack:
        apis = [stack.enter_context(ScriptedApi(*script)) for script in scripts]
        urls = dict(zip(("first", "second", "third"), [api.url for api in apis], strict=True))
        text = CONFIG.format(**urls).replace(*change) if change[0] else CONFIG.format(**urls)
        config = parse_config(text, where="g.toml", folder=Path(), environ={})
        stream = io.StringIO()
        lines = stack.enter_context(json_lines(stream))
        url = stack.enter_context(serving(config, ledger=ledger, log=lines.note, watch=[lines]))
        yield Staged(url, apis, stream)


@pytest.mark.parametrize("failure", [DOWN, BUSY, CUT])
@pytest.mark.parametrize("stream", [False, True])
def test_who_fails_before_a_token_is_passed_over_and_it_is_said_everywhere(
    tmp_path: Path, failure: Say, *, stream: bool
) -> None:
    (tmp_path / "prices.toml").write_text(PRICES + PRICES.replace("tiny", "other"))
    with (
        open_ledger(tmp_path / "l.sqlite", prices=tmp_path / "prices.toml") as ledger,
        staged([failure], [word("two")], [], ledger=ledger) as stage,
    ):
        answer = stage.ask(stream=stream, **({"stream_options": {"include_usage": True}} if stream else {}))
        metrics = call(stage.url, "/metrics").body.decode()
        booked = [(row.model, row.outcome == "ok", row.tags.get("fallback")) for row in ledger.store.rows()]
    assert answer.status == 200, answer.body
    assert stage.asked == [1, 1, 0]
    if stream:
        chunks = [json.loads(event) for event in answer.events[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
        used = chunks[-1]["usage"]
    else:
        text, used = answer.json["choices"][0]["message"]["content"], answer.json["usage"]
    assert text == "two"
    assert used["steering"]["fallback"] == ["second"]
    assert used["steering"]["requests"] == 2, "what was asked in vain is told too"
    assert booked == [("tiny", False, None), ("other", True, "first")]
    assert 'blackbox_proxy_fallbacks_total{failed="first",model="m",upstream="second"} 1.0' in metrics
    (passed,), (line,) = rows(stage.stream.getvalue(), "fallback"), rows(stage.stream.getvalue(), "answer")
    assert (passed["failed"], passed["upstream"], passed["request"]) == ("first", "second", line["request"])
    assert (line["upstream"], line["asked"], line["calls"]) == ("second", "other", 2)


def test_the_order_is_that_of_the_file_and_the_last_failure_is_told() -> None:
    with staged([DOWN, DOWN], [CUT, CUT], [word("three"), BUSY]) as stage:
        third, none = stage.ask(), stage.ask()
    assert third.json["choices"][0]["message"]["content"] == "three"
    assert third.json["usage"]["steering"]["fallback"] == ["third"]
    assert (none.status, none.error["code"]) == (429, "rate_limit_exceeded")
    assert stage.asked == [2, 2, 2]
    ended = rows(stage.stream.getvalue(), "answer")
    assert [(row["upstream"], row["finish"]) for row in ended] == [("third", "stop"), ("third", "error")]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_has_begun_never_changes_models(*, stream: bool) -> None:
    """One token came from the first; then it dies. The second is not asked, of a whole reply either."""
    steered = ("steering = { draft = 1 }", "steering = { draft = 1, presence_penalty = 0.5 }")
    with staged([word("one", finish="length"), DOWN], [word("two")], [], change=steered) as stage:
        answer = stage.ask(stream=stream, max_tokens=3)
    assert stage.asked == [2, 0, 0]
    if stream:
        *_, error, done = answer.events
        assert (json.loads(error)["error"]["code"], done) == ("upstream_unavailable", "[DONE]")
    else:
        assert (answer.status, answer.error["code"]) == (502, "upstream_unavailable")


def test_what_another_upstream_would_refuse_too_is_not_passed_on() -> None:
    with staged([REFUSED], [word("two")], []) as stage:
        assert (stage.ask().status, stage.asked) == (502, [1, 0, 0])


def test_where_the_first_answers_nobody_else_is_asked() -> None:
    with staged([word("one")], [], []) as stage:
        answer = stage.ask()
    assert answer.json["usage"]["steering"]["fallback"] == [None]
    assert stage.asked == [1, 0, 0]


def test_log_probs_of_a_text_are_one_models_alone() -> None:
    """Another's would be another measurement under the same name."""
    echo = ('template = "chatml"', 'template = "chatml"\noptions = { echo = true }')
    asked: Json = {"model": "m", "prompt": "The sky", "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}
    with staged([DOWN], [word("two")], [], change=echo) as stage:
        assert post(stage.url, "/v1/completions", asked).status == 502
        assert stage.asked == [1, 0, 0]


def test_each_of_several_answers_says_who_gave_it() -> None:
    with staged([word("one"), DOWN], [word("two")], []) as stage:
        answer = stage.ask(n=2)
    said = {choice["message"]["content"] for choice in answer.json["choices"]}
    assert said == {"one", "two"}
    assert sorted(answer.json["usage"]["steering"]["fallback"], key=str) == [None, "second"]


def test_a_fallback_to_nowhere_is_a_mistake_with_its_line() -> None:
    text = CONFIG.format(first="http://127.0.0.1:9/v1", second="http://127.0.0.1:9/v1", third="http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match=r"line \d+: models\.m\.fallbacks: there is no \[upstreams\.fourth\]"):
        parse_config(text.replace('"third" }]', '"fourth" }]'), where="g.toml", folder=Path(), environ={})
