"""The tests pass as a job in the background, where SIGINT is ignored by them and by all that they start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INTERRUPTED = (
    "tests/test_engine.py::test_an_interrupt_does_not_wait_for_the_api",
    "tests/test_background.py::test_a_program_that_a_test_starts_can_be_interrupted",
)


@pytest.mark.parametrize("how", [["sh", "-c", 'trap "" INT; exec "$@"', "sh"], ["nohup"]], ids=["background", "nohup"])
def test_tests_of_an_interrupt_pass_where_it_is_ignored(how: list[str]) -> None:
    command = [*how, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *INTERRUPTED]
    ran = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


def test_a_program_that_a_test_starts_can_be_interrupted() -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in ran.stderr
