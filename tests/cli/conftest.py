"""What the tests of the command line share: a clean configuration, a tiny pair, and a stand-in to call."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy.standin import running
from tests.cli.runs import API_CONTEXT, Cli, in_process
from tests.tiny_gguf import TinyModel, write_tiny_llama

PAIR_CONTEXT = 256


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the user's configuration."""
    home = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # a user's output is buffered
    return home


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line in this process."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # `main` sets its own

    @functools.wraps(in_process)
    def run(*argv: str, stdin: bytes = b"") -> object:
        return in_process(*argv, stdin=stdin, patch=monkeypatch, capture=capsys)

    return run  # type: ignore[return-value]


@pytest.fixture(scope="session")
def tiny_api(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The model behind the API: the pair's vocabulary, other weights."""
    return write_tiny_llama(tmp_path_factory.mktemp("api") / "closed.gguf", seed=5)


@pytest.fixture(scope="session")
def api_url(tiny_api: TinyModel) -> Iterator[str]:
    with running(tiny_api.path, name="tiny", context=API_CONTEXT) as url:
        yield url


@pytest.fixture(scope="session")
def pair_path(tiny_folder: Path, tiny_bpe: TinyModel, tiny_lora: Path) -> Path:
    """The description of a tiny pair that works."""
    path = tiny_folder / "pair.toml"
    path.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = {PAIR_CONTEXT}\n')
    return path


@pytest.fixture(scope="session")
def where(api_url: str, pair_path: Path) -> tuple[str, ...]:
    """The options that say which API and which pair."""
    return ("--base-url", api_url, "--model", "tiny", "--pair", str(pair_path))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the ledger."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "blackbox-proxy" / "ledger.sqlite"
