"""How long an answer may be: what nobody limits goes on to the upstream's end or context, or while a budget pays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import ApiBusy, ApiRefused, PromptError
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.remote.lengths import SHORT, fewer_tokens
from blackbox_proxy.standin import Script, Traffic, script
from blackbox_proxy.standin import running as standing_in
from tests.gateway.serving import gateway
from tests.standin.raw import Json, post

WORDS = [f"w{i:03d} ".encode() for i in range(300)]
"""What the model says, each word once: longer than 256 tokens, and not longer than its context."""

WHOLE = b"".join(WORDS).decode().rstrip()
PROMPT = b"#"
CHATS = "{% for m in messages %}#{{ m.content }}{% endfor %}"


def long_script(*, context: int) -> Script:
    chain = dict(zip([PROMPT, *WORDS], [*WORDS, b"</s>"], strict=True))
    distributions = {before: {after: 1.0} for before, after in chain.items()}
    return script([*WORDS, PROMPT], [b"</s>"], {b"": {b"</s>": 1.0}, **distributions}, template=CHATS, context=context)


class LongWinded(NamedTuple):
    """A gateway over a model with much to say, and what was asked of that."""

    url: str
    traffic: Traffic

    def chat(self, **fields: Json) -> Json:
        return post(self.url, "/v1/chat/completions", {"messages": [{"role": "user", "content": ""}], **fields})


@contextmanager
def long_winded(
    *, context: int = 4096, adapter: str = "chat_prefill", ledger: Ledger | None = None, more: str = ""
) -> Iterator[LongWinded]:
    traffic = Traffic()
    with standing_in(long_script(context=context), name="toy", top_k=5, traffic=traffic) as api:
        text = f"""
