"""A gateway of several workers as the program starts it, for tests: a process with what it says."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.cli.runs import PROGRAM

SECONDS = 60.0


@dataclass
class WorkerGateway:
    """The process that started the workers, its base URL, and the lines that all of them wrote to standard error."""

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)
    fresh: queue.Queue[str] = field(default_factory=queue.Queue)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line that has this in it."""
        while True:
            found = re.search(pattern, self.fresh.get(timeout=SECONDS))
            if found:
                return found

    def workers(self) -> list[int]:
        """The process ids of the workers that run now, the oldest first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(child) for child in children.split()]

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append(line)
            self.fresh.put(line)


@contextmanager
def serving_workers(path: Path, *arguments: str, workers: int = 2) -> Iterator[WorkerGateway]:
    """Serve a configuration by several workers; ended by SIGTERM, unless it has ended."""
    command = [*PROGRAM, "serve", "--config", str(path), "--json", "--workers", str(workers), *arguments]
    with subprocess.Popen(
        command, text=True, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        gateway = WorkerGateway(process)
        assert process.stderr
        assert process.stdout
        listener = threading.Thread(target=gateway._listen, args=(process.stderr,))
        listener.start()
        try:
            first = process.stdout.readline()
            assert first, gateway.lines
            gateway.url = json.loads(first)["url"]
            yield gateway
            if process.poll() is None:
                process.terminate()
                assert process.wait(SECONDS) in {0, -signal.SIGTERM}
        finally:
            process.kill()
            listener.join(SECONDS)
    assert not [line for line in gateway.lines if "Traceback" in line], gateway.lines
