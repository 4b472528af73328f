"""The arms that a fit compares, and how simple each is. Pure.

They come in two parts. The first needs nothing to be known: what may stand before a question, the expert, and the
closed model steered with nothing before the question. The second is made once the first has answered some lines: all
ways to steer behind what helped the closed model most, so that a grid of fronts times ways need not be paid for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.run import EvaluationStage, stages
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.fronts import ExampleSet, Front
from blackbox_proxy.recipes import Way
from blackbox_proxy.types import Capabilities, Continuation

ALPHAS = (0.5, 1.0, 1.5)
"""Weights of the pair's offset that are tried."""

FRONT_ALPHAS = (0.5, 1.0)
"""Those tried behind examples or instructions, which have done part of the pair's work already."""

SAMPLES = 8
"""Whole answers that one is chosen from."""

WAYS: Mapping[Speaker, Way] = {"closed": "closed", "expert": "expert", "choice": "choice", "steered": "steered"}
"""Who answers in a recipe, by who does in an arm; the simplest first."""


@dataclass(frozen=True, slots=True)
class FitArm:
    """An arm of the comparison.

    Attributes:
        arm: What answers.
        description: What it is in words.
        front: What stands before the question.
        by_line: What answers in place of `arm`, by the name of the line: where something of an arm was fitted to
            validation lines, each of them is answered by what was fitted to the others.
    """

    arm: Arm
    description: str
    front: Front = Front()  # noqa: RUF009 (frozen)
    by_line: Mapping[str, Arm] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.arm.name

    @property
    def way(self) -> Way:
        """Who answers, as a recipe says it."""
        return WAYS[self.arm.speaker]

    @property
    def effort(self) -> tuple[int, int]:
        """How much there is to run and to keep: the parts that are needed, then the turns before the question."""
        return [*WAYS].index(self.arm.speaker), len(self.arm.before)

    @property
    def draws(self) -> int:
        """How many whole answers one is chosen from; 0 where an answer is steered token by token."""
        return SAMPLES if ("way", "answers") in self.arm.knobs else 0

    def answering(self, item: Item) -> Arm:
        """What answers a line."""
        return self.by_line.get(item.name, self.arm)


@dataclass(frozen=True, slots=True)
class Material:
    """What arms are made of.

    Attributes:
        sets: Sets of examples.
        instructions: "" for none.
        labels: What may be chosen from.
        able: What the endpoint can do, as its adapter says.
        shows: Whether it really shows log-probs.
    """

    sets: tuple[ExampleSet, ...]
    instructions: str
    labels: tuple[str, ...]
    able: Capabilities
    shows: bool = True

    @property
    def sees(self) -> bool:
        """Whether there are log-probs of the closed model."""
        return self.shows and self.able.logprobs

    @property
    def steers_tokens(self) -> bool:
        """Whether the closed model can be steered token by token."""
        return self.sees and self.able.continuation is not Continuation.NONE


def first_arms(material: Material) -> tuple[FitArm, ...]:
    """The arms that come first, the closed model by itself before all others."""
    return (*_closed(material), _expert(), *_steered(material), *_choices(material, Front()))


def arms_behind(front: Front, material: Material) -> tuple[FitArm, ...]:
    """Arms that come second: each way to steer that the endpoint allows, behind a front."""
    return (*_behind(front, material), *(_choices(material, front) if front.before else ()), _whole(front))


def stages_of(arms: Sequence[FitArm], items: Sequence[Item]) -> tuple[EvaluationStage, ...]:
    """All questions of some arms, each line put to what answers it."""
    alike = stages([replace(one.arm, n=len(items)) for one in arms if not one.by_line], items)
    fitted: dict[Arm, list[Item]] = {}
    for one in arms:
        for item in items if one.by_line else ():
            fitted.setdefault(one.answering(item), []).append(item)
    return (*alike, *(stage for arm, some in fitted.items() for stage in stages([replace(arm, n=len(some))], some)))


def introduced(arm: Arm, words: str, front: Front, *, by_line: Mapping[str, Arm] | None = None) -> FitArm:
    """An arm behind a front. arm: without it; its name is completed. words: what the arm is without it."""

    def behind(one: Arm) -> Arm:
        return replace(one, name=f"{arm.name}{front.suffix}", before=front.before)

    lines = {name: behind(one) for name, one in (by_line or {}).items()}
    comma = "," if "," in words else ""
    said = f"{words}{comma} after {front.words}" if front.words else words
    return FitArm(behind(arm), said, front, lines)


def _closed(material: Material) -> Iterator[FitArm]:
    """The closed model after each front; where it shows no log-probs, by one whole answer."""
    alone = Arm("closed", "closed", 0, draws=0 if material.sees else 1)
    for front in _fronts(material):
        yield introduced(alone, "the closed model" if front.before else "the closed model by itself", front)


def _fronts(material: Material) -> Iterator[Front]:
    """Nothing, instructions, each number of examples, and both together; the further sets without instructions."""
    given = [material.instructions] if material.instructions else []
    for instructions in ("", *given):
        yield Front(instructions)
        for chosen in material.sets[:1] if instructions else material.sets:
            for count in chosen.counts:
                yield Front(instructions, chosen.examples[:count], chosen)


def _expert() -> FitArm:
    return FitArm(Arm("expert", "expert", 0), "the tuned small model by itself")


def _steered(material: Material) -> Iterator[FitArm]:
    """Steered at each alpha with nothing before the question."""
    for alpha in ALPHAS if material.steers_tokens else ():
        yield _at(alpha, Front())


def _at(alpha: float, front: Front) -> FitArm:
    arm = Arm(f"steered_alpha_{alpha:g}", "steered", 0, alpha=alpha)
    return introduced(arm, f"the closed model, steered at alpha {alpha:g}", front)


def _behind(front: Front, material: Material) -> Iterator[FitArm]:
    """Steered token by token: further alphas, a gate, a rule, and more of the tail where it can be asked for."""
    if not material.steers_tokens:
        return
    for alpha in FRONT_ALPHAS if front.before else ():
        yield _at(alpha, front)
    said = "the closed model, steered at alpha 1"
    gated = Arm("steered_gated", "steered", 0, alpha=1.0, knobs=(("gate", "divergence"),))
    yield introduced(gated, f"{said} where the members of the pair differ", front)
    plausible = Arm("steered_plausible", "steered", 0, alpha=1.0, knobs=(("rule", "plausible"),))
    yield introduced(plausible, f"{said} among what the expert finds plausible", front)
    if material.able.reveal != "none":
        further = Arm("steered_reveal", "steered", 0, alpha=1.0, knobs=(("tail", "reveal"),))
        yield introduced(further, f"{said}, asked for log-probs beyond its top-k", front)


def _whole(front: Front) -> FitArm:
    """The best of several whole answers by the pair, which takes no log-probs of the closed model."""
    arm = Arm("answers", "steered", 0, alpha=1.0, knobs=(("samples", SAMPLES), ("way", "answers")))
    return introduced(arm, f"the best by the pair of {SAMPLES} whole answers of the closed model", front)


def _choices(material: Material, front: Front) -> Iterator[FitArm]:
    """The steered odds of the labels, where there are labels; without any weight of the pair, too."""
    for alpha in (0.0, 1.0) if material.labels and material.sees else ():
        arm = Arm(f"choice_alpha_{alpha:g}", "choice", 0, alpha=alpha)
        steered = f"steered at alpha {alpha:g}" if alpha else "unsteered"
        yield introduced(arm, f"the likeliest of the {len(material.labels)} labels, {steered}", front)
