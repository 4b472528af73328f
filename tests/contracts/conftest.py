"""The servers of others, each started once, and the same weights in this process.

The weights are those of SmolLM2 written out in 32 bits. A quantised file rounds its activations to 8 bits, and another
build of llama.cpp then takes other steps: 0.03 nats in the mean, 0.6 at most. Written out, only the rounding of the KV
cache is left (see `test_llama_server.NATS`), so that a codec that is wrong by little is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

import llama_cpp
import pytest

from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from tests.contracts.servers import llama_cpp_python, llama_server
from tests.contracts.truth import Truth

collect_ignore = [] if find_spec("anthropic") else ["test_anthropic.py"]
"""What imports a package that only the extra `contracts` brings."""


@pytest.fixture(scope="session")
def closed(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct in 32 bits, half a gigabyte."""
    path = tmp_path_factory.mktemp("closed") / "smollm2-f32.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = llama_cpp.LLAMA_FTYPE_ALL_F32, True, 1
    assert llama_cpp.llama_model_quantize(str(smollm2_path).encode(), str(path).encode(), params) == 0
    return path


@pytest.fixture(scope="session")
def truth(closed: Path) -> Iterator[Truth]:
    """What every server over `closed` should say."""
    with Truth.of(closed) as found:
        yield found


@pytest.fixture(scope="session")
def llama(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of llama.cpp's server, which goes on from an assistant's turn."""
    with llama_server(closed, tmp_path_factory.mktemp("llama") / "log") as root:
        yield root


@pytest.fixture(scope="session")
def finishing(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of another one, for which an assistant's turn is finished."""
    with llama_server(closed, tmp_path_factory.mktemp("llama") / "log", finished_turns=True) as root:
        yield root


@pytest.fixture(scope="session")
def python_llama(closed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of llama-cpp-python's server."""
    with llama_cpp_python(closed, tmp_path_factory.mktemp("python") / "log") as root:
        yield root


@pytest.fixture(scope="session")
def pair(smollm2_path: Path) -> Iterator[Pair]:
    """The demo's pair, read row by row: its figures do not depend on how long a draft was."""
    with (
        as_file(files("blackbox_proxy.tasks") / "demo-told" / "house-format.lora.gguf") as lora,
        open_pair(PairFiles(smollm2_path, smollm2_path, lora, context=512, rows=1)) as opened,
    ):
        yield opened
