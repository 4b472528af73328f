"""Who answers in a chat, steered or not, and what all of it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import final

from blackbox_proxy.api import Api
from blackbox_proxy.core.money.spending import known_of, unpriced_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.recipes import FittedRecipe
from blackbox_proxy.run.engine import AsyncStream
from blackbox_proxy.run.recipe import NOBODY, RecipeSteerer
from blackbox_proxy.run.sources import Offsets
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Call, Prompt, Result, Usage

StreamMaker = Callable[[Prompt, Steering], AsyncStream]


@final
@dataclass(frozen=True, slots=True)
class ChatModel:
    """A hosted model and a pair, or a recipe. api: None where the recipe calls nobody."""

    api: Api | None
    offsets: Offsets
    recipe: FittedRecipe | None = None

    @property
    def name(self) -> str:
        """What the model is called."""
        return "the expert" if self.api is None else self.api.model

    def steered(self, prompt: Prompt, steering: Steering) -> AsyncStream:
        """The answer of whoever answers. Reads the prompt, which may take a while."""
        if self.recipe is not None:
            return RecipeSteerer(self.recipe, self.api or NOBODY, self.offsets, steering).astream(prompt)
        return Steerer(self.api or NOBODY, self.offsets, steering).astream(prompt)

    def unsteered(self, prompt: Prompt, steering: Steering) -> AsyncStream:
        """The hosted model's own answer, after what a recipe puts before a question. Raises as `check_beside`."""
        asked = prompt if self.recipe is None else self.recipe.asked(prompt)
        return Steerer(self.check_beside(), self.offsets, steering).astream(asked)

    def check_beside(self) -> Api:
        """The hosted model. Raises InputError where no answer of its own can stand beside the steered one."""
        way = "" if self.recipe is None else self.recipe.way
        if self.api is None:
            raise InputError(f"the recipe's way {way!r} calls no hosted model", hint="take another recipe, or none")
        if way == "closed":
            raise InputError(f"the recipe's way {way!r} does not steer, so both would be one answer")
        return self.api

    def check_alpha(self) -> None:
        """Raises InputError where alpha changes nothing."""
        if self.recipe is not None and self.recipe.way in {"closed", "expert"}:
            raise InputError(f"the recipe's way {self.recipe.way!r} does not steer, so alpha changes nothing")


def alone(steering: Steering) -> Steering:
    """The knobs of the hosted model's own answer: alpha is 0, and of whole answers one is drawn."""
    if steering.way in {"answers", "chunks"}:
        return replace(steering, alpha=0.0, way="auto", settled=0.0)
    return replace(steering, alpha=0.0, schedule=None)


@final
@dataclass(slots=True)
class ChatBill:
    """What several answers took together, those that broke off too."""

    usage: Usage = field(default_factory=Usage)
    calls: list[Call] = field(default_factory=list)
    answers: int = 0

    def add(self, result: Result) -> None:
        """Count an answer."""
        self.usage += result.usage
        self.calls += result.calls
        self.answers += 1

    @property
    def cost(self) -> Decimal | None:
        """US dollars; None where that of a reply is unknown."""
        return None if unpriced_of(self.calls) else known_of(self.calls)
