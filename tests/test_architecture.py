"""The rules of ARCHITECTURE.md that a machine can hold, each with a test that it can fail.

import-linter's contracts stand in pyproject.toml. Here they are run on the tree as it is, and each on a copy with one
offending import.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy import types

ROOT = Path(__file__).parent.parent
PACKAGES = ("blackbox_proxy", "adapters/blackbox_proxy_adapters")
LONGEST_MODULE = 400
LONGEST = 60
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run lint-imports on a tree that has its own pyproject.toml."""
    paths = os.pathsep.join((str(tree), str(tree / "adapters")))
    command = [
        str(Path(sys.executable).parent / "lint-imports"),
        "--no-cache",
        "--config",
        str(tree / "pyproject.toml"),
    ]
    environ = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "300", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages, to break."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def verdicts(said: str) -> dict[str, str]:
    """Contract -> KEPT or BROKEN."""
    return dict(re.findall(r"^(.+?) (KEPT|BROKEN)(?: \(.*\))?$", said, flags=re.MULTILINE))


def contracts() -> list[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract["name"] for contract in config["tool"]["importlinter"]["contracts"]]


def test_the_tree_keeps_every_contract() -> None:
    run = lint(ROOT)
    assert verdicts(run.stdout) == dict.fromkeys(contracts(), "KEPT"), run.stdout + run.stderr
    assert run.returncode == 0


@dataclass(frozen=True, slots=True)
class Offence:
    """One import that a contract must refuse. `module` may be new: then its packages are made."""

    contract: str
    module: str
    line: str

    @property
    def id(self) -> str:
        return f"{self.contract.split(':')[0]} - {self.module} - {self.line}"

    def commit(self, tree: Path) -> None:
        path = tree / self.module
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(f"{before}\n{self.line}\n", encoding="utf-8")


LAYERS, CORE, RUN, PURE, PAGES, CODECS, BARE_CODECS, BY_NAME, LLAMA, OPENAI, *LATER = contracts()
LLGUIDANCE, SQLITE, POSTGRES, PRICES, HTTP, WATCHING, TRAINING, PYARROW, RAY = LATER

