"""Answers requests by a scenario: finds the exchange, counts how often each was begun, and says what comes next.

The one part of a scenario that remembers anything. Knows no HTTP.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.openai_http.turns import Unfinished
from blackbox_proxy.standin.engine import DecodingPlace, SamplingParams, choose
from blackbox_proxy.standin.plan import Fault
from blackbox_proxy.standin.reading import PromptTask
from blackbox_proxy.standin.requests import Source, StandinRequest
from blackbox_proxy.standin.scenarios.answers import END, ScriptedAnswer, following, tokens_of
from blackbox_proxy.standin.scenarios.asked import Asked, AskedTurn, Fit, asked_chat, asked_text, fits, refusal_text
from blackbox_proxy.standin.scenarios.exchanges import Scenario, ScriptedError, ScriptedExchange
from blackbox_proxy.standin.script import NEVER
from blackbox_proxy.types import Logits, Prompt, TokenPath

_OBEYED = frozenset(
    (
        *("tools", "tool_choice", "functions", "function_call", "parallel_tool_calls", "response_format", "text"),
        *("presence_penalty", "frequency_penalty"),
    )
)
"""Fields that would change what a model says, and do not change what a scenario does."""

_OF_TOOLS = frozenset(("tool_calls", "function_call", "tool_call_id"))


@final
@dataclass(frozen=True, slots=True)
class ScriptedOutcome:
    """What a request comes to: answers to generate, and what is odd about them.

    calls: calls of tools, which the only answer makes, and what it says besides. delay: seconds before it begins.
    error: what goes wrong.
    """

    tasks: tuple[PromptTask, ...]
    calls: tuple[ToolCall, ...] = ()
    said: ScriptedAnswer | None = None
    delay: float = 0.0
    error: Fault | ScriptedError | None = None


@final
class AnswerPlace:
    """Where an answer of a scenario stands, in place of a slot over weights (`engine.DecodingPlace`).

    start: how many tokens of a path are the prompt's.
    """

    def __init__(self, scenario: Scenario, exchange: ScriptedExchange, *, start: int) -> None:
        self._scenario = scenario
        self._exchange = exchange
        self._answer = exchange.answer or ScriptedAnswer(())
        self._start = start

    def reuse(self, path: TokenPath) -> int:  # noqa: ARG002 - as `DecodingPlace` has it
        """Nothing: a prompt is not read."""
        return 0

    def after(self, path: TokenPath) -> Logits:
        """The logits after a path, shape (V,)."""
        weights, tail = self._following(path)
        vocabulary = self._scenario.vocabulary
        masses = np.zeros(len(vocabulary))
        np.add.at(masses, list(weights), list(weights.values()))
        others = vocabulary.is_text & (masses == 0.0)
        if tail > 0.0:
            masses[others] = tail / others.sum()
        with np.errstate(divide="ignore"):
            logits: Logits = np.maximum(np.log(masses), NEVER).astype(np.float32)
        return logits

    def decided(self, path: TokenPath, sampling: SamplingParams, *, chance: np.random.Generator) -> int | None:
        """What is said next; or what is drawn of the tokens that are written there, since the tail leads nowhere."""
        follows = following(self._answer, self._text(path))
        if follows is None or not self._scenario.sampled:
            return None if follows is None else self._id(follows.said)
        written = list(map(self._id, follows.weights))
        logits: Logits = np.full(len(self._scenario.vocabulary), -np.inf, dtype=np.float32)
        logits[written] = self.after(path)[written]
        return choose(logits, sampling, chance=chance)

    def room(self, path: TokenPath) -> int | None:
        """How many tokens the answer has after a path, where it ends by its length; None for no limit."""
        follows = following(self._answer, self._text(path))
        return None if follows is None or self._exchange.finish == "stop" else follows.remaining

    def _text(self, path: TokenPath) -> bytes:
        return self._scenario.vocabulary.text_of(path[self._start :])

    def _following(self, path: TokenPath) -> tuple[Mapping[int, float], float]:
        """The probabilities by ids, and the tail."""
        text = self._text(path)
        follows = following(self._answer, text)
        if follows is None:
            said = (
                f"{self._scenario.name}, {self._exchange.where}, says nothing after {text.decode('utf-8', 'replace')!r}"
            )
            raise Refusal(said[:1000], code="unexpected_request")
        weights: Counter[int] = Counter()
        for piece, p in follows.weights.items():
            weights[self._id(piece)] += p  # type: ignore[assignment]  # a Counter of weights
        return weights, follows.tail

    def _id(self, piece: bytes) -> int:
        """The token; of the rest of one, the longest that it begins with."""
        vocabulary = self._scenario.vocabulary
        return self._scenario.end if piece == END else vocabulary.spell(piece)[0]


def _as_it_is(place: DecodingPlace) -> DecodingPlace:
    return place


@final
class ScenarioDesk:
    """Answers by a scenario, and remembers how often each of its exchanges was begun. May be used by any thread.

    place: what becomes of the place where an answer stands.
    """

    def __init__(self, scenario: Scenario, *, place: Callable[[DecodingPlace], DecodingPlace] = _as_it_is) -> None:
        self._scenario = scenario
        self._place = place
        self._lock = threading.Lock()
        self._begun: Counter[int] = Counter()
        self._latest: list[int] = []

    def reset(self) -> None:
        """Forget which exchanges were begun."""
        with self._lock:
            self._begun.clear()
            self._latest.clear()

    def answer(self, body: Body, request: StandinRequest) -> ScriptedOutcome:
        """What comes of a request.

        Args:
            body: Its body, where calls of tools stand.
            request: The same without them (`without_tools`), read.

        Raises:
            Refusal: Where no exchange answers it; says which is nearest.
        """
        if request.echo:
            raise Refusal("Unsupported parameter: 'echo' is not supported by a scenario.", param="echo")
        picked = [self._pick(source, body) for source in request.sources]
        exchanges = [self._scenario.exchanges[fit.at] for fit in picked]
        tasks = tuple(self._task(fit, source, request) for fit, source in zip(picked, request.sources, strict=True))
        first = next((one for one in exchanges if one.error is not None or one.calls), exchanges[0])
        return ScriptedOutcome(tasks, first.calls, first.answer, max(one.delay for one in exchanges), first.error)

    def _pick(self, source: Source, body: Body) -> Fit:
        asked = _asked(source, body)
        with self._lock:
            fitting = list(fits(self._scenario, asked))
            fit = self._continued(fitting) or next((one for one in fitting if not self._is_used_up(one.at)), None)
            if fit is None:
                used_up = [one.at for one in fitting]
                raise Refusal(refusal_text(self._scenario, asked, used_up=used_up), code="unexpected_request")
            if not fit.so_far:
                self._begun[fit.at] += 1
                self._latest = [*(one for one in self._latest if one != fit.at), fit.at]
        return fit

    def _continued(self, fitting: Sequence[Fit]) -> Fit | None:
        """The exchange whose answer is gone on with: the one that was begun last."""
        going = [one for one in fitting if one.so_far and one.at in self._latest]
        return max(going, key=lambda one: self._latest.index(one.at), default=None)

    def _is_used_up(self, at: int) -> bool:
        times = self._scenario.exchanges[at].times
        return times is not None and self._begun[at] >= times

    def _task(self, fit: Fit, source: Source, request: StandinRequest) -> PromptTask:
        """A prompt is a token for each of its words; the answer so far stands behind it in tokens of its own."""
        exchange = self._scenario.exchanges[fit.at]
        words = sum(len(tokens_of(text)) for text in _texts(source)) - len(tokens_of(fit.so_far.decode()))
        prompt = (self._scenario.word,) * max(words, 1)
        so_far = tuple(self._scenario.vocabulary.spell(fit.so_far))
        place = AnswerPlace(self._scenario, exchange, start=len(prompt))
        path = (*prompt, *so_far)
        asked, room = request.max_tokens, place.room(path)
        limits = [limit for limit in (asked, room, _MOST) if limit is not None]
        repeated = isinstance(source, Unfinished) and source.repeated
        pieces = tuple(self._scenario.vocabulary.pieces[i] for i in so_far) if repeated else ()
        return PromptTask(path, min(limits), pieces, self._place(place))


_MOST = 1_000_000
"""Tokens of an answer, where nobody says how many."""


def without_tools(body: Body) -> Body:
    """A body without what only tools and forms of output need; their results are turns of the user."""
    kept = {name: value for name, value in body.items() if name not in _OBEYED}
    messages = body.get("messages")
    if isinstance(messages, list):
        kept["messages"] = [_without_calls(one) if isinstance(one, dict) else one for one in messages]
    return kept


def _without_calls(message: Body) -> Body:
    plain = {name: value for name, value in message.items() if name not in _OF_TOOLS}
    return {**plain, "role": "user"} if message.get("role") == "tool" else plain


def _asked(source: Source, body: Body) -> Asked:
    """Raises Refusal for a prompt of token ids: whose they are, a scenario cannot know."""
    if isinstance(source, str):
        return asked_text(source)
    if isinstance(source, Unfinished):
        return asked_chat(body, source.partial)
    if isinstance(source, Prompt):
        chat = asked_chat(body, None)
        turns = tuple(AskedTurn(message.role, message.content) for message in source.messages)
        return chat if chat.turns else Asked(turns)
    raise Refusal("Invalid 'prompt': a scenario reads text, not token ids.", param="prompt", code="invalid_type")


def _texts(source: Source) -> list[str]:
    """All texts of a prompt."""
    if isinstance(source, Prompt):
        return [message.content for message in source.messages]
    if isinstance(source, Unfinished):
        return [*(message.content for message in source.turns), source.partial]
    return [source] if isinstance(source, str) else []
