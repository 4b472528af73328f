"""Finds the facts of answers with the untuned model, and tries on held lines whether it pays to hold them.

What an expert gives its own facts is no criterion: the closed model knows facts better, and is contradicted least where
the expert believes at facts what the untuned model does. So two short trainings are compared, one that learns facts
and one that holds them: the form of held lines must be kept, and their facts must come clearly nearer to the belief.

Knows PyTorch (extra [tune]).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from blackbox_proxy.tuning.data import Data, Example
from blackbox_proxy.tuning.facts import AnswerFrame, FactSearch, FactSlot, fact_slots, frame_of, marked, shown
from blackbox_proxy.tuning.learning import CLEAR, FEWEST, HeldLoss, fall
from blackbox_proxy.tuning.losses import form_and_distance, untuned_logp
from blackbox_proxy.tuning.parts import TuningBench, part_of, shuffled, trained_on
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.train import Hooks
from blackbox_proxy.types import TokenPath

KEPT = 0.02
"""Nats a token that the form of held lines may lose; also what is within its standard error may be lost."""

EPOCHS = 2
"""Times that the short trainings read half of the lines."""

SHOWN = 3
"""Answers that are shown with their facts."""


@dataclass(frozen=True, slots=True)
class HeldFacts:
    """What held lines lose in their form, and how far they are from the untuned belief at facts; line by line."""

    form: Sequence[HeldLoss]
    distance: Sequence[HeldLoss]


@dataclass(frozen=True, slots=True)
class HoldingTrial:
    """Held lines after a training that learnt facts and after one that held them."""

    learnt: HeldFacts
    held: HeldFacts

    @property
    def lost(self) -> tuple[float, float]:
        """What the form loses by holding, and the standard error."""
        return fall(self.held.form, self.learnt.form)

    @property
    def nearer(self) -> tuple[float, float]:
        """What facts come nearer by holding, and the standard error."""
        return fall(self.learnt.distance, self.held.distance)

    @property
    def pays(self) -> bool:
        """Whether the form is kept and facts come clearly nearer."""
        (lost, error), (nearer, noise) = self.lost, self.nearer
        return lost <= max(KEPT, error) and nearer > CLEAR * noise


def search(
    bench: TuningBench, data: Data, pieces: Sequence[bytes], *, recipe: Recipe, stop: Callable[[], bool]
) -> tuple[Data, FactSearch | None]:
    """The data with the facts marked where holding them pays, and what was decided; None where there are no facts.

    Nothing is decided where it was stopped, or where there are too few lines.
    """
    if len(data.train) < FEWEST or not data.held:
        return data, None
    frame = frame_of(data.train)
    slots = _slots(bench, data.train, frame, recipe=recipe)
    facts = Data(*([marked(one, frame, slots) for one in part] for part in (data.train, data.held)))
    if not any(any(one.open) for one in facts.held):
        return data, None
    trial = _try(bench, facts, recipe=recipe, hooks=Hooks(stop=stop))
    if trial is None:
        return data, None
    count = sum(len(one.completion) for one in facts.train)
    outcome = FactSearch(
        slots=tuple(slots),
        share=sum(sum(one.open) for one in facts.train) / count,
        used=trial.pays,
        lost=trial.lost[0],
        nearer=trial.nearer[0],
        examples=tuple(shown(one, pieces) for one in [one for one in facts.train if any(one.open)][:SHOWN]),
    )
    return (facts if trial.pays else data), outcome


def _slots(bench: TuningBench, examples: Sequence[Example], frame: AnswerFrame, *, recipe: Recipe) -> list[FactSlot]:
    """The slots of facts. Every answer is read behind its own question, and behind the question of another line."""
    order = random.Random(recipe.seed).sample(examples, len(examples))
    gains: dict[TokenPath, list[float]] = {}
    for start in range(0, len(order), recipe.batch):
        batch = order[start : start + recipe.batch]
        others = [replace(one, prompt=order[start + row - 1].prompt) for row, one in enumerate(batch)]
        here, elsewhere = (untuned_logp(bench.model, part, precision=recipe.precision) for part in (batch, others))
        for one, near, far in zip(batch, here, elsewhere, strict=True):
            for span in frame.spans(one):
                gain = sum(near[span.start : span.stop]) - sum(far[span.start : span.stop])
                gains.setdefault(span.before, []).append(gain)
    return fact_slots(gains, len(examples))


def _try(bench: TuningBench, facts: Data, *, recipe: Recipe, hooks: Hooks) -> HoldingTrial | None:
    """Two short trainings on half of the lines; None where they were stopped."""
    half = shuffled(facts.train, recipe)[: len(facts.train) // 2]
    outcomes = []
    for short in (replace(recipe, hold=0.0), recipe):
        with trained_on(bench, half, recipe=part_of(short, 2, epochs=EPOCHS), hooks=hooks) as finished:
            if not finished:
                return None
            outcomes.append(_held(bench, facts.held, recipe))
    return HoldingTrial(*outcomes)


@torch.no_grad()
def _held(bench: TuningBench, examples: Sequence[Example], recipe: Recipe) -> HeldFacts:
    form, distance = [], []
    for one in examples:
        nats = form_and_distance(bench.model, one, bench.kinds, recipe=recipe)
        open_places = sum(one.open)
        form.append(HeldLoss(nats[0], len(one.completion) - open_places))
        distance.append(HeldLoss(nats[1], open_places))
    return HeldFacts(form, distance)
