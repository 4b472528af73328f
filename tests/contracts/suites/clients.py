"""Runs what others wrote against a server: in the environment that `.ci/suites` makes, each in a process of its own.

A suite of pytest is collected first. What does not apply is listed in deselected.toml, by pattern and with the reason;
a pattern that fits no test is an error, so that the list cannot outlive what it is about.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[3]
VENV = ROOT / ".venv-suites"
SDISTS = VENV / "sdists"
LISTED = Path(__file__).with_name("deselected.toml")
LIMIT = 600.0
"""Seconds for one suite."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a suite. said: what it wrote, for who has to find out why."""

    name: str
    passed: int
    failed: int
    deselected: int
    said: str = ""

    @property
    def line(self) -> str:
        """The one line that a run ends with."""
        return f"{self.name}: passed {self.passed}, failed {self.failed}, deselected {self.deselected}"


def program(name: str) -> str:
    """The path of a program in the environment; fails the test where there is none."""
    path = VENV / "bin" / name
    if not path.exists():
        pytest.fail(f"{path} is not there: run `make contracts`", pytrace=False)
    return str(path)


def source(pattern: str) -> Path:
    """A folder in one of the unpacked sources."""
    found = list(SDISTS.glob(pattern))
    assert len(found) == 1, f"{pattern} in {SDISTS}: {found}"
    return found[0]


def ran(
    command: Sequence[str], *, folder: Path, variables: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A finished process. Without the variables of this one, but for the path and a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
    home = {"HOME": str(folder), "NO_PROXY": "*", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **home, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}", pytrace=False)
    return done


def pytest_suite(
    name: str,
    files: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    scratch: Path,
    options: Sequence[str],
) -> Outcome:
    """Collect the tests of `files`, leave out what is listed for `name`, and run the others."""
    base = [program("python"), "-m", "pytest", "-p", "no:cacheprovider", *options]
    asked = ran([*base, "--collect-only", "--quiet", *files], folder=folder, variables=variables)
    tests = [line for line in asked.stdout.splitlines() if "::" in line and not line.startswith("=")]
    wanted = selected(name, tests)
    (scratch / "wanted").write_text("\n".join(wanted), encoding="utf-8")
    report = scratch / "report.xml"
    done = ran(
        [*base, f"--junitxml={report}", f"@{scratch / 'wanted'}"], folder=folder, variables=variables, check=False
    )
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314
    bad = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - bad - skipped
    return Outcome(name, passed, bad + len(wanted) - len(cases), len(tests) - len(wanted) + skipped, done.stdout)


def selected(name: str, tests: Sequence[str], listed: Path = LISTED) -> list[str]:
    """The tests that no pattern of the list fits."""
    patterns: Mapping[str, str] = tomllib.loads(listed.read_text(encoding="utf-8"))[name]
    idle = [pattern for pattern in patterns if not any(re.search(pattern, test) for test in tests)]
    assert not idle, f"deselected.toml, [{name}]: no test is meant by {idle}"
    return [test for test in tests if not any(re.search(pattern, test) for pattern in patterns)]
