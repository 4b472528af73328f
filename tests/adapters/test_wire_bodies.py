"""The bytes of each kind of ask on each wire format, as `wire_bodies.json` has them: nothing changes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.types import Ask, Echo, Generate, Message, Prefix, Reveal, Sampling, Score

CHAT = (Message("system", "be brief"), Message("user", "Hello"))
TEXT, IDS = Prefix("Q:", b" a"), Prefix("Q:", b" a", ids=(3, 1))
DRAWN = Sampling(0.7, 0.9, 11)
FULL: Mapping[str, object] = {"token_ids": True, "echo": True, "reveal": "ids"}
NATIVE: Mapping[str, object] = {
    "path": "/completion",
    "decoder": "llama_native",
    "length_field": "n_predict",
    "logprobs_kind": "n_probs",
    "token_ids": True,
    "reveal": "bias",
}
RESPONSES: Mapping[str, object] = {
    "path": "/responses",
    "decoder": "openai_responses",
    "length_field": "max_output_tokens",
    "logprobs_kind": "include",
    "min_output": 16,
    "seed_field": "",
}
BEGUN = Prefix("", b"The capital of Alb", CHAT)
CASES: Mapping[str, tuple[str, Mapping[str, object], Ask]] = {
    "completions, greedy": ("completions", FULL, Generate("m", Prefix("Q:", "é so".encode()), 30, 8)),
    "completions, drawn": ("completions", FULL, Generate("m", Prefix("Q:"), 30, 8, DRAWN)),
    "completions, ids": ("completions", FULL, Generate("m", Prefix("Q:", ids=(3, 1, 4)), 30, 8)),
    "completions, echo": ("completions", FULL, Echo("m", TEXT, 30, b" b c", length=3)),
    "completions, echo of ids": ("completions", FULL, Echo("m", IDS, 30, b" b c", (5, 6), 3)),
    "completions, score": ("completions", FULL, Score("m", b"whole text", 30)),
    "completions, score of ids": ("completions", FULL, Score("m", b"whole text", 30, (3, 1))),
    "completions, reveal": ("completions", FULL, Reveal("m", TEXT, 30, (7,))),
    "llama.cpp, greedy": ("completions", NATIVE, Generate("m", Prefix("Q:"), 30, 8)),
    "llama.cpp, reveal": ("completions", NATIVE, Reveal("m", IDS, 30, (7,))),
    "chat_prefill, greedy": (
        "chat_prefill",
        {"prefill": "flag_pair"},
        Generate("m", Prefix("", b"The capital ", CHAT), 30, 4),
    ),
    "chat_prefill, drawn": (
        "chat_prefill",
        {"prefill": "prefix", "trims": True},
        Generate("m", Prefix("", b"The capital ", CHAT), 30, 4, DRAWN),
    ),
    "chat_continue, replay": ("chat_continue", {}, Generate("m", BEGUN, 30, 4)),
    "chat_continue, instruct": ("chat_continue", {}, Generate("m", BEGUN, 30, 4, way=1)),
    "chat_continue, draft": ("chat_continue", {}, Generate("m", BEGUN, 30, 4, DRAWN, 2)),
    "responses, greedy": ("chat_continue", RESPONSES, Generate("m", Prefix("", messages=CHAT), 30, 4)),
}

SENT: Mapping[str, list[object]] = json.loads(Path(__file__).with_name("wire_bodies.json").read_text(encoding="utf-8"))
"""Path and body of each, with its fields in the order in which they are sent."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_sent(name: str) -> None:
    adapter, options, ask = CASES[name]
    request = load_adapter(adapter, **options).encode(ask)
    assert json.dumps([request.path, request.body]) == json.dumps(SENT[name])


def test_each_kind_of_ask_is_sent() -> None:
    assert {type(ask) for _, _, ask in CASES.values()} == {Generate, Echo, Score, Reveal}
    assert CASES.keys() == SENT.keys()
