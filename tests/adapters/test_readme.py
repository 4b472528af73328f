"""The adapter that adapters/README.md shows works as it stands there, under the door that it names."""

from __future__ import annotations

import math
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from blackbox_proxy.remote.registry import GROUP, find_adapter, make_adapter
from blackbox_proxy.types import Ask, Candidate, Kind, Usage

README = Path(__file__).parents[2] / "adapters" / "README.md"
ASK = Ask(model="m", prompt="Q", answer=b" 1", length=2, top_k=2)


def _block(language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """The entry point of the toml block; the module that it names holds the python block."""
    [(name, value)] = tomllib.loads(_block("toml"))["project"]["entry-points"][GROUP].items()
    path = tmp_path / (value.partition(":")[0].replace(".", "/") + ".py")
    path.parent.mkdir()
    path.write_text(_block("python"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return EntryPoint(name, value, GROUP)


def _row(token: int, piece: bytes, logprob: float, *top: dict[str, object]) -> dict[str, object]:
    row: dict[str, object] = {
        "id": token,
        "token": piece.decode(errors="ignore"),
        "bytes": list(piece),
        "logprob": logprob,
    }
    return {**row, "top_logprobs": list(top)} if top else row


def test_it_asks_and_reads(entry: EntryPoint) -> None:
    adapter = make_adapter(find_adapter("llama_server", [entry]), {"ends": (2,)})
    assert adapter.encode(ASK).path == "/completion"
    assert adapter.encode(ASK).body["prompt"] == "Q 1"
    fragment = _row(5, b"\xe2\x80", -0.25, _row(5, b"\xe2\x80", -0.25), _row(6, b"b", -2.0))
    end = _row(2, b"", -0.5, _row(2, b"", -0.5), _row(7, b"c", -3.4028234663852886e38))
    reply = adapter.decode(
        {"completion_probabilities": [fragment, end], "stop_type": "eos", "tokens_evaluated": 3, "tokens_predicted": 2},
        ASK,
    )
    first, second = reply.positions
    assert first.sampled == Candidate(b"\xe2\x80", -0.25, Kind.FRAGMENT, 5)
    assert first.ceiling == -2.0
    assert first.tail == pytest.approx(1 - math.exp(-0.25) - math.exp(-2.0))
    assert second.top == (Candidate(b"", -0.5, Kind.END, 2),)
    assert reply.finish == "stop"
    assert reply.usage == Usage(input=3, output=2, requests=1)


def test_it_keeps_its_promise_of_60_lines() -> None:
    assert len(_block("python").splitlines()) <= 60
