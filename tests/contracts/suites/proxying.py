"""LiteLLM's proxy before a gateway, in a process of its own that ends with the test."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contracts.suites.clients import environ, program

KEY = "sk-" + secrets.token_hex(24)
"""What clients of the proxy send; it starts with no weak one."""

START_SECONDS = 300.0
"""Seconds for it to answer."""


@contextmanager
def litellm_proxy(gateway: str, folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Its base URL. Deployments: `steered`; `lenient`, the same, which may fail; `absent`, which the gateway lacks."""
    upstreams = {"steered": "steered", "lenient": "steered", "absent": "absent"}
    deployments: list[dict[str, object]] = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{model}", "api_base": gateway, "api_key": "any", "max_retries": 0},
            "model_info": {"allowed_fails": 3} if name == "lenient" else {},
        }
        for name, model in upstreams.items()
    ]
    config, log, port = folder / "proxy.yaml", folder / "proxy.log", free_port()
    settings = {"model_list": deployments, "router_settings": {"num_retries": 0}}
    config.write_text(json.dumps({**settings, "general_settings": {"master_key": KEY}}), encoding="utf-8")
    command = [program("litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--telemetry", "False"],
            cwd=folder,
            env=environ(folder, variables),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def free_port() -> int:
    """A port that nobody listens on; the proxy takes no 0."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until a server answers. Fails the test where it ends before."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - an address on this machine
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"{process.args!r} did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}", pytrace=False)