OFFENCES = [
    Offence(LAYERS, "blackbox_proxy/pytest_plugin/marked.py", "import blackbox_proxy.cli.show"),
    Offence(LAYERS, "blackbox_proxy/types/api.py", "import blackbox_proxy.core.text"),
    Offence(LAYERS, "blackbox_proxy/learnt.py", "import blackbox_proxy.steering"),
    Offence(LAYERS, "blackbox_proxy/asking.py", "import blackbox_proxy.api"),
    Offence(LAYERS, "blackbox_proxy/core/text.py", "import blackbox_proxy.run.engine"),
    Offence(LAYERS, "blackbox_proxy/core/text.py", "import blackbox_proxy.local.pair"),
    Offence(LAYERS, "blackbox_proxy/local/pair.py", "import blackbox_proxy.remote.transport"),
    Offence(LAYERS, "blackbox_proxy/remote/transport.py", "import blackbox_proxy.local.pair"),
    Offence(LAYERS, "blackbox_proxy/local/pair.py", "import blackbox_proxy.run.engine"),
    Offence(LAYERS, "blackbox_proxy/standin/offence.py", "import blackbox_proxy.tuning.data"),
    Offence(LAYERS, "blackbox_proxy/gateway/offence.py", "import blackbox_proxy.standin"),
    Offence(LAYERS, "blackbox_proxy/openai_http/offence.py", "import blackbox_proxy.standin"),
    Offence(LAYERS, "blackbox_proxy/doctor/offence.py", "import blackbox_proxy.remote.transport"),
    Offence(LAYERS, "blackbox_proxy/ledger/offence.py", "import blackbox_proxy.local.pair"),
    Offence(LAYERS, "blackbox_proxy/cassettes/offence.py", "import blackbox_proxy.remote.transport"),
    Offence(LAYERS, "blackbox_proxy/run/engine.py", "import blackbox_proxy.evaluation.task"),
    Offence(LAYERS, "blackbox_proxy/evaluation/offence.py", "import blackbox_proxy.tasks.demo"),
    Offence(LAYERS, "blackbox_proxy/fitting/offence.py", "import blackbox_proxy.tasks.demo"),
    Offence(LAYERS, "blackbox_proxy/tuning/offence.py", "import blackbox_proxy.fitting.candidates"),
    Offence(LAYERS, "blackbox_proxy/recipes.py", "import blackbox_proxy.evaluation.task"),
    Offence(RUN, "blackbox_proxy/run/unsteered.py", "import blackbox_proxy.run.session"),
    Offence(RUN, "blackbox_proxy/run/engine.py", "import blackbox_proxy.run.steerer"),
    Offence(RUN, "blackbox_proxy/run/module_without_a_layer.py", "import blackbox_proxy.types"),
    Offence(CORE, "blackbox_proxy/core/alignment/covering.py", "import blackbox_proxy.core.decoding.loop"),
    Offence(CORE, "blackbox_proxy/core/decoding/loop.py", "import blackbox_proxy.core.money.usage"),
    Offence(CORE, "blackbox_proxy/core/text.py", "import blackbox_proxy.core.alignment.covering"),
    Offence(CORE, "blackbox_proxy/core/pairtable.py", "import blackbox_proxy.core.alignment.covering"),
    Offence(CORE, "blackbox_proxy/core/events.py", "import blackbox_proxy.core.pairtable"),
    Offence(LAYERS, "blackbox_proxy/room_without_a_layer.py", "import blackbox_proxy.types"),
    Offence(PURE, "blackbox_proxy/core/text.py", "import asyncio"),
    Offence(PURE, "blackbox_proxy/core/text.py", "import random"),
    Offence(PURE, "blackbox_proxy/core/text.py", "import time"),
    Offence(PURE, "blackbox_proxy/types/api.py", "import logging"),
    Offence(PURE, "blackbox_proxy/errors.py", "from os import environ"),
    Offence(LAYERS, "blackbox_proxy/ledger/report.py", "import blackbox_proxy.pages.costs"),
    Offence(LAYERS, "blackbox_proxy/pages/trace.py", "import blackbox_proxy.run.engine"),
    Offence(PAGES, "blackbox_proxy/pages/costs.py", "from pathlib import Path"),
    Offence(PAGES, "blackbox_proxy/pages/costs.py", "import blackbox_proxy.ledger.store"),
    Offence(CODECS, "adapters/blackbox_proxy_adapters/completions.py", "import blackbox_proxy.core.text"),
    Offence(CODECS, "adapters/blackbox_proxy_adapters/completions.py", "import blackbox_proxy"),
    Offence(BARE_CODECS, "adapters/blackbox_proxy_adapters/completions.py", "import asyncio"),
    Offence(BARE_CODECS, "adapters/blackbox_proxy_adapters/decoders/rows.py", "import numpy"),
    Offence(BY_NAME, "blackbox_proxy/run/engine.py", "from blackbox_proxy_adapters.completions import Completions"),
    Offence(LLAMA, "blackbox_proxy/local/pair.py", "import llama_cpp"),
    Offence(LLAMA, "blackbox_proxy/standin/offence.py", "from llama_cpp import Llama"),
    Offence(OPENAI, "blackbox_proxy/run/engine.py", "import openai"),
    Offence(OPENAI, "adapters/blackbox_proxy_adapters/completions.py", "from openai.types import Completion"),
    Offence(LAYERS, "blackbox_proxy/remote/transport.py", "import blackbox_proxy.ledger.store"),
    Offence(LLGUIDANCE, "blackbox_proxy/standin/service.py", "import llguidance"),
    Offence(SQLITE, "blackbox_proxy/run/engine.py", "import sqlite3"),
    Offence(SQLITE, "blackbox_proxy/ledger/report.py", "import sqlite3"),
    Offence(SQLITE, "blackbox_proxy/ledger/store.py", "import sqlite3"),
    Offence(POSTGRES, "blackbox_proxy/ledger/opening.py", "import psycopg"),
    Offence(POSTGRES, "blackbox_proxy/gateway/server.py", "from psycopg import connect"),
    Offence(SQLITE, "blackbox_proxy/gateway/limits/windows.py", "import sqlite3"),
    Offence(PRICES, "blackbox_proxy/core/money/amounts.py", "from genai_prices import calc_price"),
    Offence(HTTP, "blackbox_proxy/remote/transport.py", "import httpx"),
    Offence(HTTP, "blackbox_proxy/remote/transport.py", "def late() -> None:\n    import httpx2"),
    Offence(WATCHING, "blackbox_proxy/gateway/app.py", "from prometheus_client import Counter"),
    Offence(WATCHING, "blackbox_proxy/gateway/answering.py", "from opentelemetry import trace"),
    Offence(TRAINING, "blackbox_proxy/tasks/demo.py", "import torch"),
    Offence(TRAINING, "blackbox_proxy/run/engine.py", "import gguf"),
    Offence(PYARROW, "blackbox_proxy/batching/reading.py", "import pyarrow"),
    Offence(RAY, "blackbox_proxy/batching/batch.py", "import ray"),
    Offence(RAY, "blackbox_proxy/evaluation/spreading.py", "import ray"),
    Offence(LAYERS, "blackbox_proxy/actors.py", "import blackbox_proxy.batching.rows"),
    Offence(LAYERS, "blackbox_proxy/batching/batch.py", "import blackbox_proxy.evaluation.answers"),
]


