"""Runs what others wrote against a server: in the environment that `.ci/suites` makes, each in a process of its own.

A suite of pytest is collected first. What does not apply is listed in deselected.toml, by pattern and with the reason;
a pattern that fits no test is an error, so that the list cannot outlive what it is about.
"""

from __future__ import annotations

import json
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
SHOWN = 12_000
"""Characters of what a suite wrote that are told, its end."""
QUIET = {
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_TELEMETRY": "False",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
}
"""With these no client speaks to anyone but the gateway."""


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


def program(name: str, environment: str = "") -> str:
    """The path of a program in the environment, or in one within it; fails the test where there is none."""
    path = VENV / environment / "bin" / name
    if not path.exists():
        pytest.fail(f"{path} is not there: run `make contracts`", pytrace=False)
    return str(path)


def source(pattern: str) -> Path:
    """A folder in one of the unpacked sources."""
    found = list(SDISTS.glob(pattern))
    assert len(found) == 1, f"{pattern} in {SDISTS}: {found}"
    return found[0]


def environ(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What a process sees: nothing of this one's variables but the path, and a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
    home = {"HOME": str(folder), "NO_PROXY": "*", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**kept, **home, **variables}


def ran(
    command: Sequence[str], *, folder: Path, variables: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A finished process."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ(folder, variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-6000:]}", pytrace=False)
    return done


def verdict(name: str, done: subprocess.CompletedProcess[str]) -> Outcome:
    """What a program said of its cases, in its last line; each pattern that is listed must have meant one."""
    if done.returncode or not done.stdout.strip():
        return Outcome(name, 0, 1, 0, (done.stdout + done.stderr)[-SHOWN:])
    said = json.loads(done.stdout.splitlines()[-1])
    idle = [pattern for pattern in listed(name) if not any(re.search(pattern, case) for case in said["deselected"])]
    assert not idle, f"deselected.toml, [{name}]: no case is meant by {idle}"
    failures = "\n".join(f"-- {case}\n{why}" for case, why in said["failed"].items())
    return Outcome(name, len(said["passed"]), len(said["failed"]), len(said["deselected"]), failures)


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


def listed(name: str, file: Path = LISTED) -> Mapping[str, str]:
    """What is left out of a suite: patterns, each with its reason."""
    patterns: Mapping[str, str] = tomllib.loads(file.read_text(encoding="utf-8")).get(name, {})
    return patterns


def selected(name: str, tests: Sequence[str], file: Path = LISTED) -> list[str]:
    """The tests that no pattern of the list fits."""
    patterns = listed(name, file)
    idle = [pattern for pattern in patterns if not any(re.search(pattern, test) for test in tests)]
    assert not idle, f"deselected.toml, [{name}]: no test is meant by {idle}"
    return [test for test in tests if not any(re.search(pattern, test) for pattern in patterns)]
