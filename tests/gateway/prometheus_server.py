"""A Prometheus of the tests' own: Debian's program on a free port of this machine, with data that goes with it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.gateway.test_health import free_port
from tests.gateway.waiting import until
from tests.standin.raw import call

PATIENCE = 120.0
"""Most seconds that anything is waited for."""


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A server that runs. url: without a path."""

    url: str

    def query(self, expression: str) -> Sequence[Mapping[str, Any]]:
        """The series that an expression gives now, each with its labels and its value."""
        answer = call(self.url, f"/api/v1/query?{urlencode({'query': expression})}")
        assert answer.status == 200, (expression, answer.body)
        read: Sequence[Mapping[str, Any]] = answer.json["data"]["result"]
        return read

    def targets(self) -> Sequence[Mapping[str, Any]]:
        """What is scraped, and how that went."""
        read: Sequence[Mapping[str, Any]] = call(self.url, "/api/v1/targets").json["data"]["activeTargets"]
        return read


def program() -> str | None:
    """Its path; None where there is none."""
    return shutil.which("prometheus")


@contextmanager
def prometheus_server(config: Path, folder: Path) -> Iterator[PrometheusServer]:
    """A server with a configuration, until the end. folder: an empty one for its data and its log."""
    port = free_port()
    command = [str(program()), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.format=json"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder) as server,
    ):
        try:
            running = PrometheusServer(f"http://127.0.0.1:{port}")
            until(lambda: _is_ready(running), lambda: (server.poll(), _last(folder / "log")), seconds=PATIENCE)
            yield running
        finally:
            server.terminate()
            server.wait(60)


def _is_ready(server: PrometheusServer) -> bool:
    try:
        return call(server.url, "/-/ready").status == 200
    except OSError:
        return False


def _last(log: Path) -> str:
    lines = log.read_text().splitlines()
    return json.dumps(lines[-3:])
