"""A toy model for the quirks: fragments of characters, an early end, and a distribution that a test can recite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from blackbox_proxy.standin import Script, StandinOptions, Traffic, running, script
from tests.standin.raw import Answer, Json, post

PARROT = "🦜".encode()
DISTRIBUTION = {b"a": 0.4, b"b": 0.3, PARROT[:2]: 0.1, b"</s>": 0.08, b"\xc3": 0.06, b"\xe2": 0.04, b"c": 0.02}
"""The distribution after every text but the next ones."""

DISTRIBUTIONS = {
    b"": DISTRIBUTION,
    b"x": {b"</s>": 0.9, b"a": 0.1},
    b"go ": {b"d": 0.9, b"a": 0.1},
    b"go": {b"e": 0.9, b"a": 0.1},
    b"go</a>": {b"f": 1.0},
    PARROT[:2]: {PARROT[2:]: 1.0},
    b"p": {PARROT[:2]: 0.9, b"a": 0.1},
}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}</{{ m.role[0] }}>{% endfor %}"
    "{% if messages[-1].role == 'assistant' %}go</a>{% endif %}"
)
PIECES = [*(bytes([sign]) for sign in (10, *range(32, 127))), PARROT[:2], PARROT[2:], b"\xc3", b"\xe2", b"ab"]


def toy() -> Script:
    return script(PIECES, [b"</s>"], DISTRIBUTIONS, template=TEMPLATE)


def logp(piece: bytes, temperature: float = 1.0) -> float:
    """The log-prob of a piece after a text that no distribution names, at a temperature."""
    weights = {one: share ** (1 / temperature) for one, share in DISTRIBUTION.items()}
    return math.log(weights[piece] / sum(weights.values()))


@dataclass(frozen=True, slots=True)
class Api:
    """A running stand-in, asked as a client would; every field may be said otherwise, None leaves one out."""

    url: str

    def completion(self, prompt: Json = "o", **fields: Json) -> Answer:
        return self._post("/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 3}, fields)

    def chat(self, *said: str, flags: Json = None, **fields: Json) -> Answer:
        """Turns of the user and the assistant in turn; flags: further fields of the last one."""
        roles = ("user", "assistant")
        turns: list[Json] = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said or ("o",))]
        turns[-1] |= flags or {}
        asked = {"messages": turns, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 3}
        return self._post("/chat/completions", asked, fields)

    def response(self, said: Json = "o", **fields: Json) -> Answer:
        asked = {"input": said, "max_output_tokens": 16, "temperature": 0, "top_logprobs": 3}
        return self._post("/responses", asked | {"include": ["message.output_text.logprobs"]}, fields)

    def _post(self, path: str, asked: Json, fields: Json) -> Answer:
        body = {"model": "toy", **asked, **fields}
        return post(self.url, path, {name: value for name, value in body.items() if value is not None})


@contextmanager
def served(*quirks: str, traffic: Traffic | None = None) -> Iterator[Api]:
    """The toy behind HTTP, with these quirks."""
    options = StandinOptions(name="toy", quirks=quirks)
    if traffic is not None:
        options["traffic"] = traffic
    with running(toy(), **options) as url:
        yield Api(url)


def content(answer: Answer) -> str:
    """What a chat said."""
    said: str = answer.json["choices"][0]["message"]["content"]
    return said


def entries(answer: Answer) -> list[Json]:
    """The entries of a chat's log-probs."""
    listed: list[Json] = answer.json["choices"][0]["logprobs"]["content"]
    return listed


def legacy(answer: Answer) -> dict[str, Json]:
    """The log-probs of a completion."""
    logprobs: dict[str, Json] = answer.json["choices"][0]["logprobs"]
    return logprobs


def drawn(answer: Answer) -> list[str]:
    """The texts of all choices of a completion."""
    return [choice["text"] for choice in answer.json["choices"]]
