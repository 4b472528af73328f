"""Conversations: each turn is answered as by a pair that has just been opened, and only what is new in it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running
from blackbox_proxy.local.branching import shared
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.pairfile import demo_pair
from blackbox_proxy.standin import running as standing_in
from blackbox_proxy.types import Message, Prompt, TokenPath
from tests.local.test_evaluator import Meter
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import Answer, Json, post
from tests.tiny_gguf import TinyModel

TURNS = 20
TOKENS = 6
"""Of one answer."""

SAID = ("What is the capital of France?", "And of Italy?", "Which is larger?", "Say a word about rivers.", "And hills?")
NEXT = {"token": "the", "logprob": -0.1, "bytes": list(b"the"), "top_logprobs": []}
REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "the"},
            "logprobs": {"content": [{**NEXT, "top_logprobs": [NEXT]}]},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


@dataclass(frozen=True)
class Turn:
    """What was sent, what came, and how many tokens each member read for it."""

    messages: Sequence[Json]
    text: str
    read: tuple[int, ...]


@dataclass
class Talk:
    """A gateway, its pair, and what counts the tokens that its members read."""

    url: str
    pair: Pair
    meters: Sequence[Meter]

    def ask(self, messages: Sequence[Json], **fields: Json) -> Turn:
        body = {"model": "m", "messages": messages, "temperature": 0, **fields}
        answer = post(self.url, "/v1/chat/completions", body)
        assert answer.status == 200, answer.body
        if fields.get("stream"):
            chunks = [json.loads(event)["choices"][0]["delta"] for event in answer.events[:-1]]
            text = "".join(chunk.get("content", "") for chunk in chunks)
        else:
            text = answer.json["choices"][0]["message"]["content"]
        return Turn([*messages], text, tuple(meter.spent() for meter in self.meters))

    def cold(self, messages: Sequence[Json], **fields: Json) -> Turn:
        """The answer of a pair that has read nothing."""
        for member in self.pair.members:
            member.clear()
        return self.ask(messages, **fields)

    def ids(self, messages: Sequence[Json]) -> TokenPath:
        """A chat as the pair reads it."""
        return self.pair.prompt(Prompt(messages=tuple(Message(**one) for one in messages))).expert


@contextmanager
def talking(upstream: str, pair_file: Path, monkeypatch: pytest.MonkeyPatch, *, more: str = "") -> Iterator[Talk]:
    """A gateway with one model."""
    text = f"""
