"""Toy models with a distribution that anyone can compute, and a pair and an API over them.

A `ToyModel` draws its next-token logits from a seed and the last few tokens, so it is a real autoregressive model,
only a senseless one. `ToyPair` and `ToyApi` stand where `Pair` and `Api` do, without weights and without a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import final

import numpy as np

from blackbox_proxy.core.alignment.covering import Cover, place
from blackbox_proxy.core.alignment.scoring import BACK_OFF, CLOSE, run, scored
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Candidate,
    Capabilities,
    Distribution,
    Draw,
    DrawnAnswer,
    Echo,
    Echoed,
    Floats,
    Generate,
    Kind,
    Logits,
    PairDistributions,
    PairPrompt,
    Position,
    Prompt,
    Purpose,
    Reply,
    Reveal,
    RevealMethod,
    Sampling,
    Score,
    Scores,
    TokenPath,
    Usage,
)


@final
@dataclass(frozen=True, slots=True)
class ToyModel:
    """Next-token logits from a seed and the last `memory` tokens; sharpness spreads them."""

    vocabulary: Vocabulary
    seed: int = 0
    memory: int = 2
    sharpness: float = 2.0

    def logits(self, path: TokenPath) -> Logits:
        """Logits after a token path, shape (V,)."""
        recent = [i + 1 for i in path[-self.memory :]]
        rng = np.random.default_rng([self.seed, len(recent), *recent])
        return (self.sharpness * rng.standard_normal(len(self.vocabulary))).astype(np.float32)

    def distribution(self, path: TokenPath) -> Distribution:
        """The distribution after a token path."""
        logits = self.logits(path)
        return Distribution(logits, float(np.logaddexp.reduce(logits.astype(np.float64))))


@final
@dataclass(frozen=True, slots=True)
class ToyPair:
    """Two toy models over one vocabulary, with the engine's view of a pair."""

    expert: ToyModel
    anti_expert: ToyModel
    evaluated: list[TokenPath] = field(default_factory=list)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of both."""
        return self.expert.vocabulary

    def spell(self, text: bytes) -> list[int]:
        """Longest pieces first."""
        return self.vocabulary.spell(text)

    def api_ids(self, text: str) -> TokenPath:
        """The prompt's own tokens."""
        return tuple(self.spell(text.encode()))

    def prompt(self, prompt: Prompt) -> PairPrompt:
        """The raw text's tokens, for both."""
        ids = self.api_ids(prompt.text)
        return PairPrompt(ids, ids)

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:
        """Both distributions after each path; keeps what was asked in `evaluated`."""
        self.evaluated.extend(paths)
        return [
            PairDistributions(
                self.expert.distribution(prompt.expert + path), self.anti_expert.distribution(prompt.anti_expert + path)
            )
            for path in paths
        ]

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt | None = None) -> Scores:
        """How probable both find it that `context` goes on with each piece, closely: see `local.pair.Pair.score`."""
        asked = scored(context, pieces, vocabulary=self.vocabulary, spell=self.spell, tolerance=CLOSE, small=0.0)
        read = self.prompt(prompt or Prompt())
        return run(asked, lambda paths: self.distributions(read, paths))

    def propose(self, context: bytes, count: int, *, prompt: Prompt | None = None) -> Sequence[bytes]:
        """What the expert would go on with: see `local.pair.Pair.propose`."""
        at = place(context, spell=self.spell, vocabulary=self.vocabulary, back_off=BACK_OFF)
        distributions = self.distributions(self.prompt(prompt or Prompt()), at.paths)
        return Cover(self.vocabulary, at, dict(zip(at.paths, distributions, strict=True))).proposals(count)


