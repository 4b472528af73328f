"""Runs a fitted recipe: whoever it says answers, with what it puts before the question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from blackbox_proxy.api import Endpoint, as_prompt
from blackbox_proxy.core.decoding.drafting import Planner
from blackbox_proxy.errors import InputError
from blackbox_proxy.recipes import FittedRecipe
from blackbox_proxy.run.engine import AsyncStream, Stream
from blackbox_proxy.run.session import Session
from blackbox_proxy.run.sources import Offsets
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.ways import NOTHING, NoEndpoint, open_choice, open_expert, open_routed
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result

NOBODY = NoEndpoint()
"""In place of an endpoint, where a recipe calls none."""

GREEDY = ("expert", "choice", "route")
"""Ways that give one answer, the likeliest."""


@final
@dataclass(frozen=True, slots=True)
class RecipeSteerer:
    """A fitted recipe that answers: `read_recipe` has it from its file.

    The methods with an `a` in front are for asyncio. All raise BlackboxProxyError, as those of `Steerer` do.
    `Result.is_local` says whether the expert answered alone.

    Attributes:
        recipe: What to run.
        api: The hosted model; none is called where the expert answers alone.
        offsets: The recipe's pair (`load_pair(recipe.pair)`); none is needed where the closed model is left alone.
        knobs: Those of steering; None for the recipe's own.
        planner: As of `Steerer`.
    """

    recipe: FittedRecipe
    api: Endpoint = NOBODY
    offsets: Offsets = NOTHING
    knobs: Steering | None = None
    planner: Planner | None = None

    @property
    def steering(self) -> Steering:
        """The knobs that hold."""
        return Steering(**self.recipe.with_knobs({})) if self.knobs is None else self.knobs

    def complete(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> Result:
        """The recipe's answer to a question.

        Args:
            prompt: The question, or a `Prompt`; what the recipe puts before it is added.
            pair_prompt: What the pair reads in place of the question.
        """
        return self.stream(prompt, pair_prompt=pair_prompt).result

    def stream(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> Stream:
        """`complete`, step by step. An answer that the expert was sure of comes when it is whole."""
        return Stream(self._session(prompt, pair_prompt))

    def streams(self, prompt: Prompt | str, n: int, *, pair_prompt: Prompt | str | None = None) -> Iterator[Stream]:
        """Several answers, as `Steerer.streams`. Raises InputError where the recipe has but one."""
        if self.recipe.way not in GREEDY:
            asked, read = self._prompts(prompt, pair_prompt)
            return self._steerer.streams(asked, n, pair_prompt=read)
        if n != 1:
            raise InputError(
                f"{n} answers were asked for, and a recipe of the way {self.recipe.way!r} has one", hint="ask for one"
            )
        return iter((self.stream(prompt, pair_prompt=pair_prompt),))

    async def acomplete(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> Result:
        """`complete` for asyncio."""
        return await self.astream(prompt, pair_prompt=pair_prompt).result()

    def astream(self, prompt: Prompt | str, *, pair_prompt: Prompt | str | None = None) -> AsyncStream:
        """`stream` for asyncio. Reading the prompt takes a while where it is long, and is not awaited."""
        return AsyncStream(self._session(prompt, pair_prompt))

    @property
    def _steerer(self) -> Steerer:
        return Steerer(self.api, self._steered_by, self.steering, self.planner)

    @property
    def _steered_by(self) -> Offsets:
        return NOTHING if self.recipe.way == "closed" else self.offsets

    def _prompts(self, prompt: Prompt | str, pair_prompt: Prompt | str | None) -> tuple[Prompt, Prompt]:
        """What the closed model reads, and what the pair does."""
        asked = as_prompt(prompt)
        read = asked if pair_prompt is None else as_prompt(pair_prompt)
        return (asked if self.recipe.way == "expert" else self.recipe.asked(asked)), read

    def _session(self, prompt: Prompt | str, pair_prompt: Prompt | str | None) -> Session:
        recipe, steering = self.recipe, self.steering
        check_greedy(recipe, steering)
        asked, read = self._prompts(prompt, pair_prompt)
        if recipe.way == "expert":
            return open_expert(read, offsets=self.offsets, steering=steering)
        if recipe.way == "choice":
            return open_choice(asked, read, recipe.options, api=self.api, offsets=self.offsets, steering=steering)
        if recipe.route is not None:
            return open_routed(
                recipe.route,
                asked,
                read,
                api=self.api,
                offsets=self.offsets,
                steering=steering,
                options=recipe.options,
                planner=self.planner,
            )
        return Session.open(
            asked, read, api=self.api, offsets=self._steered_by, steering=steering, planner=self.planner
        )


def check_greedy(recipe: FittedRecipe, steering: Steering) -> None:
    """Raises InputError where an answer is to be drawn, or penalised, and the recipe's way gives the likeliest."""
    if recipe.way in GREEDY and steering.penalises:
        raise InputError(
            f"a recipe of the way {recipe.way!r} gives its likeliest answer, and was asked for penalties or min_tokens",
            hint="leave presence_penalty, frequency_penalty and min_tokens out, or set them to 0",
        )
    if recipe.way in GREEDY and steering.temperature > 0.0:
        raise InputError(
            f"a recipe of the way {recipe.way!r} gives its likeliest answer, and temperature {steering.temperature:g} "
            "was asked for",
            hint="leave the temperature out, or set it to 0",
        )
