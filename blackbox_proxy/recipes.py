"""A fitted recipe: what to run for one kind of question, and the evidence for it, as a TOML file.

It holds no key: where the endpoint's key is read from is said by its profile, or by whoever runs it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blackbox_proxy.core.decoding.routing import Elsewhere, Route, RouteFeature
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text, replace_text
from blackbox_proxy.knobs import KnobMistake, read_knobs
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Message, Prompt

Way = Literal["closed", "expert", "steered", "choice", "route"]
"""Who answers: the closed model by itself, the tuned small model by itself, the closed model steered by the pair, the
steered odds of given answers; or the tuned small model where it is sure, and another of these elsewhere."""

Text = Annotated[str, Field(min_length=1)]

HINT = "`blackbox-proxy fit` writes recipes; docs/fit.md has the form"


def introduction(instructions: str, examples: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    """What the closed model reads before a question: instructions as a system turn, examples as turns of a chat."""
    turns = [Message("system", instructions)] if instructions else []
    for question, answer in examples:
        turns += [Message("user", question), Message("assistant", answer)]
    return tuple(turns)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecipeEndpoint(_Table):
    """Which closed model: a profile or an address, without keys. Empty: not given.

    standin: the GGUF that a stand-in served as the closed model, in place of both.
    """

    model: str = ""
    profile: str = ""
    base_url: str = ""
    template: str = ""
    tokenizer: str = ""
    top_k: int | None = None
    standin: str = ""


class RecipeExample(_Table):
    """One example that stands before the question."""

    question: Text
    answer: Text


class ArmEvidence(_Table):
    """What an arm scored on validation lines.

    n: lines that it answered. asked_in: rounds of the comparison that it stayed in. usd_per_1000: None where no price
    is known.
    """

    name: Text
    n: int
    score: float
    low: float
    high: float
    asked_in: int
    usd_per_1000: float | None = None


class RouteEvidence(_Table):
    """What a route came to on `n` validation lines, each by weights and a threshold that were fitted without it.

    local: share of the answers that the expert gave alone. saved_usd_per_1000: dollars that they would have cost; None
    where no price is known. loss: score lost against the best other arm, `against`. All with intervals of 95 %.
    """

    n: int
    against: str = ""
    local: float
    local_low: float
    local_high: float
    saved_usd_per_1000: float | None = None
    saved_low: float | None = None
    saved_high: float | None = None
    loss: float
    loss_low: float
    loss_high: float


class RecipeEvidence(_Table):
    """Why this recipe: what it scored, on what, when, and for which money.

    score, low, high, n: on held-back lines, with the interval of 95 %; n is 0 where they were not asked. predicted,
    predicted_low, predicted_high: what validation had foretold. train, validation, test: lines of each part. off_task:
    questions of another kind that were asked, 0 for none; changed: share of the closed model's answers to them that the
    recipe changes; lost: the score that it loses there, each with its interval. instead_of: the arm that had won, and
    lost too much there (`instead_lost`); "" where this arm had.
    """

    date: str = ""
    lines: str = ""
    lines_digest: str = ""
    pair_digest: str = ""
    seed: int = 0
    prefer: str = ""
    scorer: str = "exact"
    form: str = ""
    train: int = 0
    validation: int = 0
    test: int = 0
    n: int = 0
    score: float = 0.0
    low: float = 0.0
    high: float = 1.0
    predicted: float = 0.0
    predicted_low: float = 0.0
    predicted_high: float = 1.0
    usd_per_1000: float | None = None
    price: str = ""
    spent_usd: float | None = None
    off_task: int = 0
    changed: float = 0.0
    changed_low: float = 0.0
    changed_high: float = 1.0
    lost: float = 0.0
    lost_low: float = -1.0
    lost_high: float = 1.0
    instead_of: str = ""
    instead_lost: float | None = None
    arms: tuple[ArmEvidence, ...] = ()
    route: RouteEvidence | None = None


class RecipeRoute(_Table):
    """When the expert answers alone: its answer's probability of being right is at least the threshold."""

    threshold: float
    elsewhere: Elsewhere
    weights: dict[RouteFeature, float]


class _File(_Table):
    arm: Text
    way: Way
    pair: str = ""
    instructions: str = ""
    options: tuple[Text, ...] = ()
    endpoint: RecipeEndpoint = RecipeEndpoint()
    steering: dict[str, Any] = {}
    route: RecipeRoute | None = None
    examples: tuple[RecipeExample, ...] = ()
    evidence: RecipeEvidence = RecipeEvidence()


