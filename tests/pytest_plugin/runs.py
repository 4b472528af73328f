"""Runs pytest as a user does: in a process and a folder of its own, with the plugin by its entry point."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.documents import DOCS

SECONDS = 240
PAGE = (DOCS / "offline.md").read_text(encoding="utf-8")
SCRUBBED = ("OPENAI_", "BLACKBOX_PROXY_", "PYTEST_")


def blocks(language: str) -> Sequence[str]:
    """The blocks of a language on the page, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


TEN_LINES = blocks("python")[0]
SCENARIO = blocks("toml")[0]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of pytest said. passed, failed: tests, errors among the latter."""

    passed: int
    failed: int
    said: str


def pytest_in(folder: Path, *options: str, environ: Mapping[str, str] | None = None, asyncio: bool = False) -> Ran:
    """Run the tests of a folder; a warning is an error, as is a thread or a socket that stays open.

    asyncio: beside pytest-asyncio.
    """
    more = ("-o", "asyncio_default_fixture_loop_scope=function") if asyncio else ("-p", "no:asyncio")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *more, *options],
        cwd=folder,
        env={**kept, "HOME": str(folder), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    return Ran(counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0), said)
