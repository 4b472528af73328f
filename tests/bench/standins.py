"""Measures how long a fresh stand-in takes, as the fixtures of the pytest plugin have one.

    python -m tests.bench.standins [--times N]

`first_ms` is the first of a process: imports, and the server that all of them share. `fresh_ms` is each further one,
`answered_ms` one with a question answered over HTTP, by bare sockets. `gguf_ms` is one over a tiny model of random
weights; `pair_ms` opens a pair of them. Medians; `worst` are the slowest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

MOST_MS = 60.0
"""What a fresh scripted stand-in may take."""

ASKED = {"model": "any", "messages": [{"role": "user", "content": "What is the capital of Albania?"}]}
SAID = {"What is the capital of Albania?": "Tirana."}


def measured(times: int) -> dict[str, Any]:
    """Milliseconds of each."""
    begun = time.perf_counter()
    from blackbox_proxy.standin.control import StandinControl
    from blackbox_proxy.standin.hosting import hosting

    with hosting() as host, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with StandinControl(host, SAID, folder=folder):
            first = 1000 * (time.perf_counter() - begun)
        from blackbox_proxy.local.loading import load_pair
        from blackbox_proxy.testing.tiny_models import write_tiny_model, write_tiny_pair
        from tests.standin.raw import post

        def fresh() -> StandinControl:
            return StandinControl(host, SAID, folder=folder)

        def ask(standin: StandinControl) -> None:
            assert post(standin.url, f"{standin.url[standin.url.index('/t') :]}/chat/completions", ASKED).status == 200

        model, pair = write_tiny_model(folder / "tiny.gguf"), write_tiny_pair(folder)
        return {
            "first_ms": round(first, 1),
            "fresh_ms": _spread(times, fresh),
            "answered_ms": _spread(times, fresh, ask),
            "gguf_ms": _spread(times, lambda: StandinControl(host, model, folder=folder)),
            "pair_ms": _spread(times, lambda: load_pair(pair)),
        }


def _spread(
    times: int, opened: Callable[[], AbstractContextManager[Any]], use: Callable[[Any], object] = bool
) -> dict[str, float]:
    """Opened, used and closed again."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        with opened() as one:
            use(one)
        taken.append(1000 * (time.perf_counter() - begun))
    return {"median": round(statistics.median(taken), 2), "worst": round(max(taken), 2)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    figures = measured(parser.parse_args().times)
    print(json.dumps(figures, indent=1))
    if figures["fresh_ms"]["median"] >= MOST_MS:
        raise SystemExit(f"a fresh stand-in takes {figures['fresh_ms']['median']} ms, and {MOST_MS} is the most")


if __name__ == "__main__":
    main()
