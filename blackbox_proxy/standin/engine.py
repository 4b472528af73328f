"""Next tokens of one model with their true log-probabilities, greedy or sampled.

The log-probabilities are the raw softmax at temperature 1, whatever temperature and top-p a token was drawn with, and
they are computed only when asked for. The module knows no text, no HTTP and no reply shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, final

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Ids
from blackbox_proxy.local.branching import shared
from blackbox_proxy.local.evaluator import Evaluator, log_norm
from blackbox_proxy.local.llama import Context, Model
from blackbox_proxy.types import Floats, Logits, TokenPath

STRETCH = 64
"""How many tokens of a prompt are read before whoever waits for the answer may change their mind."""


@dataclass(frozen=True, slots=True)
class Top:
    """The most probable tokens of one position, most probable first: ids and natural log-probs, both of shape (k,)."""

    ids: Ids
    logps: Floats


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what the model thought where it stands.

    `logp` and `top` are None where nobody asked, and at the first token of a prompt, which nothing predicts.
    """

    id: int
    logp: float | None = None
    top: Top | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to go on from a prompt.

    top_k: how many alternatives to list per position; None computes no log-probs at all. temperature: 0 is greedy.
    echo: give the prompt's own tokens first, from the one at `echo_from` on. seed: where the chance comes from; equal
    seeds draw equal tokens. also: ids that are listed besides the top-k. bias: what is added to the logits of some ids
    before a token is chosen; the log-probs are those before it.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: tuple[int, ...] = (0,)
    top_k: int | None = None
    echo: bool = False
    echo_from: int = 0
    also: TokenPath = ()
    bias: tuple[tuple[int, float], ...] = ()

    @property
    def reads_prompt(self) -> bool:
        """Whether the prompt's own log-probs are wanted, for which all of it must be read again."""
        return self.echo and self.top_k is not None


def _as_it_is(logits: Logits, _sampling: SamplingParams) -> Logits:
    return logits


@dataclass(frozen=True, slots=True)
class View:
    """How log-probs are shown.

    distribution: the logits of which they are. touch: what becomes of a token before it is shown. masked: whether they
    are those behind the mask of an answer's form.

    The token is chosen without it.
    """

    distribution: Callable[[Logits, SamplingParams], Logits] = _as_it_is
    touch: Callable[[Token], Token] = lambda token: token
    masked: bool = False

    def show(self, logits: Logits, chosen: int, sampling: SamplingParams, *, also: TokenPath = ()) -> Token:
        """The chosen token as it is shown."""
        if sampling.top_k is None:
            return Token(chosen)
        return self.touch(shown_token(self.distribution(logits, sampling), chosen, top_k=sampling.top_k, also=also))


PLAIN = View()


def most_probable(logits: Logits | Floats, k: int) -> Ids:
    """The ids of the k largest, largest first; equals in the order of their ids. k may exceed V."""
    if k < len(logits):
        ids = np.flatnonzero(logits >= _bound(logits, k))
        return ids[np.argsort(-logits[ids], kind="stable")[:k]]
    return np.argsort(-logits, kind="stable")


