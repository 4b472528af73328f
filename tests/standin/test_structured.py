"""Structured output of the stand-in: a schema is obeyed on both routes, and what cannot be obeyed is refused."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from blackbox_proxy.errors import ApiRefused
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.standin import running
from blackbox_proxy.types import WireRequest
from blackbox_proxy_adapters.forced import demand
from tests.remote.consulting import patient

TURNS = [{"role": "user", "content": "Hello"}]
BEGUN = 'So "be" it,\n1+1'


@pytest.fixture(scope="module")
def transport() -> Iterator[Transport]:
    with running(patient(), name="toy") as url, Transport(url, None) as opened:
        yield opened


def asked(transport: Transport, form: Mapping[str, object], *, length: int = 48) -> tuple[str, Any]:
    """The text of a chat's answer, and its entries of log-probs."""
    body = {"model": "toy", "messages": TURNS, "max_tokens": length, "temperature": 0, "logprobs": True}
    reply: Any = transport.send(WireRequest("/chat/completions", {**body, "top_logprobs": 5, **form}))
    choice = reply["choices"][0]
    return choice["message"]["content"], choice["logprobs"]["content"]


def test_a_pattern_is_obeyed_and_the_rest_is_free(transport: Transport) -> None:
    text, content = asked(transport, demand(BEGUN, "pattern", responses=False))
    said = json.loads(text + '"}')
    assert said["answer"].startswith(BEGUN)
    assert len(said["answer"]) > len(BEGUN)
    forced = [entry for entry in content if entry["logprob"] < entry["top_logprobs"][0]["logprob"]]
    assert forced, "log-probs are those before the mask"


def test_a_constant_and_an_object_are_obeyed(transport: Transport) -> None:
    text, _ = asked(transport, demand(BEGUN, "const", responses=False), length=64)
    said = json.loads(text + '"}')
    assert list(said) == ["begun", "answer"]
    assert said["begun"] == BEGUN
    text, _ = asked(transport, {"response_format": {"type": "json_object"}}, length=4)
    assert text.lstrip().startswith("{")


def test_a_whole_answer_ends_behind_its_object(transport: Transport) -> None:
    schema = {"type": "object", "properties": {"n": {"const": 5}}, "required": ["n"], "additionalProperties": False}
    form = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
    text, _ = asked(transport, form)
    assert json.loads(text) == {"n": 5}


def test_responses_spell_it_otherwise(transport: Transport) -> None:
    body = {"model": "toy", "input": "Hello", "max_output_tokens": 48, **demand("So", "pattern", responses=True)}
    reply: Any = transport.send(WireRequest("/responses", body))
    assert json.loads(reply["output"][0]["content"][0]["text"] + '"}')["answer"].startswith("So")


def test_after_the_mask_what_is_forced_is_certain() -> None:
    with running(patient(), name="toy", quirks=("masked-logps",)) as url, Transport(url, None) as transport:
        _, content = asked(transport, demand("So be it", "pattern", responses=False))
    assert all(entry["logprob"] == entry["top_logprobs"][0]["logprob"] for entry in content)
    assert math.exp(content[0]["logprob"]) == pytest.approx(1.0)


def test_what_is_spelt_freely_is_the_same_text_and_ends_where_it_should() -> None:
    """Of the const form too; and what cannot be obeyed is refused as ever."""
    with running(patient(), name="toy", quirks=("free-forced",)) as url, Transport(url, None) as transport:
        text, _ = asked(transport, demand(BEGUN, "const", responses=False), length=64)
        assert json.loads(text + '"}')["begun"] == BEGUN
        unknown = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "no such"}}}
        with pytest.raises(ApiRefused, match="Invalid schema"):
            asked(transport, {"response_format": unknown})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "no such"}}}, "Invalid schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": 5}}, "json_schema.schema"),
        ({"type": "xml"}, "Supported: 'json_schema'"),
        (5, "response_format"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(transport: Transport, form: object, words: str) -> None:
    with pytest.raises(ApiRefused, match=words):
        asked(transport, {"response_format": form})


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with running(patient(), name="toy") as url, Transport(url, None) as transport:
        with pytest.raises(ApiRefused, match=r"needs llguidance.*blackbox-proxy\[structured\]"):
            asked(transport, demand("So", "pattern", responses=False))
