"""Processes of one run, Ray's among them, told from all others by a mark in their environment."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.batching.worlds import PRICES

SECONDS = 3600.0

MARK = "BATCH_TEST_MARK"
"""An environment variable that tells a run's processes, Ray's among them, from all others."""

RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: `make contracts` has it"
)


def environ(folder: Path, mark: str) -> Mapping[str, str]:
    """The environment of a run whose settings and state lie in a folder."""
    homes = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_STATE_HOME": str(folder / "state")}
    # Ray makes its workers the last to be served (nice 15), which a busy machine never comes to.
    return {**os.environ, **homes, MARK: mark, "RAY_worker_niceness": "0"}


def write_prices(folder: Path) -> None:
    """Prices where a run of `environ` reads them."""
    config = folder / "config" / "blackbox-proxy"
    config.mkdir(parents=True)
    (config / "prices.toml").write_text(PRICES, encoding="utf-8")


def marked(mark: str) -> Iterator[tuple[int, str]]:
    """Processes that have the mark in their environment, with their names."""
    sought = f"{MARK}={mark}".encode()
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(place.name)
            if sought in (place / "environ").read_bytes():
                yield pid, (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()


def pids(mark: str, name: str) -> list[int]:
    """A run's processes of a name."""
    return [pid for pid, shown in marked(mark) if shown.startswith(name)]


def kill_all(mark: str) -> None:
    """Kill what is left of a run."""
    for pid, _ in marked(mark):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
