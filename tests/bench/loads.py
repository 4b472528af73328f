"""The demo's questions as the benchmarks ask them."""

from __future__ import annotations

from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tasks.demo import Load, Split, questions
from blackbox_proxy.tasks.demonstration import demo_task

TASK = demo_task("told")
STEERING = TASK.steering
"""The demo's knobs."""

_MENTIONS = scorer(TASK.scorer.model_copy(update={"kind": "mentions"}))


def asked_of(item: Item) -> str:
    """What the closed model is asked: the note, if there is one, and the question."""
    return TASK.asked(item, shown=True)


def states_fact(answer: str, item: Item) -> bool:
    """Whether the right fact stands anywhere in the answer."""
    return _MENTIONS(answer, item) == 1.0


def asked_and_read(load: Load, split: Split, *, n: int, seed: int) -> list[tuple[str, str]]:
    """Questions as the closed model is asked them, and as the pair reads them."""
    return [(asked_of(item), item.prompt) for item in questions(load, split, n=n, seed=seed)]