def test_every_contract_has_an_offence() -> None:
    assert {offence.contract for offence in OFFENCES} == set(contracts())


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: offence.id)
def test_an_offending_import_breaks_its_contract(tree: Path, offence: Offence) -> None:
    """The copy without it keeps the contract (see above), so it is this line that breaks it."""
    offence.commit(tree)
    run = lint(tree)
    found = verdicts(run.stdout)
    # A room without a layer ends the run before any verdict, and is named.
    named = "room_without_a_layer" in offence.module and "room_without_a_layer" in run.stdout + run.stderr
    assert found.get(offence.contract) == "BROKEN" or named, run.stdout + run.stderr
    assert run.returncode != 0


def foreign_openai(source: str) -> list[str]:
    """Imports of openai in a server that are not of its reply shapes."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = (name for name in names if name.split(".")[0] == "openai")
    return [name for name in ours if not name.startswith("openai.types.")]


def test_servers_use_only_the_reply_shapes_of_openai() -> None:
    for path in modules("blackbox_proxy/openai_http", "blackbox_proxy/standin", "blackbox_proxy/gateway"):
        assert foreign_openai(path.read_text(encoding="utf-8")) == [], relative(path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from openai.types import Completion", []),
        ("import openai.types.chat", []),
        ("import openai", ["openai"]),
        ("from openai import OpenAI", ["openai.OpenAI"]),
        ("def late():\n    from openai import types", ["openai.types"]),
    ],
)
def test_the_check_of_the_servers_can_fail(line: str, found: list[str]) -> None:
    assert foreign_openai(line) == found


def test_every_module_says_what_it_is() -> None:
    """A module opens with a docstring, in the tests too."""
    silent = [
        relative(path)
        for path in modules(*PACKAGES, "tests")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def long_functions(source: str) -> list[str]:
    """Functions whose body is longer than LONGEST; docstring and signature (a command's list of options) apart."""
    return [
        node.name for node in ast.walk(ast.parse(source)) if isinstance(node, FUNCTION) and lines_of(node) > LONGEST
    ]


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    code = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - code[0].lineno + 1 if code else 0


def test_no_function_is_longer_than_a_screen() -> None:
    found = {relative(path): long_functions(path.read_text(encoding="utf-8")) for path in modules(*PACKAGES, "tests")}
    assert {path: names for path, names in found.items() if names} == {}


def test_public_classes_have_names_of_their_own() -> None:
    """So that a name in a message, or in a search, means one thing."""
    found: dict[str, list[str]] = {}
    for path in modules(*PACKAGES):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(relative(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_no_module_is_longer_than_can_be_held_in_mind() -> None:
    lines = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*PACKAGES)}
    assert {path: count for path, count in lines.items() if count > LONGEST_MODULE} == {}


def test_the_length_check_can_fail() -> None:
    body = "\n".join(["    x = 1"] * LONGEST)
    documented = f'def f():\n    """One\n    two."""\n{body}'
    assert long_functions(documented) == []
    assert long_functions(f"{documented}\n    x = 1") == ["f"]
    assert long_functions(f"async def g():\n{body}\n    x = 1") == ["g"]


def loose_dataclasses(module: object) -> list[str]:
    """Dataclasses of a module that are not both frozen and slotted."""
    found: Iterator[tuple[str, Any]] = (
        (name, value)
        for name, value in vars(module).items()
        if inspect.isclass(value) and dataclasses.is_dataclass(value)
    )
    return [name for name, value in found if not (value.__dataclass_params__.frozen and "__slots__" in vars(value))]


def test_the_nouns_are_frozen_and_slotted() -> None:
    assert loose_dataclasses(types) == []


def test_the_check_of_the_nouns_can_fail() -> None:
    class Module:
        @dataclass
        class Loose: ...

        @dataclass(frozen=True)
        class Unslotted: ...

        @dataclass(frozen=True, slots=True)
        class Valid: ...

    assert loose_dataclasses(Module) == ["Loose", "Unslotted"]


def test_the_folder_of_adapters_is_no_package() -> None:
    """A top-level package `adapters` would overwrite AdapterHub's."""
    assert not (ROOT / "adapters" / "__init__.py").exists()


def test_help_loads_nothing_heavy() -> None:
    """`--help` answers before openai, llama_cpp or numpy could have been imported."""
    script = """
        import sys
        from blackbox_proxy.cli import main
        sys.argv = ["blackbox-proxy", "--help"]
        try:
            main()
        finally:
            heavy = {name.split(".")[0] for name in sys.modules} & {"openai", "llama_cpp", "numpy", "torch"}
            print("heavy:", sorted(heavy))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "Usage" in run.stdout, run.stdout + run.stderr
    assert "heavy: []" in run.stdout, run.stdout
