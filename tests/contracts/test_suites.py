"""The gateway as clients see it that nobody here wrote: test suites, fuzzers and evaluation harnesses.

Each says one line, `name: passed N, failed 0, deselected M`. What is left out, and why, stands in
suites/deselected.toml. The suites that look at shapes run over tiny models, those that look at texts and log-probs over
real weights.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blackbox_proxy.local.pairfile import demo_pair
from blackbox_proxy.standin import running as standing_in
from tests.contracts.suites.clients import Outcome, program, pytest_suite, ran, source
from tests.contracts.suites.description import description
from tests.contracts.truth import Truth
from tests.gateway.serving import CONTEXT, gateway
from tests.tiny_gguf import TinyModel, write_tiny_llama

pytestmark = pytest.mark.slow

SUITES = Path(__file__).with_name("suites")
NATS = 0.02
"""How far the log-probs of a text may lie from those of the same file in this process: the KV cache rounds."""

CONFIG = """
[server]
port = 0
default_model = "{default}"

[upstreams.standin]
base_url = "{url}"
at_once = 4
queue = 1000

[models.steered]
upstream = "standin"
model = "closed"
pair = "{pair}"
template = "chatml"
tokenizer = "gguf:{closed}"
steering = {{ alpha = 0.5, max_tokens = 16 }}

[models.unsteered]
upstream = "standin"
model = "closed"
pair = "{pair}"
template = "chatml"
tokenizer = "gguf:{closed}"
options = {{ echo = true }}
steering = {{ alpha = 0.0, max_tokens = 16 }}
"""


@pytest.fixture(scope="module")
def tiny(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, tiny_bpe: TinyModel, tiny_lora: Path
) -> Iterator[str]:
    """A gateway over tiny random models."""
    closed = write_tiny_llama(tmp_path_factory.mktemp("closed") / "closed.gguf", seed=5)
    pair = tiny_folder / "suites-pair.toml"
    pair.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = {CONTEXT}\n')
    with (
        standing_in(closed.path, name="closed", context=CONTEXT, top_k=20) as url,
        gateway(CONFIG.format(url=url, pair=pair, closed=closed.path, default="steered")) as served,
    ):
        yield served


@pytest.fixture(scope="module")
def real(closed: Path) -> Iterator[str]:
    """A gateway over SmolLM2 as the closed model, in 32 bits, and the demo's pair."""
    with (
        standing_in(closed, name="closed", context=512, slots=1, top_k=20) as url,
        gateway(CONFIG.format(url=url, pair=demo_pair(), closed=closed, default="unsteered")) as served,
    ):
        yield served


def told(outcome: Outcome) -> None:
    """Say what became of a suite; it holds where something passed and nothing failed."""
    print(outcome.line)
    assert outcome.passed, outcome.said
    assert not outcome.failed, outcome.said


def test_the_tests_of_openais_sdk(tiny: str, tmp_path: Path) -> None:
    """Chat, completions and models, by strict and by loose clients, blocking and asynchronous."""
    files = ("chat/test_completions.py", "test_completions.py", "test_models.py")
    told(
        pytest_suite(
            "openai-sdk",
            [f"tests/api_resources/{file}" for file in files],
            folder=source("openai-*"),
            variables={"TEST_API_BASE_URL": tiny},
            scratch=tmp_path,
            options=["-o", "addopts=", "-o", "filterwarnings=default", "-k", "create or list"],
        )
    )


def test_llama_cpps_own_tests_of_a_server(tiny: str, tmp_path: Path) -> None:
    port = re.search(r":(\d+)/", tiny)
    assert port
    told(
        pytest_suite(
            "llama-cpp",
            ["unit/test_chat_completion.py", "unit/test_completion.py"],
            folder=source("llama_cpp_python-*/vendor/llama.cpp/tools/server/tests"),
            variables={"DEBUG_EXTERNAL": "1", "PORT": port[1]},
            scratch=tmp_path,
            options=[],
        )
    )


def test_requests_that_schemathesis_makes_of_the_description(tiny: str, tmp_path: Path) -> None:
    """No reply is a server's error, and each has the shape, status and type that the description gives it."""
    (tmp_path / "openapi.json").write_text(json.dumps(description("steered", max_tokens=8)), encoding="utf-8")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [program("st"), "run", "openapi.json", "--url", tiny, "--phases", "coverage,fuzzing", "--seed", "1"]
    more = ["--max-examples", "150", "--checks", f"{checks},unsupported_method", "--continue-on-failure"]
    done = ran([*command, *more], folder=tmp_path, check=False)
    made = re.search(r"(\d[\d,]*) generated, (\d[\d,]*) passed", done.stdout)
    assert made, done.stdout[-3000:] + done.stderr[-3000:]
    generated, passed = (int(count.replace(",", "")) for count in made.groups())
    told(Outcome("schemathesis", passed, generated - passed + bool(done.returncode), 0, done.stdout[-8000:]))
    assert generated >= 2_000


