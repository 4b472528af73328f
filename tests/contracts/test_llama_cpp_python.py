"""llama-cpp-python's own server, which loses much: what is read from it is sound, and as good as it can be.

It tells strings and no bytes, leaves out of them what is not UTF-8, and keys alternatives by what is left: fragments
and the end of the answer are all the empty string, a fragment after a space is a space, and of those that are alike the
least likely is told. A token that ends the answer leaves no entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from blackbox_proxy.api import Api, connect
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.standin.server import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats, Generate, Kind, Position, Prefix
from tests.contracts.steered import check_same
from tests.contracts.texts import TEXTS
from tests.contracts.truth import Truth

pytestmark = [pytest.mark.slow, pytest.mark.weights]

NATS = 0.02
"""Both are the same build of llama.cpp. Measured: 0.006 nats at most, from how many rows are read at once."""

SHARE = 0.002
TOKENS = 3
TOP_K = 20
LOSSY = {"end_pieces": (), "bytes_trust": "lossy", "top_k": TOP_K}
"""What a user has to say of this server: no string of it is the end, and none can be relied on to be all of a token."""


@contextmanager
def completions(url: str, truth: Truth) -> Iterator[Api]:
    """The route /v1/completions of a server that loses bytes."""
    template, tokenizer = truth.model.chat_template, f"gguf:{truth.model.path}"
    with connect(url, model="m", template=template, tokenizer=tokenizer, options=LOSSY) as api:
        yield api


@dataclass(frozen=True)
class Told:
    """What the server makes of a distribution: a log-prob per string, and the tokens that they are of."""

    logps: dict[str, float]
    ids: frozenset[int]

    @classmethod
    def of(cls, distribution: Floats, truth: Truth) -> Iterator[Told]:
        """All that it may be: which token is the last of the top-k may be decided by rounding."""
        best = np.argsort(-distribution)[: TOP_K + 2]
        for last in best[TOP_K - 1 :]:
            if distribution[best[TOP_K - 1]] - distribution[last] <= NATS:
                yield cls.listed([*best[: TOP_K - 1], last], distribution, truth)

    @classmethod
    def listed(cls, best: Sequence[np.intp], distribution: Floats, truth: Truth) -> Told:
        last = {spelt(int(i), truth): int(i) for i in best}
        last[spelt(int(best[0]), truth)] = int(best[0])  # the sampled token, which is told once more
        return cls({text: float(distribution[i]) for text, i in last.items()}, frozenset(last.values()))

    def joined(self, piece: str, logp: float, first: int, truth: Truth) -> Told:
        """The same where the sampled token is a part of a character: its text tells what it and the next ones are."""
        left = {text: logp for text, logp in self.logps.items() if text != spelt(first, truth)}
        return Told(left | {piece: logp}, self.ids - {first})

    def is_near(self, position: Position) -> bool:
        shown = {c.piece.decode(): c.logp for c in position.top}
        return shown.keys() == self.logps.keys() and all(abs(shown[t] - logp) <= NATS for t, logp in self.logps.items())


def spelt(number: int, truth: Truth) -> str:
    """A token as this server writes it."""
    vocabulary = truth.model.vocabulary
    return vocabulary.pieces[number].decode("utf-8", "ignore") if vocabulary.is_text[number] else ""


@dataclass(frozen=True)
class Spoken:
    """The likeliest tokens after a path that say what one position says, of which the first may be told otherwise.

    distributions: before each token, shape (V,). left: bytes of them that the position does not say: the next one does.
    """

    ids: tuple[int, ...]
    distributions: tuple[Floats, ...]
    left: bytes

    @classmethod
    def of(cls, position: Position, path: Sequence[int], truth: Truth, *, left: bytes) -> Spoken:
        """More than one where the first is a part of a character, and the text tells which. left: of those before."""
        ids: list[int] = []
        distributions: list[Floats] = []
        said, piece = left, position.sampled.piece
        while not ids or (said != piece and piece.startswith(said)):
            distributions.append(truth.distribution((*path, *ids)))
            ids.append(int(distributions[-1].argmax()))
            said += truth.model.vocabulary.pieces[ids[-1]]
        return cls(tuple(ids), tuple(distributions), said.removeprefix(piece))

    @property
    def logp(self) -> float:
        """Of all in turn."""
        return float(sum(distribution[i] for i, distribution in zip(self.ids, self.distributions, strict=True)))

    def is_whole(self, position: Position, truth: Truth) -> bool:
        """Whether the position says just what the server said of the first token."""
        return spelt(self.ids[0], truth) == position.sampled.piece.decode()

    def told(self, position: Position, truth: Truth) -> Iterator[Told]:
        """What the server and the text make of it."""
        for told in Told.of(self.distributions[0], truth):
            piece = position.sampled.piece.decode()
            yield told if self.is_whole(position, truth) else told.joined(piece, self.logp, self.ids[0], truth)


def positions(api: Api, text: str, truth: Truth) -> Iterator[tuple[Position, Spoken]]:
    """Those of a greedy reply with the true distributions, up to where two tokens are about as likely."""
    path, left = truth.read(text), b""
    for position in api.send(Generate("m", Prefix(text), TOP_K, TOKENS)).positions:
        spoken = Spoken.of(position, path, truth, left=left)
        yield position, spoken
        for distribution in spoken.distributions:
            best = np.sort(distribution)[-2:]
            if best[1] - best[0] <= NATS:
                return
        path, left = (*path, *spoken.ids), spoken.left


def test_what_is_told_is_what_the_weights_say(python_llama: str, truth: Truth) -> None:
    count = hidden = 0
    with completions(f"{python_llama}/v1", truth) as api:
        for text in TEXTS:
            for position, spoken in positions(api, text, truth):
                found = [told for told in spoken.told(position, truth) if told.is_near(position)]
                assert found, (text, position, next(spoken.told(position, truth)).logps)
                others = np.delete(spoken.distributions[0], sorted(found[0].ids))
                joined = 0.0 if spoken.is_whole(position, truth) else math.exp(spoken.logp)
                assert position.tail == pytest.approx(float(np.exp(others).sum()) - joined, abs=SHARE)
                assert others.max() <= position.ceiling + NATS
                assert all(c.kind is not Kind.END for c in position.top)
                count, hidden = count + 1, hidden + (others.max() > min(found[0].logps.values()) + NATS)
    print(f"{count} positions; at {hidden} a token is hidden that is likelier than the least likely one shown")
    assert count >= 2 * len(TEXTS)
    assert hidden > 0


def test_the_end_of_an_answer_leaves_nothing(python_llama: str, truth: Truth) -> None:
    """The model ends its answer after exactly this; the last thing that is known is the token before."""
    question, answer = "What is the capital of France?", "The capital of France is Paris."
    start = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}"
    assert int(truth.distribution(truth.read(start)).argmax()) in truth.model.vocabulary.ends
    with completions(f"{python_llama}/v1", truth) as api:
        reply = api.send(Generate("m", Prefix(start), TOP_K, TOKENS))
    assert (reply.positions, reply.finish) == ((), "stop")


def test_steered_answers_are_those_through_a_standin_that_loses_the_same(
    python_llama: str, closed: Path, truth: Truth, pair: Pair
) -> None:
    steering = Steering(alpha=1.8, max_tokens=16, draft=1)
    quirks = ("string-collisions=empty", "hidden-end")
    asked = ("What is the capital of Albania?", "Which currency is used in Kenya?")
    with (
        running(closed, name="m", slots=1, context=512, batch=64, quirks=quirks) as url,
        completions(url, truth) as own,
        completions(f"{python_llama}/v1", truth) as api,
    ):
        found, wanted = ([steer(q, api=a, offsets=pair, steering=steering) for q in asked] for a in (api, own))
        check_same(found, wanted)
