"""A prompt that does not fit into a context is told as OpenAI tells it, before the upstream is asked for anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blackbox_proxy.standin import running
from blackbox_proxy.standin.faults import Traffic
from tests.gateway.serving import CONTEXT, config_text, gateway
from tests.standin.raw import Json, post
from tests.tiny_gguf import TinyModel

ROOM = 64
LONG, TOO_LONG = "the " * 80, "the " * 500


@dataclass(frozen=True, slots=True)
class Narrow:
    """A gateway whose pair holds fewer tokens than its upstream, which counts its requests."""

    url: str
    traffic: Traffic

    def ask(self, model: str, prompt: str, **fields: Json) -> tuple[Json, int]:
        """The reply to a completion, and how many requests it took."""
        before = self.traffic.total
        body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 3, **fields}
        answer = post(self.url, "/v1/completions", body)
        return answer, self.traffic.total - before


@pytest.fixture(scope="module")
def narrow(closed: TinyModel, tiny_bpe: TinyModel, tiny_lora: Path, tiny_folder: Path) -> Iterator[Narrow]:
    traffic, pair = Traffic(), tiny_folder / "narrow-pair.toml"
    pair.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = {ROOM}\n')
    with (
        running(closed.path, name="tiny", context=CONTEXT, top_k=20, traffic=traffic) as url,
        gateway(config_text(url, pair=pair, tokenizer=f"gguf:{closed.path}")) as served,
    ):
        yield Narrow(served, traffic)


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"n": 2}], ids=str)
def test_a_prompt_that_the_pair_cannot_hold_costs_nothing(narrow: Narrow, fields: Json) -> None:
    answer, requests = narrow.ask("steered", LONG, **fields)
    assert (answer.status, requests) == (400, 0)
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.error["type"] == "invalid_request_error"
    assert str(ROOM) in answer.error["message"]


def test_a_chat_too(narrow: Narrow) -> None:
    before = narrow.traffic.total
    body = {"model": "steered", "messages": [{"role": "user", "content": LONG}], "max_tokens": 3}
    answer = post(narrow.url, "/v1/chat/completions", body)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert narrow.traffic.total == before


@pytest.mark.parametrize(("model", "steering"), [("plain", {}), ("steered", {"alpha": 0})])
def test_what_is_not_steered_needs_no_room_in_the_pair(narrow: Narrow, model: str, steering: Json) -> None:
    answer, requests = narrow.ask(model, LONG, steering=steering)
    assert (answer.status, requests) == (200, 1)


def test_what_the_upstream_cannot_hold_has_the_same_code(narrow: Narrow) -> None:
    answer, requests = narrow.ask("plain", TOO_LONG)
    assert (answer.status, answer.error["code"], requests) == (400, "context_length_exceeded", 1)


def test_an_answer_that_fills_the_pairs_context_ends_by_its_length(narrow: Narrow) -> None:
    """It is paid for, so it is given."""
    answer, requests = narrow.ask("steered", "then " * 40, max_tokens=60)
    assert answer.status == 200, answer.body
    (choice,) = answer.json["choices"]
    assert choice["finish_reason"] == "length"
    assert 0 < answer.json["usage"]["completion_tokens"] < 60
    assert requests >= 1