def lm_eval(kind: str, url: str, folder: Path, *arguments: str, tasks: str) -> list[dict[str, Any]]:
    """The samples that lm-eval logs; `arguments` go to its model."""
    shutil.copytree(SUITES / "lm_eval", folder / "tasks")
    for task in (folder / "tasks").glob("*.yaml"):
        task.write_text(task.read_text().replace("FOLDER", str(folder / "tasks")))
    model = ",".join((f"base_url={url}", "num_concurrent=1", "max_retries=1", *arguments))
    command = [
        program("lm_eval"),
        "run",
        "--model",
        kind,
        "--model_args",
        model,
        "--include_path",
        str(folder / "tasks"),
    ]
    more = ["--tasks", tasks, "--output_path", str(folder / "out"), "--log_samples"]
    chat = ["--apply_chat_template"] if kind == "local-chat-completions" else []
    ran([*command, *more, *chat], folder=folder, variables={"OPENAI_API_KEY": "any"})
    lines = [
        line for path in sorted((folder / "out").rglob("samples_*.jsonl")) for line in path.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", ["local-completions", "local-chat-completions"])
def test_lm_eval_generates(real: str, tmp_path: Path, kind: str) -> None:
    """With token ids as prompts, by the gateway's own tokenizer, and as chats."""
    route = "completions" if kind == "local-completions" else "chat/completions"
    tokens = ["tokenizer_backend=remote"] if kind == "local-completions" else []
    samples = lm_eval(kind, f"{real}/{route}", tmp_path, "model=unsteered", *tokens, tasks="generate")
    right = [sample["exact_match"] for sample in samples]
    assert len(right) == 3
    assert all(sample["resps"][0][0] for sample in samples)
    told(Outcome(f"lm-eval {kind}, generate", len(samples), 0, 0))


def test_lm_evals_loglikelihoods_are_those_of_the_model(real: str, truth: Truth, tmp_path: Path) -> None:
    """At alpha 0, each option's log-probability is what the same file gives in this process.

    These requests name no model: they are for the default one.
    """
    asked = ["model=unsteered", "tokenizer_backend=remote"]
    samples = lm_eval("local-completions", f"{real}/completions", tmp_path, *asked, tasks="choice")
    compared = 0
    for sample in samples:
        for option, (answer, *_) in zip(sample["doc"]["options"], sample["resps"], strict=True):
            start, whole = truth.read(sample["doc"]["question"]), truth.read(f"{sample['doc']['question']} {option}")
            wanted = sum(truth.distribution(whole[:at])[whole[at]] for at in range(len(start), len(whole)))
            assert float(answer[0]) == pytest.approx(float(np.float64(wanted)), abs=NATS * len(whole))
            compared += 1
    assert compared == 16
    told(Outcome("lm-eval local-completions, loglikelihood", compared, 0, 0))


def test_inspect_ai(real: str, tmp_path: Path) -> None:
    shutil.copy(SUITES / "inspect_task.py", tmp_path)
    command = [program("inspect"), "eval", "inspect_task.py", "--model", "openai-api/steered/unsteered"]
    wanted = ["--max-tokens", "16", "--temperature", "0", "--logprobs", "--top-logprobs", "5"]
    logs = ["--log-dir", str(tmp_path / "logs"), "--log-format", "json", "--display", "plain"]
    ran([*command, *wanted, *logs], folder=tmp_path, variables={"STEERED_BASE_URL": real, "STEERED_API_KEY": "any"})
    [log] = [json.loads(path.read_text()) for path in (tmp_path / "logs").glob("*.json")]
    assert log["status"] == "success"
    choices = [sample["output"]["choices"][0] for sample in log["samples"]]
    for choice in choices:
        tokens = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens).startswith(choice["message"]["content"][:4])
        assert all(len(token["top_logprobs"]) <= 5 for token in tokens)
    told(Outcome("inspect-ai", len(choices), 0, 0))


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
def test_llm(real: str, tmp_path: Path, *, streamed: bool) -> None:
    """The answer on standard output, and the counts of its tokens in the client's own log."""
    entry = f"- model_id: closed\n  model_name: unsteered\n  api_base: {real}\n"
    (tmp_path / "extra-openai-models.yaml").write_text(entry, encoding="utf-8")
    variables = {"LLM_USER_PATH": str(tmp_path)}
    options = [] if streamed else ["--no-stream"]
    command = [program("llm"), "-m", "closed", "--key", "any", "-o", "max_tokens", "12", *options]
    answer = ran([*command, "What is the capital of France?"], folder=tmp_path, variables=variables).stdout.strip()
    logged = json.loads(ran([program("llm"), "logs", "list", "--json"], folder=tmp_path, variables=variables).stdout)
    assert [entry["response"].strip() for entry in logged] == [answer]
    assert answer
    assert logged[0]["input_tokens"] > 10
    assert 0 < logged[0]["output_tokens"] <= 12
    told(Outcome(f"llm, {'streamed' if streamed else 'whole'}", 1, 0, 0))
