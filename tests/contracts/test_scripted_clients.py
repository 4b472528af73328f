"""One scenario, the one of docs/offline.md, drives clients that nobody here wrote, unmodified.

They are told of the stand-in by OPENAI_BASE_URL and OPENAI_API_KEY alone. Each asks plainly and streamed, looks at
log-probs, has a tool called, and gets past an error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy.standin import Journal, read_scenario, running
from tests.contracts.suites.clients import VENV, program, ran
from tests.pytest_plugin.runs import SCENARIO, blocks

pytestmark = pytest.mark.slow

SUITES = Path(__file__).with_name("suites")
NODE = VENV / "node"
SAID = {
    "capital": "The capital is Tirana.",
    "streamed": "The capital is Tirana.",
    "top": [" Tirana", " Durres"],
    "weather": "It is sunny.",
    "retried": "Yes.",
}
"""What each client is to have heard."""


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def variables(tmp_path: Path, journal: Journal) -> Iterator[dict[str, str]]:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    with running(read_scenario(tmp_path / "scenario.toml"), journal=journal) as url:
        yield {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "any"}


def node() -> str:
    """Node, with OpenAI's SDK in the environment of the clients; the test is skipped where there is none."""
    found = shutil.which("node")
    if found is None or not (NODE / "node_modules" / "openai").is_dir():
        pytest.skip(f"there is no node, or no openai in {NODE}: install node and npm, then run `make contracts`")
    return found


@pytest.mark.parametrize("client", ["langchain", "pydantic_ai"])
def test_a_python_client(tmp_path: Path, variables: dict[str, str], journal: Journal, client: str) -> None:
    script = SUITES / f"ask_{client}.py"
    done = ran([program("python"), str(script)], folder=tmp_path, variables=variables)
    assert json.loads(done.stdout.splitlines()[-1]) == SAID, done.stdout + done.stderr
    assert [one.status for one in journal.requests] == [200, 200, 200, 200, 503, 200]


def test_openai_node(tmp_path: Path, variables: dict[str, str], journal: Journal) -> None:
    program_ = node()
    shutil.copy(SUITES / "ask_openai_node.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    done = ran([program_, "ask_openai_node.mjs"], folder=tmp_path, variables=variables)
    assert json.loads(done.stdout) == SAID, done.stdout + done.stderr
    assert [one.status for one in journal.requests] == [200, 200, 200, 200, 503, 200]


def test_the_example_for_javascript_on_the_page(tmp_path: Path) -> None:
    """It starts the stand-in itself, and ends it."""
    program_, (example,) = node(), blocks("js")
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    (tmp_path / "example.mjs").write_text(example)
    (tmp_path / "blackbox-proxy").write_text(f'#!/bin/sh\nexec {sys.executable} -m blackbox_proxy "$@"\n')
    (tmp_path / "blackbox-proxy").chmod(0o755)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    done = ran([program_, "example.mjs"], folder=tmp_path, variables={**kept, "PATH": path})
    assert done.stdout == "The capital is Tirana.\n1\n", done.stdout + done.stderr
