"""SIGHUP to a gateway that runs as a process: what the file says now holds, a stream goes on, and nothing ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.standin import running
from tests.cli.runs import PROGRAM
from tests.gateway.serving import CONTEXT, config_text
from tests.standin.raw import Json, call, connect, post, whole
from tests.tiny_gguf import TinyModel

ASKED = {"model": "steered", "prompt": "the then", "max_tokens": 30, "temperature": 0, "steering": {"draft": 1}}
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")


@dataclass
class Gateway:
    """A process that serves a configuration file."""

    process: subprocess.Popen[str]
    path: Path
    url: str = ""
    said: queue.Queue[str] = field(default_factory=queue.Queue)

    def hang_up(self, text: str | None = None) -> str:
        """Send SIGHUP, with another configuration; what the log says of it."""
        if text is not None:
            self.path.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        while not (line := self.said.get(timeout=60)).startswith("SIGHUP"):
            pass
        return line


def _listen(stream: IO[str], said: queue.Queue[str]) -> None:
    for line in stream:
        said.put(line.removeprefix("note: ").strip())


@contextmanager
def serving(path: Path) -> Iterator[Gateway]:
    command = [*PROGRAM, "serve", "--config", str(path), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=dict(os.environ), **pipes) as process:  # type: ignore[call-overload]
        try:
            gateway = Gateway(process, path)
            assert process.stderr
            assert process.stdout
            listener = threading.Thread(target=_listen, args=(process.stderr, gateway.said))
            listener.start()
            gateway.url = json.loads(process.stdout.readline())["url"]
            yield gateway
            process.terminate()
            assert process.wait(60) in {0, -signal.SIGTERM}
        finally:
            process.kill()
            listener.join()


def test_models_and_keys_hold_anew_and_a_stream_goes_on(closed: TinyModel, pair_file: Path, tmp_path: Path) -> None:
    old = add_key(tmp_path / "keys.txt", "old")
    with running(closed.path, name="tiny", context=CONTEXT, quirks=["latency=0.05"]) as url:
        text = config_text(url, pair=pair_file, server='keys = "keys.txt"') + "\n[ledger]\noff = true\n"
        (tmp_path / "g.toml").write_text(text)
        with serving(tmp_path / "g.toml") as gateway:

            def ask(body: Json, key: str) -> Json:
                return post(gateway.url, "/v1/completions", body, authorization=f"Bearer {key}")

            before = ask(ASKED, old).json["choices"][0]["text"]
            headers = {"content-type": "application/json", "authorization": f"Bearer {old}"}
            with closing(connect(gateway.url, timeout=60)) as connection:
                connection.request("POST", "/v1/completions", json.dumps({**ASKED, "stream": True}), headers)
                reply = connection.getresponse()
                first = reply.read(10)
                (tmp_path / "keys.txt").unlink()
                new = add_key(tmp_path / "keys.txt", "new")
                changed = text.replace("alpha = 0.5, max_tokens = 8", "alpha = 3.0, max_tokens = 8")
                said = gateway.hang_up(changed.replace("[models.blind]", "[models.other]"))
                *chunks, done = whole(reply, begun=first).events
            assert said == "SIGHUP: 3 models and 1 keys hold from now on"
            assert ("".join(json.loads(one)["choices"][0]["text"] for one in chunks), done) == (before, "[DONE]")
            assert ask(ASKED, old).status == 401
            models = call(gateway.url, "/v1/models", authorization=f"Bearer {new}").json["data"]
            assert [model["id"] for model in models] == ["steered", "other", "plain"]
            assert ask(ASKED, new).json["choices"][0]["text"] != before, "else the new alpha does not hold"
            assert ask({**ASKED, "model": "other"}, new).status == 200
            assert ask({**ASKED, "model": "blind"}, new).status == 404


def test_a_mistake_in_the_file_changes_nothing(upstream: str, pair_file: Path, tmp_path: Path) -> None:
    text = config_text(upstream, pair=pair_file) + "\n[ledger]\noff = true\n"
    (tmp_path / "g.toml").write_text(text)
    with serving(tmp_path / "g.toml") as gateway:
        for wrong, says in (
            (text.replace("alpha", "alhpa"), "alhpa: there is no such knob"),
            (text.replace('pair = "', 'pair = "/none'), "cannot read the pair file"),
            (text.replace("port = 0", 'port = 0\nkeys = "keys.txt"'), "cannot read the key file"),
            ("", "upstreams: it is missing"),
        ):
            said = gateway.hang_up(wrong)
            assert said.startswith("SIGHUP: everything stays as it was: ")
            assert says in said
        assert post(gateway.url, "/v1/completions", {**ASKED, "max_tokens": 2}).status == 200
        assert "drain changed" in gateway.hang_up(text.replace("port = 0", "port = 0\ndrain = 5"))
        assert post(gateway.url, "/v1/completions", {**ASKED, "max_tokens": 2}).status == 200
