"""How programs that use clients are checked: failures are seen, omissions are told, nobody leaves this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.suites.clients import environ, verdict

ROOT = Path(__file__).parents[2]
PROGRAM = """
import socket
from tests.contracts.suites.cases import Cases, equal, raised, raised_later

cases = Cases()


@cases.case
def right() -> None:
    equal(str(raised(ValueError, lambda: int("one"))), "invalid literal for int() with base 10: 'one'")


@cases.case
async def awaited() -> None:
    async def wrong() -> None:
        raise KeyError("a")

    equal(str(await raised_later(KeyError, wrong())), "'a'")


@cases.case
def typed_by_words_alone() -> None:
    raise RuntimeError


@cases.case
def wrong() -> None:
    equal(1, 2)


@cases.case
def elsewhere() -> None:
    raised(OSError, lambda: socket.create_connection(("198.51.100.1", 80), timeout=1))


cases.run()
"""


def run(folder: Path, *patterns: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    loopback = ROOT / "tests" / "contracts" / "suites" / "loopback"
    variables = {"PYTHONPATH": f"{loopback}:{ROOT}", "LOOPBACK_LOG": str(folder / "elsewhere")}
    command = [sys.executable, "program.py", *patterns]
    return subprocess.run(
        command, cwd=folder, env=environ(folder, variables), capture_output=True, text=True, timeout=60, check=False
    )


def test_what_became_of_each_case(tmp_path: Path) -> None:
    outcome = verdict("llama-index", run(tmp_path, "^typed_by_words_alone$"))
    assert outcome.line == "llama-index: passed 3, failed 1, deselected 1"
    assert "-- wrong" in outcome.said
    assert "1 is not 2" in outcome.said
    assert (tmp_path / "elsewhere").read_text() == "socket.getaddrinfo 198.51.100.1\n"


def test_a_pattern_that_means_no_case_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no case is meant by"):
        verdict("llama-index", run(tmp_path, "^nothing$"))


def test_a_program_that_ends_before_its_cases_has_failed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("raise SystemExit(3)")
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert verdict("langchain-openai", done).line == "langchain-openai: passed 0, failed 1, deselected 0"
