"""What the tests of the gateway share: an upstream, a pair, and a gateway between a client and both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from blackbox_proxy.standin import running as standing_in
from tests.gateway.serving import CONTEXT, WIDE, config_text, gateway
from tests.tiny_gguf import TinyModel, write_tiny_llama


@pytest.fixture(scope="session")
def closed(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The model behind the upstream: the pair's vocabulary, other weights."""
    return write_tiny_llama(tmp_path_factory.mktemp("closed") / "closed.gguf", seed=5)


@pytest.fixture(scope="session")
def upstream(closed: TinyModel) -> Iterator[str]:
    with standing_in(closed.path, name="tiny", context=CONTEXT, top_k=20) as url:
        yield url


@pytest.fixture(scope="session")
def pair_file(tiny_folder: Path, tiny_bpe: TinyModel, tiny_lora: Path) -> Path:
    path = tiny_folder / "gateway-pair.toml"
    path.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = {CONTEXT}\n')
    return path


@pytest.fixture(scope="session")
def served(upstream: str, pair_file: Path, closed: TinyModel) -> Iterator[str]:
    """A gateway with a steered model, one whose tokenizer is unknown, and one without a pair."""
    with gateway(config_text(upstream, pair=pair_file, tokenizer=f"gguf:{closed.path}")) as url:
        yield url


@pytest.fixture(scope="session")
def client(served: str) -> Iterator[openai.OpenAI]:
    """The SDK; as a strict reader it checks every reply against its own types."""
    with openai.OpenAI(
        base_url=served, api_key="any", max_retries=0, timeout=60, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture(scope="session")
def wide(tiny_folder: Path, tiny_bpe: TinyModel, tiny_lora: Path, closed: TinyModel) -> Iterator[str]:
    """A gateway whose models have room for descriptions of tools."""
    path = tiny_folder / "wide-pair.toml"
    path.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = {WIDE}\n')
    with standing_in(closed.path, name="tiny", context=WIDE, top_k=20) as url:
        with gateway(config_text(url, pair=path, tokenizer=f"gguf:{closed.path}")) as served:
            yield served
