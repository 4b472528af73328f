"""How the tests of the gateway start one: a configuration as text, and a server on a free port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running
from blackbox_proxy.ledger.books import Ledger
from tests.standin.raw import Answer, Json

CONTEXT = 384
WIDE = 2048


def bodies(**fields: Json) -> dict[str, Json]:
    """One question for each route that answers, by its path, with these fields besides."""
    return {
        "/v1/completions": {**fields, "prompt": "the then"},
        "/v1/chat/completions": {**fields, "messages": [{"role": "user", "content": "the then"}]},
    }


def config_text(url: str, *, pair: Path, tokenizer: str = "", server: str = "", upstream: str = "") -> str:
    """A gateway over one upstream: `steered`, `blind` (no tokenizer) and `plain` (no pair)."""
    return f"""
[server]
port = 0
{server}

[upstreams.tiny]
base_url = "{url}"
attempts = 1
{upstream}

[models.steered]
upstream = "tiny"
model = "tiny"
pair = "{pair}"
template = "chatml"
tokenizer = "{tokenizer}"
steering = {{ alpha = 0.5, max_tokens = 8 }}

[models.blind]
upstream = "tiny"
model = "tiny"
pair = "{pair}"
template = "chatml"
steering = {{ max_tokens = 8 }}

[models.plain]
upstream = "tiny"
model = "tiny"
template = "chatml"
tokenizer = "{tokenizer}"
"""


@contextmanager
def gateway(
    text: str,
    *,
    folder: Path = Path(),
    environ: Mapping[str, str] | None = None,
    ledger: Ledger | None = None,
    log: Callable[[str], object] = bool,
) -> Iterator[str]:
    """Serve what a configuration says, and give the base URL."""
    config = parse_config(text, where="gateway.toml", folder=folder, environ=environ or {})
    with running(config, environ, ledger=ledger, log=log) as url:
        yield url


def events_of(answer: Answer) -> list[Json]:
    """The events of a stream, whose names are their types."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    *blocks, rest = answer.body.decode().split("\n\n")
    assert rest == ""
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events