[server]
port = 0
[upstreams.one]
base_url = "{api}"
adapter = "{adapter}"
[models.toy]
upstream = "one"
model = "toy"
{more}
options = {{ end_pieces = ["</s>"], top_k = 5 }}
"""
        with gateway(text, ledger=ledger) as url:
            yield LongWinded(url, traffic)


@pytest.mark.parametrize("limit", [{}, {"max_tokens": None}, {"max_completion_tokens": None, "max_tokens": 400}])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_nobody_limits_comes_whole(limit: Json, *, stream: bool) -> None:
    """As a client that rewrites a whole file needs it."""
    with long_winded() as toy:
        answer = toy.chat(**limit, stream=stream)
        assert answer.status == 200, answer.body
        if stream:
            chunks = [json.loads(event)["choices"][0] for event in answer.events[:-1]]
            text, finish = "".join(c["delta"].get("content") or "" for c in chunks), chunks[-1]["finish_reason"]
        else:
            (choice,) = answer.json["choices"]
            text, finish = choice["message"]["content"], choice["finish_reason"]
    assert (text.rstrip(), finish) == (WHOLE, "stop")


def test_it_ends_where_the_upstreams_context_does() -> None:
    with long_winded(context=120) as toy:
        (choice,) = toy.chat().json["choices"]
        assert WHOLE.startswith(choice["message"]["content"])
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"].split()[-1] == "w118", "all of the context but the prompt"
        assert toy.traffic.total == 2, "one request that is refused, and one for what there is room for"


def test_a_limit_of_the_models_own_holds_where_a_request_has_none() -> None:
    with long_winded(more="steering = { max_tokens = 7 }") as toy:
        assert toy.chat().json["usage"]["completion_tokens"] == 7
        assert toy.chat(max_tokens=9).json["usage"]["completion_tokens"] == 9


def test_the_legacy_route_has_sixteen_tokens_where_nobody_says() -> None:
    with long_winded(adapter="completions", more='template = "raw"') as toy:
        for limit in ({}, {"max_tokens": None}):
            answer = post(toy.url, "/v1/completions", {"prompt": "#", **limit})
            assert answer.json["usage"]["completion_tokens"] == 16


PRICES = '[[price]]\nmodel = "toy"\nsince = 2026-01-01\ninput = 0\noutput = 1000\n'
"""A tenth of a cent a token, so that a cent pays for ten."""


@pytest.mark.parametrize(("dollars", "tokens"), [("0.010", 10), ("0.1234", 123), ("1000", 300)])
def test_a_budget_cuts_what_it_cannot_pay_and_says_so(tmp_path: Path, dollars: str, tokens: int) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    budget = Budget(max_cost=Decimal(dollars), per="day")
    with open_ledger(tmp_path / "l.sqlite", budgets=[budget], prices=tmp_path / "prices.toml") as ledger:
        with long_winded(ledger=ledger) as toy:
            answer = toy.chat().json
            used = answer["usage"]
            assert len(answer["choices"][0]["message"]["content"].split()) == tokens
            assert used["steering"]["finish"] == ["stop" if tokens == len(WORDS) else "budget"]
            assert answer["choices"][0]["finish_reason"] == ("stop" if tokens == len(WORDS) else "length")
            assert Decimal(used["steering"]["cost_usd"]) <= budget.max_cost  # type: ignore[operator]
            over = toy.chat()
            assert (over.status == 429) == (tokens < len(WORDS)), over.body


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_tokens": 9000}, "max_tokens 9000: this server allows 4096 (`max_tokens` of [server])"),
        ({"max_completion_tokens": 4097}, "max_completion_tokens 4097: this server allows 4096 (`max_tokens`"),
        ({"n": 17}, "17 answers: this server allows 16 (`max_answers` of [server])"),
        ({"messages": [{"role": "user", "content": "x" * 99}]}, "99 characters: this server allows 50 (`max_prompt`"),
    ],
)
def test_a_refusal_names_the_limit_of_the_configuration(change: Json, says: str) -> None:
    with gateway(
        '[server]\nport = 0\nmax_tokens = 4096\nmax_prompt = 50\n[upstreams.u]\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[models.m]\nupstream = "u"\nmodel = "m"\n'
    ) as url:
        refused = post(url, "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], **change})
        assert (refused.status, refused.error["param"]) == (400, next(iter(change)))
        assert says in refused.error["message"]
        assert "`max_body` of [server]" in post(url, "/v1/completions", {"prompt": "x" * 5_000_000}).error["message"]


OPENAI = (
    "This model's maximum context length is 4096 tokens. However, you requested {asked} tokens ({prompt} in the "
    "messages, {length} in the completion). Please reduce the length."
)
NEWER = (
    "'max_tokens' or 'max_completion_tokens' is too large: {length}. This model's maximum context length is 4096 "
    "tokens and your request has {prompt} input tokens ({length} > 4096 - {prompt})."
)
TOGETHER = "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: {prompt} `inputs` tokens and {length} `max_new"


@pytest.mark.parametrize("words", [OPENAI, NEWER, TOGETHER])
@pytest.mark.parametrize(("prompt", "length"), [(1000, 32_768), (1, 4096), (3000, 1097)])
def test_what_an_endpoint_says_of_its_room_is_read(words: str, prompt: int, length: int) -> None:
    said = words.format(asked=prompt + length, prompt=prompt, length=length)
    error = PromptError(f"the prompt does not fit into the model's context: {said}", context="api")
    assert fewer_tokens(length, error) == 4096 - prompt


def test_an_endpoint_without_words_is_asked_for_half_until_it_is_the_prompt_that_is_too_long() -> None:
    error, tried, length = PromptError("the prompt does not fit", context="api"), 0, 32_768
    while (fewer := fewer_tokens(length, error)) is not None:
        assert fewer == length // 2
        length, tried = fewer, tried + 1
    assert (length, tried) == (SHORT, 9)


@pytest.mark.parametrize(
    ("error", "fewer"),
    [
        (ApiRefused("the API refused (400): max_tokens is too large: 32768; at most 8192", status=400), 8192),
        (ApiRefused("the API refused (400): max_tokens: 32768 > 4096, the maximum of outputs", status=400), 4096),
        (ApiRefused("the API refused (400): 'max_tokens' is not supported with this model", status=400), None),
        (ApiRefused("the API refused (400): top_logprobs may be 5 at most", status=400), None),
        (ApiRefused("the key is wrong (401): max_tokens 5", status=401), None),
        (ApiBusy("busy: max_tokens 5", status=429), None),
        (PromptError("the prompt is empty"), None),
        (PromptError("too long: 7 tokens", context="pair"), None),
    ],
)
def test_fewer_are_asked_for_only_where_the_length_was_refused(
    error: PromptError | ApiRefused | ApiBusy, fewer: int | None
) -> None:
    assert fewer_tokens(32_768, error) == fewer
