"""A schema where nothing is steered: the upstream that knows schemas is given it, in one call, and is not believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from blackbox_proxy import OffsetTable, Steerer, connect
from blackbox_proxy.constraints import JsonSchema
from blackbox_proxy.core.decoding.acceptors import constrained_step
from blackbox_proxy.core.decoding.api_answer import SchemaDemand, demanded_answer
from blackbox_proxy.core.events import ApiDraft, Ending, Evidence, Run
from blackbox_proxy.errors import Unsatisfied
from blackbox_proxy.guidance import is_allowed
from blackbox_proxy.standin import Journal, Traffic
from blackbox_proxy.standin import running as standing_in
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Candidate, Kind, Position, Reply, Result, Usage
from blackbox_proxy_adapters.demands import is_closed
from tests.gateway.serving import CONTEXT, gateway
from tests.standin.raw import Answer, Json, post
from tests.tiny_gguf import TinyModel

SCHEMA: Json = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["kind", "legs"],
    "additionalProperties": False,
}
FORMAT: Json = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def fits(text: str) -> bool:
    value = json.loads(text)
    return set(value) == {"kind", "legs"} and value["kind"] in {"cat", "dog"} and 0 <= value["legs"] <= 9


class Upstream(NamedTuple):
    """A gateway, and what was asked of its upstream."""

    url: str
    traffic: Traffic

    def ask(self, model: str, **fields: Json) -> tuple[Answer, int]:
        """The reply, and how many requests it took."""
        before = self.traffic.total
        messages = [{"role": "user", "content": "the then"}]
        body = {"model": model, "messages": messages, "max_tokens": 60, "response_format": FORMAT, **fields}
        return post(self.url, "/v1/chat/completions", body), self.traffic.total - before


@contextmanager
def upstream_of(
    closed: TinyModel, pair: Path, *quirks: str, adapter: str = "chat_prefill", options: str = "schemas = true"
) -> Iterator[Upstream]:
    traffic = Traffic()
    with standing_in(closed.path, name="tiny", context=CONTEXT, top_k=20, traffic=traffic, quirks=quirks) as api:
        shared = f'upstream = "u"\nmodel = "tiny"\noptions = {{ {options} }}\n'
        text = (
            f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{api}"\nadapter = "{adapter}"\nattempts = 1\n'
            f'[models.plain]\n{shared}[models.steered]\n{shared}pair = "{pair}"\n'
        )
        with gateway(text) as url:
            yield Upstream(url, traffic)


@pytest.mark.parametrize(
    ("model", "fields", "native"),
    [
        ("plain", {}, True),
        ("plain", {"temperature": 1, "seed": 3}, True),
        ("plain", {"stream": True}, True),
        ("steered", {"steering": {"alpha": 0}}, True),
        ("steered", {}, False),
        ("steered", {"steering": {"alpha": 0}, "presence_penalty": 1}, False),
        ("steered", {"steering": {"alpha": 0}, "temperature": 1, "min_p": 0.1, "seed": 3}, False),
        ("steered", {"steering": {"alpha": 0}, "stop": "zzz"}, False),
    ],
)
def test_what_is_not_steered_is_held_to_a_schema_in_one_call(
    closed: TinyModel, pair_file: Path, model: str, fields: Json, *, native: bool
) -> None:
    with upstream_of(closed, pair_file) as upstream:
        answer, requests = upstream.ask(model, **fields)
    assert answer.status == 200, answer.body
    if "stream" in fields:
        chunks = [json.loads(event)["choices"][0] for event in answer.events[:-1]]
        text = "".join(chunk["delta"].get("content") or "" for chunk in chunks)
    else:
        text = answer.json["choices"][0]["message"]["content"]
        assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert fits(text)
    assert (requests == 1) == native, requests


def test_an_upstream_that_is_said_to_know_none_is_not_given_one(closed: TinyModel, pair_file: Path) -> None:
    with upstream_of(closed, pair_file, options="schemas = false") as upstream:
        answer, requests = upstream.ask("steered", steering={"alpha": 0})
    assert fits(answer.json["choices"][0]["message"]["content"])
    assert requests > 1


@pytest.mark.parametrize("quirk", ["ignored-format", "no-formatted-logprobs"])
@pytest.mark.parametrize("temperature", [0, 1])
def test_an_upstream_that_ignores_or_refuses_it_is_held_to_it_here(
    closed: TinyModel, pair_file: Path, quirk: str, temperature: int
) -> None:
    with upstream_of(closed, pair_file, quirk) as upstream:
        # A pair knows strings that may follow; without one a place where the upstream shows none is an error.
        answer, requests = upstream.ask("steered", temperature=temperature, seed=1, steering={"alpha": 0})
    assert fits(answer.json["choices"][0]["message"]["content"])
    assert requests > 1


def test_an_answer_that_is_cut_is_the_beginning_of_one(closed: TinyModel, pair_file: Path) -> None:
    with upstream_of(closed, pair_file) as upstream:
        answer, requests = upstream.ask("plain", max_tokens=5)
    (choice,) = answer.json["choices"]
    assert (choice["finish_reason"], requests) == ("length", 1)
    assert is_allowed(JsonSchema.of(SCHEMA), choice["message"]["content"].encode(), whole=False)


@pytest.mark.parametrize(
    ("text", "whole", "allowed"),
    [
        ('{"kind": "cat", "legs": 4}', True, True),
        ('{"kind":"cat",\n  "legs" : 4}\n', True, True),
        ('{"kind": "cat"', False, True),
        ("", False, True),
        ('{"kind": "cat"', True, False),
        ("", True, False),
        ('{"kind": "cow"', False, False),
        ('{"kind": "cat", "legs": 4} and more', True, False),
        ('Here it is: {"kind": "cat", "legs": 4}', True, False),
    ],
)
def test_which_texts_hold_to_a_schema(text: str, *, whole: bool, allowed: bool) -> None:
    assert is_allowed(JsonSchema.of(SCHEMA), text.encode(), whole=whole) == allowed


def _reply(text: str, finish: str) -> Reply:
    said = [Candidate(text.encode(), -0.1), *([Candidate(b"</s>", -0.1, Kind.END)] if finish == "stop" else [])]
    return Reply(tuple(Position(one, (one,), 0.0, -9.0) for one in said), finish, Usage())


@pytest.mark.parametrize(
    ("reply", "remark"),
    [
        (_reply("good", "stop"), ""),
        (_reply("go", "length"), ""),
        (_reply("go", "stop"), "does not hold to the schema"),
        (_reply("bad", "length"), "does not hold to the schema"),
        (Reply((), None, Usage()), "did not take the schema"),
    ],
)
def test_what_is_wrong_is_made_anew_and_said(reply: Reply, remark: str) -> None:
    here = constrained_step(b"held here")

    def otherwise() -> Run:
        yield here
        return Ending("stop", 0, ())

    demand = SchemaDemand("{}", lambda text, whole: text == b"good" if whole else b"good".startswith(text))
    run = demanded_answer(Steering(alpha=0.0), demand, otherwise=otherwise())
    asked = next(run)
    assert isinstance(asked, ApiDraft)
    assert (asked.schema, asked.unsteered) == ("{}", True)
    steps, ending = [run.send(Evidence(replies=[reply]))], None
    while ending is None:
        try:
            steps.append(run.send(None))
        except StopIteration as stop:
            ending = stop.value
    assert (here in steps) == bool(remark)
    assert ending.wasted == (len(reply.positions) if remark else 0)
    assert any(remark in one for one in ending.remarks) if remark else ending.remarks == ()


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (SCHEMA, True),
        ({"type": "object"}, False),
        ({**SCHEMA, "additionalProperties": True}, False),
        ({**SCHEMA, "required": ["kind"]}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"type": "array", "items": SCHEMA}, True),
        ({"type": "string"}, True),
        ({"properties": {"a": {}}, "required": True}, False),
    ],
)
def test_which_schemas_are_closed(schema: Json, *, closed: bool) -> None:
    assert is_closed(schema) == closed


LOOSE: Json = {**SCHEMA, "properties": {**SCHEMA["properties"], "kind": {"type": "string", "pattern": "^(cat|dog)$"}}}


def drawn_from(
    closed: TinyModel, schema: Json, *quirks: str, schemas: bool = True, logprobs: bool = False
) -> tuple[Result | None, list[Json]]:
    """Whole answers that are held to a schema, and the bodies of the requests; None where none is allowed."""
    journal = Journal()
    options = {"schemas": schemas, "logprobs": logprobs, "top_k": 5}
    knobs = Steering(way="answers", samples=4, max_tokens=60, seed=1, constraint=JsonSchema.of(schema))
    with standing_in(closed.path, name="tiny", context=CONTEXT, top_k=20, journal=journal, quirks=quirks) as url:
        with connect(url, model="tiny", adapter="chat_prefill", options=options) as api:
            result = None
            with suppress(Unsatisfied):
                result = Steerer(api, OffsetTable({}), knobs).complete("the then")
    return result, [request.body for request in journal.requests]


@pytest.mark.parametrize("logprobs", [False, True])
def test_whole_answers_are_drawn_under_the_schema_so_that_all_are_valid(closed: TinyModel, *, logprobs: bool) -> None:
    without, bodies = drawn_from(closed, SCHEMA, schemas=False, logprobs=logprobs)
    assert all("response_format" not in body for body in bodies)
    assert without is None or sum(one.count for one in without.samples if one.allowed) < 4
    result, bodies = drawn_from(closed, SCHEMA, logprobs=logprobs)
    assert result is not None
    assert sum(one.count for one in result.samples if one.allowed) == len(bodies) == 4
    assert all(fits(one.text) for one in result.samples)
    for body in bodies:
        assert body["response_format"]["json_schema"]["schema"] == SCHEMA
        assert "logprobs" not in body, "they may be those before the mask, or after it"
    assert fits(result.text)


def test_a_schema_that_is_refused_is_left_out_of_the_draws(closed: TinyModel) -> None:
    result, bodies = drawn_from(closed, LOOSE, "no-pattern")
    assert len(bodies) == 8
    assert sum("response_format" in body for body in bodies) == 4
    assert result is None or result.usage.refused == 4
