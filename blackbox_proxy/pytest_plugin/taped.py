"""The cassette of a test: recorded where pytest is asked to, replayed otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.opening import TapeArguments, as_arguments
from blackbox_proxy.cassettes.recording import Recorder

FOLDER = "cassettes"
"""Beside the test, where its cassettes lie."""


@contextmanager
def tape_of(request: pytest.FixtureRequest) -> Iterator[TapeArguments]:
    """The cassette that the test's marker names, as `connect` takes it."""
    path = _path(request)
    if request.config.getoption("--record-cassettes"):
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        yield as_arguments(Recorder(path))
        return
    if not path.exists():
        pytest.fail(f"{path} is not there: `pytest --record-cassettes` records it", pytrace=False)
    replay = Replay(path)
    yield as_arguments(replay)
    if replay.unused and request.config.getoption("--strict-cassettes"):
        rows = ", ".join(f"{row.path} ({row.outcome})" for row in replay.unused[:5])
        pytest.fail(f"{path}: {len(replay.unused)} recorded attempts were not asked for: {rows}", pytrace=False)


def _path(request: pytest.FixtureRequest) -> Path:
    """Raises UsageError where no marker names it."""
    marker = request.node.get_closest_marker("cassette")
    if marker is None or len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str):
        raise pytest.UsageError('the fixture `cassette` wants a name: @pytest.mark.cassette("name")')
    name: str = marker.args[0]
    return Path(request.path.parent / FOLDER / (name if name.endswith((".jsonl", ".jsonl.gz")) else f"{name}.jsonl"))
