"""Writes replies: steps become JSON in OpenAI's shapes, built from the classes of `openai.types`.

Log-probs are those of the steered distribution; tokens are the upstream's own, or the pair's where it had the last
word. Two shapes with one interface, as OpenAI has two routes. The module is pure and knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, final

from openai.types import CompletionChoice, CompletionUsage
from openai.types.chat import ChatCompletionTokenLogprob, chat_completion
from openai.types.chat.chat_completion_token_logprob import TopLogprob
from openai.types.completion_usage import PromptTokensDetails
from pydantic import BaseModel

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.gateway.steps import shown_steps
from blackbox_proxy.openai_http.chats import NO_EXTRA, ChatStream, Extra, chat_choice
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Chunk, EchoedLogprobs, Head, OpenChoice, bounded, escaped, marked, to_json
from blackbox_proxy.openai_http.http import DONE, broken
from blackbox_proxy.openai_http.transcript import Part, Placed, joined
from blackbox_proxy.types import Kind, Origin, Result, ScoredCandidate, Step, Usage

Answers = Sequence[Sequence[Part[Step]]]


class ReplyFigures(BaseModel):
    """What an answer took, besides what OpenAI's usage counts: everything that was asked of the upstream.

    cost_usd: a decimal number as text; null where nobody knows it. exact: see `types.Result.exactness`. local: how many
    answers the expert gave alone. sureness: of each answer, see `types.Result.sureness`. fallback: of each answer the
    upstream that gave it in place of the model's first one; null where that did. cached: the reply was kept, and took
    nothing.
    """

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    wasted_tokens: int
    lost_requests: int
    local_seconds: float
    cost_usd: str | None
    changed: int
    outside: int
    exact: bool
    local: int
    sureness: list[float | None]
    fallback: list[str | None]
    finish: list[str]
    cached: bool = False


def usage_of(results: Sequence[tuple[Result, int]], *, fallbacks: Sequence[str | None] = ()) -> CompletionUsage:
    """The usage of a reply. results: those of its answers, each with how many choices it stands for.

    fallbacks: of each answer the upstream that gave it, where that is not the first one.
    The prompt counts as the upstream counted it in its first request, and once for each prompt that was answered by a
    run of its own; the completion is what the client sees. What was paid for stands under `steering`.
    """
    taken = sum((result.usage for result, _ in results), Usage())
    cached = sum(_first(result).cached for result, _ in results)
    prompt, completion = counted_tokens(results)
    figures = ReplyFigures(
        requests=taken.requests,
        prompt_tokens=taken.input,
        cached_tokens=taken.cached,
        completion_tokens=taken.output,
        wasted_tokens=taken.wasted,
        lost_requests=taken.lost,
        local_seconds=round(taken.local_seconds, 4),
        cost_usd=cost_of(results),
        changed=sum(result.changed for result, _ in results),
        outside=sum(result.outside for result, _ in results),
        exact=all(result.exactness == "exact" for result, _ in results),
        local=sum(result.is_local for result, _ in results),
        sureness=[None if (one := result.sureness) is None else round(one, 4) for result, _ in results],
        fallback=list(fallbacks) or [None] * len(results),
        finish=[result.finish for result, _ in results],
    )
    counted = CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=min(cached, prompt), audio_tokens=0),
    )
    return CompletionUsage.model_validate({**counted.model_dump(exclude_unset=True), "steering": figures.model_dump()})


def counted_tokens(results: Sequence[tuple[Result, int]]) -> tuple[int, int]:
    """Tokens of the prompts and of the answers, as a client is told them."""
    return sum(_first(result).input for result, _ in results), sum(
        written_tokens(one) * choices for one, choices in results
    )


def _first(result: Result) -> Usage:
    """What the first request that was answered took."""
    return next((call.usage for call in result.calls if call.usage.answered), Usage())


def written_tokens(result: Result) -> int:
    """How many tokens were added to what was given; of whole answers those of the chosen one."""
    for sample in result.samples:
        if sample.chosen:
            return sample.tokens // sample.count
    return sum(step.origin is not Origin.GIVEN for step in result.steps)


def cost_of(results: Sequence[tuple[Result, int]]) -> str | None:
    """US dollars for all answers; None where one is unknown."""
    costs = [result.cost for result, _ in results]
    known = [cost for cost in costs if cost is not None]
    return plain(sum(known, Decimal(0))) if len(known) == len(costs) else None


def answered_by(results: Sequence[tuple[Result, int]]) -> str:
    """Who gave the answers: `expert` alone, the `api`, or `both`."""
    local = {result.is_local for result, _ in results}
    return "both" if len(local) > 1 else "expert" if True in local else "api"


@dataclass(frozen=True, slots=True)
class GatewayMode:
    """top: log-probs to show of each token; None for none at all. usage: whether a stream ends with a chunk of it.

    echo: the prompt's tokens are among those of the reply, and so are ends. steps: candidates to show of each step;
    None for no steps at all.
    """

    top: int | None
    usage: bool = False
    echo: bool = False
    steps: int | None = None

    def more_of(self, tokens: Iterable[Placed[Step]]) -> Extra:
        """The field `steering` of a choice with these tokens; none where no steps are to be shown, or none is there."""
        if self.steps is None:
            return NO_EXTRA
        steps = shown_steps((placed.token for placed in tokens), self.steps)
        return {"steering": {"steps": steps}} if steps else NO_EXTRA


class GatewayShape(Protocol):
    """One route's way of writing a reply; every method gives JSON.

    ping: keeps a stream's connection alive, None for a comment. last: what a stream that did not break off ends with.
    """

    @property
    def ping(self) -> Chunk | None: ...

    @property
    def last(self) -> str | None: ...

    def whole(self, answers: Answers, usage: CompletionUsage) -> str: ...

    def opening(self, index: int) -> Iterator[Chunk]: ...

    def chunks(self, index: int, part: Part[Step]) -> Iterator[Chunk]: ...

    def closing(self, usage: CompletionUsage) -> Iterator[Chunk]: ...

    def failure(self, refusal: Refusal) -> Iterable[Chunk]: ...


class OlderStream:
    """How streams of OpenAI's older routes end, and are kept alive."""

    __slots__ = ()

    ping: Chunk | None = None
    last: str | None = DONE

    def failure(self, refusal: Refusal) -> Iterable[Chunk]:
        return broken(refusal)


