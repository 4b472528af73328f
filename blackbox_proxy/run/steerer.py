"""The public way to steer: one hosted model, one source of offsets, one set of knobs, and every kind of answer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from blackbox_proxy.api import Endpoint, as_prompt
from blackbox_proxy.core.decoding.drafting import Planner
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.choice import Choosing, options_under
from blackbox_proxy.run.engine import AsyncStream, Stream
from blackbox_proxy.run.foretelling import foretell
from blackbox_proxy.run.session import Session
from blackbox_proxy.run.sources import LocalPair, Offsets, draws_whole
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Choice, Prompt, Result


@final
@dataclass(frozen=True, slots=True)
class Steerer:
    """A hosted model that is steered: what `api` says, with `alpha` times the offsets added.

    The methods with an `a` in front are for asyncio: the API is awaited, the pair evaluated in a worker thread. What
    they give is the same. All raise BlackboxProxyError of one kind or another, which says what happened and what to do;
    its `partial` has the answer so far, and what was paid for it.

    Attributes:
        api: The hosted model (`connect`).
        offsets: A pair (`load_pair`), or any other source of offsets (`types.OffsetSource`): several pairs, a table,
            your own.
        steering: The knobs of an answer.
        planner: Knows prices, and what former answers taught of who should draft (`drafter="auto"`); without one each
            answer begins anew.
    """

    api: Endpoint
    offsets: Offsets
    steering: Steering = field(default_factory=Steering)
    planner: Planner | None = None

    def complete(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> Result:
        """The steered answer to a prompt; greedy, or drawn where the knobs have a temperature.

        Where whole answers are drawn (`Steering.way`) it is one of them, and `Result.samples` has them all. Where
        `auto` takes that way, the logger `blackbox_proxy.run.foretelling` warns what that is expected to cost before.

        Args:
            prompt: A question, or a `Prompt`.
            pair_prompt: What the source of offsets reads in place of `prompt`, where the two should differ: a document
                that only the API needs, say.
        """
        return self.stream(prompt, pair_prompt=pair_prompt).result

    def stream(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> Stream:
        """`complete`, step by step. The prompt is read at once; nothing is sent before the first step is asked for.

        An answer that is chosen among whole ones comes as one step, and one for its end.
        """
        return Stream(self._session(prompt, pair_prompt))

    def sample(self, prompt: Prompt | str, n: int, *, pair_prompt: Prompt | str | None = None) -> Iterator[Result]:
        """Draw several answers, one after another: the i-th is that of `complete` with the seed `steering.seed + i`.

        Weigh them by `Result.log_weight` (docs/method.md, 3.6).

        Args:
            prompt: As in `complete`.
            n: How many answers.
            pair_prompt: As in `complete`.

        Raises:
            InputError: For several answers at temperature 0, which would all be equal.
        """
        return (one.result for one in self.streams(prompt, n, pair_prompt=pair_prompt))

    def streams(self, prompt: Prompt | str, n: int, *, pair_prompt: Prompt | str | None = None) -> Iterator[Stream]:
        """`sample`, each answer step by step; go through each before the next."""
        return (Stream(session) for session in self._sessions(prompt, n, pair_prompt))

    def choose(
        self,
        prompt: Prompt | str,
        options: Sequence[str] | None = None,
        *,
        calls: int = 8,
        pair_prompt: Prompt | str | None = None,
    ) -> Choice:
        """Which of some answers the API gives, steered: q(option) ~ p(option) (E[option] / A[option])^alpha.

        One call is enough where all options show in the top-k. Beginnings of longer ones are gone on from, where the
        endpoint can do that: by raw text, by prefill, or by a schema that demands them, inside a JSON string. What is
        still open then is bounded; where bounds overlap, the choice is undecided and says what would decide. Of the
        knobs `alpha` and `constraint` count, and `way` where it is `forced` or `words`.

        Token by token each step is normalised by itself; here the options are, as wholes. Where each is a token by
        itself the two agree; elsewhere they need not.

        Args:
            prompt: As in `complete`.
            options: The answers as the model would write them, byte for byte; an answer is one if it begins so. None
                for those that the constraint lists: `OneOf`, or a schema that is an enum.
            calls: Most calls.
            pair_prompt: As in `complete`.

        Raises:
            InputError: For options that are none, or that the constraint does not allow.
            PromptError: For a prompt that the pair cannot hold, before anything is sent.
        """
        return self._choosing(prompt, options, calls=calls, pair_prompt=pair_prompt).run()

    def score(self, text: str | Given) -> Result:
        """How probable a given text is in the steered distribution: a step for each of its tokens, as the API cuts it.

        The temperature does not count.

        Raises:
            InputError: Where the endpoint does not tell its log-probs of a text that it is sent (`Capabilities.echo`),
                or not those of all its tokens.
        """
        return self.stream_score(text).result

    def stream_score(self, text: str | Given) -> Stream:
        """`score`, step by step."""
        return Stream(self._session_of(text))

    def collect(self, prompt: Prompt | str, reference: str, *, pair_prompt: Prompt | str | None = None) -> Result:
        """Look at each place of a reference answer: what `fit_weights` fits the rule `learnt` to (`Step.place`).

        One call where the endpoint gives back what it is sent; else one for each stretch that it drafts as the
        reference has it, and as many as the reference has tokens at most (`collecting_calls`). The rule, the gate, the
        target and the temperature do not count.

        Args:
            prompt: As in `complete`.
            reference: The right answer as the model should write it.
            pair_prompt: As in `complete`.

        Returns:
            A step for each token of the reference and one for its end; where nobody tells what the API says there, the
            step has no place.

        Raises:
            InputError: For offsets that come from no pair, and for an API that is asked in token ids.
        """
        return Stream(self._collecting(prompt, reference, pair_prompt)).result

    def collecting_calls(self, reference: str) -> tuple[int, int]:
        """The fewest and the most calls that `collect` makes for a reference answer; the most by the pair's tokens."""
        tokens = len(self.offsets.spell(reference.encode())) if isinstance(self.offsets, LocalPair) else len(reference)
        return 1, tokens + 1 + self.api.capabilities().echo

    async def acomplete(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> Result:
        """`complete` for asyncio."""
        return await self.astream(prompt, pair_prompt=pair_prompt).result()

    def astream(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> AsyncStream:
        """`stream` for asyncio. Reading the prompt takes a while where it is long, and is not awaited."""
        return AsyncStream(self._session(prompt, pair_prompt))

    async def asample(
        self, prompt: Prompt | str, n: int, *, pair_prompt: Prompt | str | None = None
    ) -> AsyncIterator[Result]:
        """`sample` for asyncio."""
        for session in self._sessions(prompt, n, pair_prompt):
            yield await AsyncStream(session).result()

    async def achoose(
        self,
        prompt: Prompt | str,
        options: Sequence[str] | None = None,
        *,
        calls: int = 8,
        pair_prompt: Prompt | str | None = None,
    ) -> Choice:
        """`choose` for asyncio."""
        return await self._choosing(prompt, options, calls=calls, pair_prompt=pair_prompt).arun()

    async def acollect(
        self, prompt: Prompt | str, reference: str, *, pair_prompt: Prompt | str | None = None
    ) -> Result:
        """`collect` for asyncio."""
        return await AsyncStream(self._collecting(prompt, reference, pair_prompt)).result()

    async def ascore(self, text: str | Given) -> Result:
        """`score` for asyncio."""
        return await self.astream_score(text).result()

    def astream_score(self, text: str | Given) -> AsyncStream:
        """`stream_score` for asyncio."""
        return AsyncStream(self._session_of(text))

    def _session(self, prompt: Prompt | str, pair_prompt: Prompt | str | None) -> Session:
        return self._session_with(self.steering, prompt, pair_prompt)

    def _session_with(
        self, steering: Steering, prompt: Prompt | str, pair_prompt: Prompt | str | None, *, run: str = ""
    ) -> Session:
        session = Session.open(
            as_prompt(prompt),
            _or(pair_prompt, prompt),
            api=self.api,
            offsets=self.offsets,
            steering=steering,
            planner=self.planner,
            run=run,
        )
        foretell(self.api, as_prompt(prompt), steering)
        return session

    def _sessions(self, prompt: Prompt | str, n: int, pair_prompt: Prompt | str | None) -> Iterator[Session]:
        """One for each answer that is drawn, of one run in the books. Raises InputError for equal answers."""
        if n < 1 or (n > 1 and self.steering.temperature == 0.0):
            raise InputError(
                f"{n} answers were asked for at temperature {self.steering.temperature:g}",
                hint="several answers need a temperature above 0; all greedy ones are equal",
            )
        if n > 1 and draws_whole(self.steering, self.api):
            raise InputError(
                f"{n} answers were asked for, each of them chosen among whole answers",
                hint="ask for one: its `samples` are the whole answers with their weights; or use way='token'",
            )
        run = uuid.uuid4().hex
        seeds = (replace(self.steering, seed=self.steering.seed + i) for i in range(n))
        return (self._session_with(steering, prompt, pair_prompt, run=run) for steering in seeds)

    def _session_of(self, text: str | Given) -> Session:
        given = Given(text.encode()) if isinstance(text, str) else text
        return Session.open_given(given, api=self.api, offsets=self.offsets, steering=self.steering)

    def _collecting(self, prompt: Prompt | str, reference: str, pair_prompt: Prompt | str | None) -> Session:
        return Session.open_reference(
            as_prompt(prompt),
            _or(pair_prompt, prompt),
            reference,
            api=self.api,
            offsets=self.offsets,
            steering=self.steering,
        )

    def _choosing(
        self, prompt: Prompt | str, options: Sequence[str] | None, *, calls: int, pair_prompt: Prompt | str | None
    ) -> Choosing:
        return Choosing.open(
            as_prompt(prompt),
            _or(pair_prompt, prompt),
            options_under(self.steering.constraint, options),
            api=self.api,
            offsets=self.offsets,
            alpha=self.steering.alpha,
            calls=calls,
            way=self.steering.way,
        )


def _or(pair_prompt: Prompt | str | None, prompt: Prompt | str) -> Prompt:
    return as_prompt(prompt if pair_prompt is None else pair_prompt)


def steer(
    prompt: Prompt | str,
    *,
    api: Endpoint,
    offsets: Offsets,
    steering: Steering | None = None,
    pair_prompt: Prompt | str | None = None,
) -> Result:
    """One steered answer: `Steerer(api, offsets, steering).complete(prompt)`.

    Args:
        prompt: A question, or a `Prompt`.
        api: The hosted model (`connect`).
        offsets: A pair, or any other source of offsets.
        steering: The knobs; None for the defaults.
        pair_prompt: What the source of offsets reads in place of `prompt`.

    Raises:
        BlackboxProxyError: One of its kinds, as for `Steerer`.
    """
    return Steerer(api, offsets, steering or Steering()).complete(prompt, pair_prompt=pair_prompt)
