"""Starts and stops servers that nobody here wrote: each in a process of its own over a GGUF, on a free loopback port.

They are in the environment of `make contracts`. Knows no adapter.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

ADDRESS = re.compile(r"http://127\.0\.0\.1:[1-9]\d*")
START_SECONDS = 120.0
"""Seconds for a server to say where it is."""


@contextmanager
def llama_server(model: Path, log: Path, *, finished_turns: bool = False) -> Iterator[str]:
    """llama.cpp's own; gives its root, without /v1. finished_turns: it does not go on from an assistant's turn."""
    program = Path(__file__).with_name("llama_server.py")
    flags = ["--finished-turns"] if finished_turns else []
    with _served("xllamacpp", [str(program), str(model), *flags], log) as url:
        yield url


@contextmanager
def llama_cpp_python(model: Path, log: Path) -> Iterator[str]:
    """llama-cpp-python's own; gives its root, without /v1."""
    options = {"model": model, "host": "127.0.0.1", "port": 0, "n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with _served("llama_cpp.server", ["-m", "llama_cpp.server", *words, "--logits_all", "true"], log) as url:
        yield url


@contextmanager
def _served(module: str, arguments: Sequence[str], log: Path) -> Iterator[str]:
    """The address of `python ARGUMENTS`, which is stopped at the end. Fails the test where it does not start."""
    if find_spec(module.partition(".")[0]) is None or find_spec(module) is None:
        pytest.fail(f"{module} is not installed here: run `make contracts`", pytrace=False)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the server wrote of where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = ADDRESS.search(log.read_text("utf-8", "replace"))
        if found:
            return found[0]
        time.sleep(0.05)
    pytest.fail(f"{process.args!r} did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}", pytrace=False)