@final
@dataclass(frozen=True, slots=True)
class GatewayChatShape(OlderStream):
    """`chat.completion` objects, and `chat.completion.chunk` in a stream.

    As at OpenAI, the end token is not among the tokens of the content; where it was only an alternative, it is listed.
    """

    head: Head
    mode: GatewayMode

    def whole(self, answers: Answers, usage: CompletionUsage) -> str:
        return to_json(self.head.chat([self._choice(i, joined(parts)) for i, parts in enumerate(answers)], usage))

    def opening(self, index: int) -> Iterator[str]:
        return self._stream.opening(index)

    def chunks(self, index: int, part: Part[Step]) -> Iterator[str]:
        content = chat_logprobs(part.tokens, self.mode.top)
        return self._stream.chunks(index, part, content, extra=self.mode.more_of(part.tokens))

    def closing(self, usage: CompletionUsage) -> Iterator[Chunk]:
        if self.mode.usage:
            yield to_json(self.head.chunk([], usage=usage))

    @property
    def _stream(self) -> ChatStream:
        return ChatStream(self.head, self.mode.usage)

    def _choice(self, index: int, part: Part[Step]) -> chat_completion.Choice:
        top = self.mode.top
        content = None if top is None else chat_logprobs(part.tokens, top)
        return chat_choice(index, part, content, extra=self.mode.more_of(part.tokens))


@final
@dataclass(frozen=True, slots=True)
class GatewayCompletionShape(OlderStream):
    """`text_completion` objects, whole or in parts; both have the same shape."""

    head: Head
    mode: GatewayMode

    def whole(self, answers: Answers, usage: CompletionUsage) -> str:
        choices = [
            self._choice(i, joined(parts), logprobs=self.mode.top is not None) for i, parts in enumerate(answers)
        ]
        return to_json(self.head.completion(choices, usage=usage))

    def opening(self, index: int) -> Iterator[str]:  # noqa: ARG002 (a chat has one)
        yield from ()

    def chunks(self, index: int, part: Part[Step]) -> Iterator[str]:
        choice = self._choice(index, part, logprobs=self.mode.top is not None and bool(part.tokens))
        yield to_json(self.head.completion([choice], counted=self.mode.usage))

    def closing(self, usage: CompletionUsage) -> Iterator[Chunk]:
        if self.mode.usage:
            yield to_json(self.head.completion([], usage=usage))

    def _choice(self, index: int, part: Part[Step], *, logprobs: bool) -> CompletionChoice:
        tokens = [placed for placed in part.tokens if self.mode.echo or placed.token.kind is not Kind.END]
        spelt = _legacy_logprobs(tokens, self.mode.top or 0) if logprobs else None
        extra = self.mode.more_of(part.tokens)
        return OpenChoice(text=part.text, index=index, logprobs=spelt, finish_reason=part.finish, **extra)


def chat_logprobs(tokens: Iterable[Placed[Step]], top: int | None) -> list[ChatCompletionTokenLogprob]:
    """The entries of a chat's `logprobs.content`; none where none are wanted."""
    if top is None:
        return []
    return [
        ChatCompletionTokenLogprob(
            token=escaped(step.piece),
            bytes=list(step.piece),
            logprob=bounded(step.logp_after),
            top_logprobs=[
                TopLogprob(
                    token=escaped(candidate.piece), bytes=list(candidate.piece), logprob=bounded(candidate.score)
                )
                for candidate in step.candidates[:top]
            ],
        )
        for step in (placed.token for placed in tokens)
        if step.kind is not Kind.END
    ]


def _legacy_logprobs(tokens: Sequence[Placed[Step]], top: int) -> EchoedLogprobs:
    """The `logprobs` object of a completion; `text_offset` counts characters of the text of the same choice."""
    steps = [placed.token for placed in tokens]
    return EchoedLogprobs(
        tokens=[marked(step.piece) for step in steps],
        token_logprobs=[bounded(step.logp_after) if _is_known(step) else None for step in steps],
        top_logprobs=[_legacy_top(step.candidates[:top], step) if _is_known(step) else None for step in steps],
        text_offset=[placed.offset for placed in tokens],
    )


def _is_known(step: Step) -> bool:
    """Whether anything is known of a token's log-prob: not so of the first of a given text.

    One that was completed locally was chosen all the same, and has a number where clients look for one.
    """
    return not step.is_asked or step.logp_after is not None


def _legacy_top(candidates: Sequence[ScoredCandidate], step: Step) -> dict[str, float]:
    """Most probable first, and the chosen one at the end where it is not among them.

    Its number is the very one of `token_logprobs`: by that clients see whether it was the likeliest.
    """
    listed = {marked(candidate.piece): bounded(candidate.score) for candidate in candidates}
    listed[marked(step.piece)] = bounded(step.logp_after)
    return listed