[upstreams.u]
base_url = "{upstream}"
attempts = 1
{more}
[models.m]
upstream = "u"
model = "m"
pair = "{pair_file}"
template = "chatml"
steering = {{ max_tokens = {TOKENS} }}
"""
    opened: list[Pair] = []

    def kept(path: Path) -> Pair:
        opened.append(load_pair(path))
        return opened[-1]

    config = parse_config(text, where="gateway.toml", folder=Path(), environ={})
    with running(config, open_pair=kept) as url:
        (pair,) = opened
        yield Talk(url, pair, [Meter(member.context, monkeypatch) for member in pair.members])


def conversed(talk: Talk, *, at_once: int) -> list[list[Turn]]:
    """Conversations, whose turns are asked for by turns."""
    histories: list[list[Json]] = [[] for _ in range(at_once)]
    made: list[list[Turn]] = [[] for _ in range(at_once)]
    for at in range(TURNS):
        for number, (history, turns) in enumerate(zip(histories, made, strict=True)):
            history.append({"role": "user", "content": SAID[(at + number) % len(SAID)]})
            turns.append(talk.ask(history))
            history.append({"role": "assistant", "content": turns[-1].text})
    return made


def check(talk: Talk, turns: Sequence[Turn], chosen: Sequence[int]) -> None:
    """Each of the chosen turns is as from a cold start, and what the turn before it had read was not read again."""
    for at in chosen:
        turn = turns[at]
        cold = talk.cold(turn.messages)
        assert cold.text == turn.text, at
        known = shared(talk.ids(turns[at - 1].messages), talk.ids(turn.messages)) if at else 0
        for warm, anew in zip(turn.read, cold.read, strict=True):
            assert anew >= len(talk.ids(turn.messages))
            assert warm <= anew - known + TOKENS, (at, warm, anew, known)


def tiny_pair(folder: Path, model: TinyModel, lora: Path, *, context: int, slots: int) -> Path:
    path = folder / "pair.toml"
    path.write_text(f'model = "{model.path}"\nadapter = "{lora}"\ncontext = {context}\nslots = {slots}\n')
    return path


@pytest.mark.parametrize("slots", [1, 2])
def test_a_conversation_is_answered_as_from_a_cold_start_and_read_once(
    closed: TinyModel,
    tiny_bpe: TinyModel,
    tiny_lora: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slots: int,
) -> None:
    """As many conversations as there are slots, side by side; streamed it is the same text."""
    pair = tiny_pair(tmp_path, tiny_bpe, tiny_lora, context=2048, slots=slots)
    with standing_in(closed.path, name="m", context=2048, top_k=20) as url, talking(url, pair, monkeypatch) as talk:
        for turns in conversed(talk, at_once=slots):
            assert len(talk.ids(turns[-1].messages)) > 500
            check(talk, turns, range(TURNS))
            assert talk.ask(turns[-1].messages, stream=True).text == turns[-1].text
            reads = [sum(turn.read[0] for turn in turns[at : at + 5]) for at in (5, TURNS - 5)]
            assert reads[1] < 1.5 * reads[0], "a turn costs what is new in it, however long the history is"


@pytest.mark.slow
@pytest.mark.weights
def test_a_conversation_over_real_weights(slm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's pair; the upstream is its untuned model."""
    with standing_in(slm, name="m", context=1024, top_k=20) as url, talking(url, demo_pair(), monkeypatch) as talk:
        (turns,) = conversed(talk, at_once=1)
        check(talk, turns, (0, 1, TURNS - 1))
        read = sum(turn.read[0] for turn in turns)
        whole = sum(len(talk.ids(turn.messages)) for turn in turns)
        print(f"{TURNS} turns: {read} tokens read by the expert, {whole} in all prompts together")
        assert read < whole / 4


def test_a_history_beyond_the_pairs_context_is_refused_by_name(
    tiny_bpe: TinyModel, tiny_lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenAI says it, before anything is sent; the conversation goes on once it is shorter."""
    pair = tiny_pair(tmp_path, tiny_bpe, tiny_lora, context=256, slots=1)
    history: list[Json] = []

    def asked(url: str) -> list[Answer]:
        body = {"model": "m", "messages": history, "temperature": 0, "max_tokens": 1}
        return [post(url, "/v1/chat/completions", {**body, "stream": one}) for one in (False, True)]

    with ScriptedApi(*[Say(REPLY)] * 99) as api:
        with talking(api.url, pair, monkeypatch, more='adapter = "chat_prefill"') as talk:
            history.append({"role": "user", "content": SAID[0]})
            while len(talk.ids(history)) < 256:
                assert [answer.status for answer in asked(talk.url)] == [200, 200]
                history += [
                    {"role": "assistant", "content": "the"},
                    {"role": "user", "content": SAID[len(api.seen) % 5]},
                ]
            sent = len(api.seen)
            for answer in asked(talk.url):
                assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
                assert answer.error["type"] == "invalid_request_error"
                assert "maximum context length" in answer.error["message"]
                assert "256" in answer.error["message"]
            assert len(api.seen) == sent > 2
            assert talk.ask(history[-3:], max_tokens=1).text == "the"


def test_an_upstreams_own_limit_is_told_by_the_same_name() -> None:
    """Whoever's context it is."""
    over = {"error": {"message": "maximum context length is 9 tokens", "code": "context_length_exceeded"}}
    text = '[upstreams.u]\nbase_url = "{}"\n[models.plain]\nupstream = "u"\nmodel = "m"\ntemplate = "chatml"\n'
    with ScriptedApi(Say(over, 400)) as api:
        config = parse_config(text.format(api.url), where="gateway.toml", folder=Path(), environ={})
        with running(config) as url:
            answer = post(url, "/v1/completions", {"model": "plain", "prompt": "the"})
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert "maximum context length is 9 tokens" in answer.error["message"]