def _bound(logits: Logits | Floats, k: int) -> np.floating[Any]:
    """A value that at least k of the logits reach, and not many more.

    The k-th largest of the maxima of disjoint groups: one pass over the row, where selecting from all of it takes ten.
    """
    folds = max(1, min(64, len(logits) // (4 * k)))
    groups = len(logits) // folds
    peaks = logits[: folds * groups].reshape(folds, groups).max(axis=0)
    bound: np.floating[Any] = np.partition(peaks, groups - k)[groups - k]
    return bound


def shown_token(logits: Logits, chosen: int, *, top_k: int | None, also: TokenPath = ()) -> Token:
    """The chosen token with its log-prob and the top k (and `also`) beside it; without them when `top_k` is None."""
    if top_k is None:
        return Token(chosen)
    norm = log_norm(logits)
    ids = most_probable(logits, top_k) if top_k else np.zeros(0, dtype=np.intp)
    if also:
        ids = np.concatenate([ids, np.setdiff1d(also, ids)])
    top = Top(ids, np.minimum(logits[ids].astype(np.float64) - norm, 0.0))
    return Token(chosen, min(float(logits[chosen]) - norm, 0.0), top)


def choose(logits: Logits, sampling: SamplingParams, *, chance: np.random.Generator) -> int:
    """The next token: the most probable at temperature 0, otherwise one drawn from the nucleus of mass top_p."""
    if sampling.bias:
        logits = logits.copy()
        for i, bias in sampling.bias:
            logits[i] += bias
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    with np.errstate(over="ignore"):  # a temperature near 0 sends every candidate to -inf, as it should
        masses = np.exp((logits.astype(np.float64) - logits.max()) / sampling.temperature)
    ids = _nucleus(masses, sampling.top_p)
    reached = np.cumsum(masses[ids])
    at = np.searchsorted(reached, chance.random() * reached[-1], side="right")
    return int(ids[min(int(at), len(ids) - 1)])


def _nucleus(masses: Floats, top_p: float) -> Ids:
    """The fewest ids whose masses reach the share `top_p` of the whole, at least one."""
    if top_p >= 1.0:
        return np.arange(len(masses))
    goal = top_p * masses.sum()
    ids = most_probable(masses, 1024)  # a few hold nearly everything; sorting all of them takes ten times longer
    if masses[ids].sum() < goal:
        ids = most_probable(masses, len(masses))
    return ids[: int(np.searchsorted(np.cumsum(masses[ids]), goal)) + 1]


class DecodingPlace(Protocol):
    """Where answers are generated; `Slot` is the real one, `script.ScriptSlot` a toy. Used by one thread at a time."""

    def reuse(self, path: TokenPath) -> int: ...

    def after(self, path: TokenPath) -> Logits: ...

    def decided(self, path: TokenPath, sampling: SamplingParams, *, chance: np.random.Generator) -> int | None: ...


class Mask(Protocol):
    """What an answer's form lets stand next; `structured.AnswerMask` is one."""

    def over(self, logits: Logits) -> Logits: ...

    def take(self, token: int) -> None: ...


@final
class Slot:
    """One context over the shared weights, with what its KV cache holds. Used by one thread at a time.

    batch: most tokens of a prompt that are read at once. llama.cpp multiplies four rows or more by other kernels than
    one row, and rounds otherwise: log-probs move by 0.05 nats on average with some quantisations. With 1, what is
    answered does not depend, to the last bit, on what was in the cache.
    """

    def __init__(self, model: Model, *, size: int, threads: int = 1, batch: int = 1) -> None:
        self._context = Context(model, size=size, threads=threads, batch=batch)
        self._evaluator = Evaluator(self._context)
        self._held: TokenPath = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._context.close()

    def reuse(self, path: TokenPath) -> int:
        """How many tokens of `path` need not be read again; its last one always is."""
        return max(min(shared(path, self._held), len(path) - 1), 0)

    def after(self, path: TokenPath) -> Logits:
        """The logits after a path, shape (V,)."""
        self._held = ()
        (row,) = self._evaluator((path,))
        self._held = path
        return row

    def decided(self, path: TokenPath, sampling: SamplingParams, *, chance: np.random.Generator) -> None:
        """Nothing: every token is chosen by its probability alone."""


def generate(
    slot: DecodingPlace,
    prompt: TokenPath,
    *,
    sampling: SamplingParams,
    ends: Collection[int],
    view: View = PLAIN,
    mask: Mask | None = None,
) -> Iterator[Token | None]:
    """Tokens after a prompt, the prompt's own first when they are to be echoed; None for a stretch of prompt read.

    mask: what the answer's form lets stand; None for anything. Stops after the first of `ends`, which is given too,
    or after `max_tokens`.
    """
    if sampling.echo:
        yield from _recite(slot, prompt, sampling=sampling, view=view)
    for end in range(slot.reuse(prompt) + STRETCH, len(prompt), STRETCH):
        slot.after(prompt[:end])
        yield None
    chance = np.random.default_rng(sampling.seed)
    path = prompt
    for _ in range(sampling.max_tokens):
        logits = slot.after(path)
        masked = logits if mask is None else mask.over(logits)
        said = None if sampling.bias or mask else slot.decided(path, sampling, chance=chance)
        chosen = choose(masked, sampling, chance=chance) if said is None else said
        yield view.show(masked if view.masked else logits, chosen, sampling, also=sampling.also)
        if chosen in ends:
            return
        if mask is not None:
            mask.take(chosen)
        path = (*path, chosen)


def _recite(slot: DecodingPlace, prompt: TokenPath, *, sampling: SamplingParams, view: View) -> Iterator[Token]:
    if sampling.top_k is None:
        yield from map(Token, prompt[sampling.echo_from :])
        return
    if not sampling.echo_from:
        yield Token(prompt[0])
    for at in range(max(sampling.echo_from, 1), len(prompt)):
        yield view.show(slot.after(prompt[:at]), prompt[at], sampling)
