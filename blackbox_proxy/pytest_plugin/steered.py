"""A gateway over a stand-in that is there already, and a pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running
from blackbox_proxy.standin.control import StandinControl

MODEL = "steered"

_CONFIG = """
[server]
port = 0
default_model = "steered"

[upstreams.standin]
base_url = "{url}"

[models.steered]
upstream = "standin"
model = "tiny"
pair = "{pair}"
"""


@final
@dataclass(frozen=True, slots=True)
class SteeredGateway:
    """A gateway that is served.

    Attributes:
        url: Its base URL, which ends in /v1.
        upstream: The hosted model behind it: what was asked of it, and how it fails.
        model: What requests call the steered model; it answers to any other name too.
    """

    url: str
    upstream: StandinControl
    model: str = MODEL


@contextmanager
def steering(standin: StandinControl, pair: Path) -> Iterator[SteeredGateway]:
    """A gateway from a background thread. pair: the file that describes it."""
    text = _CONFIG.format(url=standin.url, pair=pair.as_posix())
    config = parse_config(text, where="the gateway of `steered`", folder=pair.parent, environ={})
    with running(config) as url:
        yield SteeredGateway(url, standin)