@dataclass(frozen=True, slots=True)
class FittedRecipe:
    """What to run, and why.

    Attributes:
        arm: The name of the arm that won.
        way: Who answers.
        endpoint: Which closed model.
        pair: The pair file; "" where no pair is needed. Read from a file, it counts from the file's folder.
        instructions: A system turn for the closed model; "" for none.
        examples: Questions and answers that the closed model reads before the question.
        options: The answers that are chosen from, where the way is `choice`, also elsewhere on a route.
        steering: The knobs that are set, by the names of `Steering`.
        evidence: Figures, dates and digests.
        route: When the expert answers alone, where the way is `route`; who does elsewhere has all the rest.
    """

    arm: str
    way: Way
    endpoint: RecipeEndpoint
    pair: str = ""
    instructions: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    steering: Mapping[str, Any] = field(default_factory=dict)
    evidence: RecipeEvidence = field(default_factory=RecipeEvidence)
    route: Route | None = None

    @property
    def api_way(self) -> Way:
        """Who answers where the closed model is called."""
        return self.way if self.route is None else self.route.elsewhere

    @property
    def before(self) -> tuple[Message, ...]:
        """What the closed model reads before a question."""
        return introduction(self.instructions, self.examples)

    def asked(self, prompt: Prompt) -> Prompt:
        """A question as the closed model reads it. Raises InputError for raw text, which has no turns."""
        if prompt.text and self.before:
            raise InputError(
                f"the recipe {self.arm!r} puts turns before the question, and raw text has none",
                hint="give the question as a chat, or leave the recipe out",
            )
        return Prompt(messages=(*self.before, *prompt.messages)) if self.before else prompt

    def with_knobs(self, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """The knobs of steering, those given in place of its own; the closed model by itself has an alpha of 0."""
        unsteered: dict[str, Any] = {"alpha": 0.0} if self.api_way == "closed" else {}
        chosen = {**self.steering, **unsteered, **knobs}
        if "schedule" in knobs and "alpha" not in knobs:
            chosen.pop("alpha", None)
        return chosen

    def toml(self) -> str:
        """The recipe as a file."""
        return "".join(_written(self))


def read_recipe(file: Path | str) -> FittedRecipe:
    """The recipe of a file. Raises InputError with the first mistake."""
    path = Path(file)
    try:
        read = _File.model_validate(tomllib.loads(read_text(path)))
        knobs = read_knobs(read.steering)
    except KnobMistake as mistake:
        raise InputError(f"{path}: steering.{mistake.name}: {mistake.message}", hint=HINT) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}", hint=HINT) from None
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}", hint=HINT) from None
    except ValueError as error:
        raise InputError(f"{path} is not TOML in UTF-8: {error}", hint=HINT) from None
    recipe = FittedRecipe(
        arm=read.arm,
        way=read.way,
        endpoint=read.endpoint,
        pair=_pair(read.pair, path.parent),
        instructions=read.instructions,
        examples=tuple((one.question, one.answer) for one in read.examples),
        options=read.options,
        steering=knobs,
        evidence=read.evidence,
        route=_route(read.route, path),
    )
    _check(recipe, path)
    return recipe


def write_recipe(recipe: FittedRecipe, path: Path) -> None:
    """Write it; paths of it that lie below the file's folder become relative. Raises InputError."""
    replace_text(path, "".join(_written(recipe, folder=path.parent)))


def _pair(spec: str, folder: Path) -> str:
    """Where the pair file is; `demo` is a name."""
    return str(folder / spec) if spec and (folder / spec).is_file() else spec


def _route(read: RecipeRoute | None, path: Path) -> Route | None:
    try:
        return None if read is None else Route(read.threshold, read.elsewhere, tuple(read.weights.items()))
    except InputError as error:
        raise InputError(f"{path}: route: {error.message}", hint=error.hint) from None


def _check(recipe: FittedRecipe, path: Path) -> None:
    """What no field shows by itself."""
    try:
        Steering(**recipe.steering)
    except InputError as error:
        raise InputError(f"{path}: steering: {error.message}", hint=HINT) from None
    if recipe.way != "closed" and not recipe.pair:
        raise InputError(f"{path}: a recipe of the way {recipe.way!r} needs a pair", hint=HINT)
    if (recipe.way == "route") is not (recipe.route is not None):
        raise InputError(f"{path}: the way 'route' and the table [route] need each other", hint=HINT)
    if recipe.api_way == "choice" and len(recipe.options) < 2:
        raise InputError(f"{path}: a recipe of the way 'choice' needs two options or more", hint=HINT)


def _written(recipe: FittedRecipe, *, folder: Path | None = None) -> Iterator[str]:
    yield "# Written by `blackbox-proxy fit`: what to run, and why. It holds no key.\n"
    pair = recipe.pair if folder is None else _beside(recipe.pair, folder)
    head = {"arm": recipe.arm, "way": recipe.way, "pair": pair, "instructions": recipe.instructions}
    yield from _rows({**head, "options": list(recipe.options)})
    yield "\n[endpoint]\n"
    yield from _rows(recipe.endpoint.model_dump())
    yield "\n[steering]\n"
    yield from _rows({name: _plain(value) for name, value in recipe.steering.items()})
    if recipe.route is not None:
        yield "\n[route]\n"
        yield from _rows({"threshold": recipe.route.threshold, "elsewhere": recipe.route.elsewhere})
        yield "\n[route.weights]\n"
        yield from _rows(dict(recipe.route.weights))
    for question, answer in recipe.examples:
        yield "\n[[examples]]\n"
        yield from _rows({"question": question, "answer": answer})
    evidence = recipe.evidence.model_dump()
    arms, route = evidence.pop("arms"), evidence.pop("route")
    yield "\n[evidence]\n"
    yield from _rows(evidence)
    if route is not None:
        yield "\n[evidence.route]\n"
        yield from _rows(route)
    for arm in arms:
        yield "\n[[evidence.arms]]\n"
        yield from _rows(arm)


def _beside(spec: str, folder: Path) -> str:
    """A path below the folder counts from it; one elsewhere stays as it is, in full; a name stays a name."""
    if not spec or not Path(spec).is_file():
        return spec
    there, here = Path(spec).resolve(), folder.resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)


def _plain(value: object) -> object:
    """A knob as TOML has it: a schedule as it is written on a command line."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float) else str(value)


def _rows(values: Mapping[str, object]) -> Iterator[str]:
    """A line for each value that is given; what is empty is not."""
    for name, value in values.items():
        if value is not None and value not in ("", []):
            yield f"{name} = {_spelt(value)}\n"


def _spelt(value: object) -> str:
    """A TOML value; JSON's spelling is also TOML's, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