@final
@dataclass(slots=True)
class ToyApi:
    """An API over a toy model that shows its top-k, cutting text into tokens as `spell` does.

    It drafts greedily at temperature 0 and draws from its whole distribution otherwise, by the seed it is given or by a
    count of its calls; a drawn token outside the top-k has its true log-prob and is not listed. `can`: how it reveals
    others. It gives back what it is sent where it is asked to (`echo`), and takes lists of prompts (`prompt_lists`).
    Without `logprobs` it says so, and steering must do without; it draws up to `answers_at_once` answers in a request.
    """

    toy: ToyModel
    spell: Callable[[bytes], Sequence[int]]
    top_k: int = 5
    model: str = "toy"
    asked: list[Ask] = field(default_factory=list)
    vocabulary: Vocabulary | None = None
    can: RevealMethod = "none"
    prompt_lists: bool = True
    echo: bool = True
    logprobs: bool = True
    answers_at_once: int = 1

    def capabilities(self) -> Capabilities:
        """Exact continuation of text or ids."""
        return Capabilities(
            top_k=self.top_k,
            token_ids=True,
            reveal=self.can,
            prompt_lists=self.prompt_lists,
            echo=self.echo,
            logprobs=self.logprobs,
            answers_at_once=self.answers_at_once,
        )

    def text(self, prompt: Prompt) -> str:
        """The raw text of the prompt."""
        return prompt.text

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        """Go on from the text, or the ids, of the ask, and report what it asks for besides."""
        self.asked.append(ask)
        path = self._path(ask)
        if isinstance(ask, Draw):
            return self._answers(path, ask)
        echoed = self._echoed(path, ask) if isinstance(ask, Echo) else ()
        given = self._given(path) if isinstance(ask, Score) else ()
        positions = self._written(path, ask)
        finish = "stop" if positions[-1].sampled.kind is Kind.END else "length"
        usage = Usage(output=len(positions), requests=1)
        return Reply(positions, finish, usage, "toy", echoed=echoed, given=given)

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        """`send`; nothing is awaited."""
        return self.send(ask)

    def send_list(self, asks: Sequence[Ask], _purpose: Purpose = NO_RUN, /) -> Sequence[Reply]:
        """All asks in one request, whose usage the first reply has."""
        first, *rest = map(self.send, asks)
        written = sum((reply.usage.output for reply in rest), first.usage.output)
        whole = replace(first, usage=replace(first.usage, output=written))
        return [whole, *(replace(reply, usage=Usage()) for reply in rest)]

    async def asend_list(self, asks: Sequence[Ask], _purpose: Purpose = NO_RUN, /) -> Sequence[Reply]:
        """`send_list`; nothing is awaited."""
        return self.send_list(asks)

    def _answers(self, path: TokenPath, ask: Draw) -> Reply:
        """Whole answers, drawn from the seed on."""
        seed = len(self.asked) if ask.sampling.seed is None else ask.sampling.seed
        drawn = []
        for at in range(ask.count):
            one = Generate(ask.model, ask.prefix, self.top_k, ask.length, replace(ask.sampling, seed=seed + at))
            sampled = [position.sampled for position in self._written(path, one)]
            text = b"".join(c.piece for c in sampled if c.kind is not Kind.END).decode("utf-8", "replace")
            finish = "stop" if sampled[-1].kind is Kind.END else "length"
            logp = math.fsum(c.logp for c in sampled) if self.logprobs else None
            drawn.append(DrawnAnswer(text, finish, logp, len(sampled)))
        usage = Usage(output=sum(one.tokens or 0 for one in drawn), requests=1)
        return Reply((), None, usage, "toy", drawn=tuple(drawn))

    def _path(self, ask: Ask) -> TokenPath:
        """What is sent, in tokens."""
        if isinstance(ask, Score):
            return tuple(self.spell(ask.text)) if ask.ids is None else ask.ids
        text, ids = b"", TokenPath()
        if isinstance(ask, Echo):
            text, ids = ask.draft, ask.draft_ids
        if ask.prefix.ids is not None:
            return ask.prefix.ids + ids
        return tuple(self.spell(ask.prefix.prompt.encode() + ask.prefix.answer + text))

    def _written(self, path: TokenPath, ask: Ask) -> tuple[Position, ...]:
        """The positions of the tokens that it goes on with."""
        sampling = (ask.sampling if isinstance(ask, Generate) else None) or Sampling(0.0)
        rng = np.random.default_rng(len(self.asked) if sampling.seed is None else sampling.seed)
        requested = ask.ids if isinstance(ask, Reveal) else ()
        positions: list[Position] = []
        while len(positions) < ask.length:
            logps = self._logps(path)
            warm = sampling.temperature > 0.0
            token = _draw(logps / sampling.temperature, rng) if warm else int(np.argmax(logps))
            positions.append(self._position(logps, token, requested=requested))
            if positions[-1].sampled.kind is Kind.END:
                break
            path = (*path, token)
        return tuple(positions)

    def _echoed(self, path: TokenPath, ask: Echo) -> tuple[Echoed, ...]:
        """The borders between tokens that lie inside the draft, each with the position there."""
        pieces, prefix = self.toy.vocabulary.pieces, ask.prefix
        if prefix.ids is None:
            before, ends = len(prefix.prompt.encode() + prefix.answer), [0, *accumulate(len(pieces[i]) for i in path)]
        else:
            before, ends = len(prefix.ids), list(range(len(path) + 1))
        places = [(n, end - before) for n, end in enumerate(ends[:-1]) if end >= before]
        logps = ((at, self._logps(path[:n])) for n, at in places)
        return tuple(Echoed(at, self._position(there, int(np.argmax(there)))) for at, there in logps)

    def _given(self, path: TokenPath) -> tuple[Position, ...]:
        """One position for each token that was sent; nothing is known of the first."""
        places = [self._position(self._logps(path[:n]), i) for n, i in enumerate(path)]
        first = [replace(place, sampled=replace(place.sampled, logp=-math.inf)) for place in places[:1]]
        return (*first, *places[1:])

    def _logps(self, path: TokenPath) -> Floats:
        """Log-probs of the whole vocabulary after a path, shape (V,)."""
        distribution = self.toy.distribution(path)
        return distribution.logits.astype(np.float64) - distribution.log_norm

    def _position(self, logps: Floats, sampled: int, *, requested: TokenPath = ()) -> Position:
        """What it reports where one token was sampled: the top-k, and the tokens that were requested besides."""
        order = np.argsort(-logps, kind="stable")[: self.top_k].tolist()
        top = tuple(self._candidate(i, float(logps[i])) for i in order)
        others = tuple(self._candidate(i, float(logps[i])) for i in requested if i not in order)
        tail = max(0.0, 1.0 - math.fsum(math.exp(c.logp) for c in (*top, *others)))
        return Position(self._candidate(sampled, float(logps[sampled])), top, tail, top[-1].logp, others)

    def _candidate(self, i: int, logp: float) -> Candidate:
        kind = Kind.END if i in self.toy.vocabulary.ends else Kind.TEXT
        return Candidate(self.toy.vocabulary.pieces[i], logp, kind, i)


def _draw(logits: Floats, rng: np.random.Generator) -> int:
    """One id from a distribution given by its logits."""
    return int(np.argmax(logits + rng.gumbel(size=len(logits))))
