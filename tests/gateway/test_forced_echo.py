"""Loglikelihoods by `echo` over a chat without prefill, whose structured output demands the text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blackbox_proxy.standin import running
from tests.fault_bench import END, toy_script
from tests.gateway.serving import gateway
from tests.standin.raw import Json, post

TEXT = " red green grey grey blue"
ASKED: Json = {"prompt": TEXT, "max_tokens": 1, "temperature": 0, "logprobs": 2, "echo": True}


def model(name: str, upstream: str, options: str) -> str:
    return f'[models.{name}]\nupstream = "{upstream}"\nmodel = "toy"\noptions = {{ {options} }}\n'


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    ends = f'end_pieces = ["{END.decode()}"], top_k = 6'
    forced = f'{ends}, structured = "pattern"'
    with running(toy_script(), name="toy") as raw, running(toy_script(), name="toy", quirks=("no-prefill",)) as chat:
        continued = f'[upstreams.chat]\nbase_url = "{chat}"\nadapter = "chat_continue"\n'
        head = f'[server]\nport = 0\n[upstreams.raw]\nbase_url = "{raw}"\n{continued}'
        models = (
            model("raw", "raw", f"{ends}, echo = true"),
            model("forced", "chat", f'{forced}, structured_logprobs = "before"'),
            model("masked", "chat", forced),
        )
        with gateway(head + "".join(models)) as url:
            yield url


def told(url: str, name: str) -> Json:
    answer = post(url, "/v1/completions", {**ASKED, "model": name})
    assert answer.status == 200, answer.body
    return answer.json["choices"][0]["logprobs"]


def test_they_are_those_of_raw_text_where_the_frame_does_not_count(served: str) -> None:
    forced, raw = told(served, "forced"), told(served, "raw")
    count = len(raw["tokens"]) - 1
    assert forced["tokens"][:count] == raw["tokens"][:count]
    assert (raw["token_logprobs"][0], forced["token_logprobs"][0] < 0.0) == (None, True)
    assert forced["token_logprobs"][1:count] == pytest.approx(raw["token_logprobs"][1:count], abs=1e-4)


def test_a_chat_of_which_the_side_of_the_mask_is_not_known_scores_nothing(served: str) -> None:
    answer = post(served, "/v1/completions", {**ASKED, "model": "masked"})
    assert answer.status == 400
    assert "log-probs" in answer.json["error"]["message"]
