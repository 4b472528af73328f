"""What every test gets: a scrubbed environment, no network but loopback, and the real weights by fixture.

pyproject.toml refuses connections to other hosts (pytest-socket). The weights are fetched by the set-up, never by a
test: a test that needs one which is not there fails and says so.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from blackbox_proxy.local.buffers import VARIABLE as BUFFERS
from blackbox_proxy.local.buffers import use_extra_buffers
from blackbox_proxy.local.weights import KNOWN, default_cache, stored
from tests.ledger.postgres_server import PASSWORD, PostgresServer, postgres_server, programs
from tests.tiny_gguf import TinyModel, write_tiny_llama, write_tiny_lora

# Read before any test can change the environment.
CACHE = default_cache(os.environ)
FORCED_BUFFERS = os.environ.get(BUFFERS, "")
SCRUBBED_PREFIXES = ("ANTHROPIC_", "AZURE_OPENAI_", "BLACKBOX_PROXY_", "GGML_", "HF_", "LLAMA_", "OPENAI_", "PG")
SCRUBBED = (
    "ALL_PROXY",
    "COLUMNS",
    "FORCE_COLOR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_COLOR",
    "NO_PROXY",
    "SSLKEYLOGFILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)

settings.register_profile("tests", max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "60")), deadline=None)
settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest comes first, so that no other worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_walkthrough.py")


@pytest.fixture(autouse=True, scope="session")
def scrubbed_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No key, proxy, switch or ledger of the person who runs the tests reaches them, nor a program that they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper() in SCRUBBED or name.upper().startswith(SCRUBBED_PREFIXES):
                patch.delenv(name)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(CACHE.parent))
        yield


@pytest.fixture(autouse=True, scope="session")
def decided_buffers(scrubbed_environment: None) -> Iterator[None]:  # noqa: ARG001 (it comes first)
    """Which buffers llama.cpp uses is a matter of this machine: tried once here, or as the person who runs it says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BUFFERS, FORCED_BUFFERS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setenv(BUFFERS, "extra" if use_extra_buffers() else "plain")
        yield


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Under nohup or in the background SIGINT is ignored, by the programs that tests start too: not while they run."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def weights_cache() -> Path:
    """Where the set-up put the model files."""
    return CACHE


def _fetched(name: str) -> Path:
    path = stored(KNOWN[name], CACHE)
    if path is None:
        pytest.fail(f"the weights of {name} are not in {CACHE}: run `make setup`", pytrace=False)
    return path


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct Q4_1: byte-level BPE, 49,152 tokens."""
    return _fetched("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def slm(smollm2_path: Path) -> Path:
    """The small model of the demo's pair."""
    return smollm2_path


@pytest.fixture(scope="session")
def qwen_path() -> Path:
    """Qwen2.5-Coder-0.5B-Instruct Q4_K_M: byte-level BPE, 151,936 tokens."""
    return _fetched("qwen2.5-coder-0.5b-instruct")


@pytest.fixture(scope="session")
def gemma_path() -> Path:
    """gemma-3-270m Q4_K_M: SentencePiece, 262,144 tokens."""
    return _fetched("gemma-3-270m")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny random files of a run lie."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tiny_bpe(tiny_folder: Path) -> TinyModel:
    """A tiny random llama with a byte-level BPE vocabulary."""
    return write_tiny_llama(tiny_folder / "bpe.gguf", style="bpe")


@pytest.fixture(scope="session")
def tiny_spm(tiny_folder: Path) -> TinyModel:
    """A tiny random llama with a SentencePiece vocabulary, which puts a space before every text."""
    return write_tiny_llama(tiny_folder / "spm.gguf", style="spm")


@pytest.fixture(scope="session")
def tiny_lora(tiny_folder: Path, tiny_bpe: TinyModel) -> Path:
    """A random LoRA adapter for `tiny_bpe`."""
    return write_tiny_lora(tiny_folder / "bpe.lora.gguf", tiny_bpe.path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that runs for the time of the tests."""
    where = programs()
    if where is None:
        pytest.skip("there is no PostgreSQL here (Debian: apt-get install postgresql)")
    with postgres_server(where) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no ledger is yet: a file's path, or the URL of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "state" / "ledger.sqlite")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture(scope="session")
def guarded(postgres: PostgresServer) -> str:
    """The URL, without its password, of the database of a role that needs one."""
    postgres.say(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
    postgres.say("CREATE DATABASE guarded OWNER guarded")
    return postgres.url("guarded", user="guarded")
