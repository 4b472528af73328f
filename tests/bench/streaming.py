"""Many streaming clients of a gateway, and the servers that they ask, each a process of its own.

The clients are written on bare sockets, since they share the machine with what is measured.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

from blackbox_proxy.local.pairfile import demo_pair
from blackbox_proxy.tasks.demonstration import LOCAL

ADAPTER = demo_pair().parent / "house-format.lora.gguf"
"""The demo's."""

DEMO = f"model = {json.dumps(LOCAL)}\nadapter = {json.dumps(str(ADAPTER))}\n"
"""The demo's pair, as a pair file names it."""

LATENCY = 0.1
"""Seconds that the scripted API takes for a reply."""

TEXT = (
    "The sea is wide and blue and it is deep , and the wind that comes from the sea is cold in the winter . "
    "In the summer the children of the town go to the sea to swim , and the old people sit in the sun and talk . "
    "A boat is a good thing to have when the weather is fine , but in a storm it is better to stay at home . "
    "The moon is round and white and it is far from the town , and at night the light of the moon is on the sea ."
)
THINGS = ("the sea", "winter", "bread", "a bicycle", "music", "the moon", "rivers", "trees", "chess", "glass")


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer. gap: nats between the two best of its place; NaN where no log-probs were asked for."""

    piece: bytes
    gap: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came for one question. first: seconds until the first text. tokens: by chunk where no log-probs came."""

    question: str
    first: float
    tokens: tuple[Token, ...]

    @property
    def text(self) -> bytes:
        return b"".join(token.piece for token in self.tokens)


@final
@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: where it answers, and its process."""

    url: str
    process: subprocess.Popen[str]

    def resident_mb(self) -> float:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def cpu_seconds(self) -> float:
        """What it has computed so far, all threads together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(*arguments: str) -> Iterator[Running]:
    """A server in a process of its own: a module and its arguments. It prints where it answers, and ends when told."""
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            said = server.stdout.readline().split()
            if not said:
                raise RuntimeError(f"{arguments} ended before it answered, with status {server.wait()}")
            yield Running(said[-1], server)
            server.terminate()
            server.wait(60)
        finally:
            server.kill()


def closed_model(own: Mapping[str, Sequence[str]]) -> Mapping[str, object]:
    """The script of a model of words: what follows a word in the text is likely after it, all others are possible.

    own: questions whose answers are of words of their own, in whatever order the pair likes best.
    """
    words = [f" {word}" for word in TEXT.split()]
    own = {question: [f" {word}" for word in spoken] for question, spoken in own.items()}
    everywhere = dict.fromkeys(words, 0.01)
    distributions = {"": everywhere}
    for word, after in pairwise(words):
        distribution = distributions.setdefault(word, dict(everywhere))
        distribution[after] += 1.0
    for question, spoken in own.items():
        for place in (question, *spoken):
            distributions[place] = {word: 0.1 if word == place else 1.0 for word in spoken}
    pieces = [*dict.fromkeys([*words, *chain(*own.values())]), *({"bytes": [byte]} for byte in range(256))]
    return {"pieces": pieces, "ends": ["</s>"], "distributions": distributions}


@contextmanager
def scripted_api(
    folder: Path, *, clients: int, own: Mapping[str, Sequence[str]] | None = None, latency: float = LATENCY
) -> Iterator[Running]:
    """The stand-in over the scripted model, for so many clients; see `closed_model`."""
    script = folder / "closed.json"
    script.write_text(json.dumps(closed_model(own or {})), encoding="utf-8")
    options = ("--name", "closed", "--slots", str(clients), "--quirk", f"latency={latency}")
    with process("blackbox_proxy", "standin", "--script", str(script), *options) as running:
        yield running


def cells_of(clients: int) -> int:
    """Cells of the pair's cache: a question and its answer are shorter than 128 tokens."""
    return max(clients, 4) * 128


def write_config(folder: Path, url: str, *, clients: int, context: int, tokens: int, members: str = DEMO) -> Path:
    """A gateway of one model, `steered`, by a pair of these members, which holds as many texts as there are clients."""
    (folder / "pair.toml").write_text(
        f"{members}context = {context}\nslots = {clients}\ncells = {cells_of(clients)}\n", encoding="utf-8"
    )
    (folder / "question.jinja").write_text("{{ messages[-1].content }}", encoding="utf-8")
    path = folder / "gateway.toml"
    path.write_text(
        f"""
[server]
port = 0
[ledger]
off = true
[upstreams.scripted]
base_url = {json.dumps(url)}
at_once = {clients}
[models.steered]
upstream = "scripted"
model = "closed"
pair = "pair.toml"
template = "question.jinja"
steering = {{ alpha = 0.5, max_tokens = {tokens} }}
""",
        encoding="utf-8",
    )
    return path


async def ask(url: str, question: str, *, logprobs: bool = False) -> Answer:
    """One streamed chat over a connection of its own. Raises RuntimeError for whatever is no whole answer."""
    where = urlsplit(url)
    shown = {"logprobs": True, "top_logprobs": 2} if logprobs else {}
    body = {"model": "steered", "messages": [{"role": "user", "content": question}], "stream": True, **shown}
    before = time.perf_counter()
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(_request(f"{where.path}/chat/completions", where.netloc, json.dumps(body).encode()))
        tokens: list[Token] = []
        first, ended = math.nan, False
        async for event in _events(reader):
            ended = event == b"[DONE]"
            fresh = [] if ended else _tokens(json.loads(event), logprobs=logprobs)
            if fresh and not tokens:
                first = time.perf_counter() - before
            tokens += fresh
        if not ended or not tokens:
            raise RuntimeError(f"the answer to {question!r} broke off after {len(tokens)} tokens")
        return Answer(question, first, tuple(tokens))
    finally:
        writer.close()


def _request(path: str, host: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The data of the server-sent events of a chunked reply."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.splitlines()[0]:
        raise RuntimeError(f"refused: {head.decode()}{(await reader.read()).decode()}")
    rest = b""
    while size := int(await reader.readline(), 16):
        rest += (await reader.readexactly(size + 2))[:-2]
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            if not event.startswith(b":"):  # a comment, which keeps the connection alive
                yield event.removeprefix(b"data: ")


def _tokens(chunk: dict[str, Any], *, logprobs: bool) -> list[Token]:
    """The tokens of one chunk. Raises RuntimeError where it is an error."""
    if "error" in chunk:
        raise RuntimeError(f"the stream broke off: {chunk['error']}")
    (choice,) = chunk["choices"]
    if not logprobs:
        text = choice["delta"].get("content")
        return [Token(text.encode(), math.nan)] if text else []
    return [Token(bytes(one["bytes"]), _gap(one)) for one in (choice["logprobs"] or {"content": []})["content"]]


def _gap(entry: dict[str, Any]) -> float:
    first, second = (top["logprob"] for top in entry["top_logprobs"])
    return float(first - second)


async def ask_in_turn(url: str, questions: Sequence[str], *, logprobs: bool = False) -> list[Answer]:
    """One client: a question after the other."""
    return [await ask(url, question, logprobs=logprobs) for question in questions]
