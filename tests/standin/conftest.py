"""Servers that the tests of the stand-in share: one over a tiny random model, one over real weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from blackbox_proxy.local.llama import Model
from blackbox_proxy.standin import running
from tests.tiny_gguf import TinyModel, write_tiny_llama


def client_of(url: str, *, strict: bool = True) -> openai.OpenAI:
    """The SDK; as a strict reader it checks every reply against its own types."""
    return openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=300, _strict_response_validation=strict)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A random byte-level model: fast, and fond of broken characters."""
    return write_tiny_llama(tmp_path_factory.mktemp("standin") / "tiny.gguf", seed=5, context=512)


@pytest.fixture(scope="session")
def tiny_url(tiny: TinyModel) -> Iterator[str]:
    with running(tiny.path, name="tiny", top_k=10_000) as url:
        yield url


@pytest.fixture(scope="session")
def tiny_client(tiny_url: str) -> Iterator[openai.OpenAI]:
    with client_of(tiny_url) as client:
        yield client


@pytest.fixture(scope="session")
def smol_url(smollm2_path: Path) -> Iterator[str]:
    with running(smollm2_path, name="smol", context=1024) as url:
        yield url


@pytest.fixture(scope="session")
def smol_client(smol_url: str) -> Iterator[openai.OpenAI]:
    with client_of(smol_url) as client:
        yield client


@pytest.fixture(scope="session")
def smol(smollm2_path: Path) -> Iterator[Model]:
    """The served weights once more, for oracles that ask llama.cpp directly."""
    with Model(smollm2_path) as model:
        yield model
